"""How values are written in tables: tokens, prices, model ids."""

from __future__ import annotations

from decimal import Decimal

from langchain_modelmgr.runtime import money_text
from langchain_modelmgr.runtime.masking import mask_account_ids

UNKNOWN = "unknown"

_MILLION = 1_000_000
_THOUSAND = 1_000


def plain(model_id: str) -> str:
    """Return a model id without an account id."""
    return mask_account_ids(model_id)


def tokens(count: int | None) -> str:
    """Return a limit in tokens: ``200K``, ``1M``."""
    if count is None:
        return UNKNOWN
    for size, letter in ((_MILLION, "M"), (_THOUSAND, "K")):
        if count >= size:
            return f"{count / size:.{2 if count < 10 * size else 3}g}{letter}"
    return str(count)


def money(price: float | Decimal | None) -> str | None:
    """Return a price as text without an exponent; None: unknown."""
    return None if price is None else f"{Decimal(str(price)):f}"


def per_million(price_per_1k: float | str | None) -> str:
    """Return a price in USD per million tokens."""
    return UNKNOWN if price_per_1k is None else money_text.per_million(price_per_1k)


def exact(amount: Decimal) -> str:
    """Return an amount with all its digits, for JSON and CSV."""
    return f"{amount.normalize():f}"
