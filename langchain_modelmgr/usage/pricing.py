"""Prices token counts: a Decimal in USD, or None if a price is unknown."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Context, Decimal
from functools import lru_cache
from typing import TYPE_CHECKING

from langchain_modelmgr.catalog import TokenPrices

if TYPE_CHECKING:
    from langchain_modelmgr.catalog import ModelConfig

_PER_TOKEN = Decimal(1000)
"""Prices are USD per 1,000 tokens, as in the design guide."""

_PLAIN_TIERS = (None, "default")
"""Service tiers that the default prices apply to."""


PICO = 10**12
"""Pico USD per USD: costs are stored in whole pico USD."""

# The application's decimal context may round, or raise on inexact results.
_EXACT = Context(prec=50, rounding=ROUND_HALF_EVEN)


@dataclass(frozen=True, slots=True)
class TokenCounts:
    """Token counts of one attempt, disjoint, as Bedrock's reply gives them.

    Attributes:
        input_tokens: Input tokens without those read from or written to the prompt cache.
        output_tokens: Output tokens.
        cache_read_tokens: Input tokens read from the prompt cache.
        cache_write_5m_tokens: Input tokens written to the cache for 5 minutes.
        cache_write_1h_tokens: Input tokens written to the cache for 1 hour.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_5m_tokens: int = 0
    cache_write_1h_tokens: int = 0

    @property
    def prompt_tokens(self) -> int:
        """All tokens of the prompt, the cache included."""
        return (
            self.input_tokens
            + self.cache_read_tokens
            + self.cache_write_5m_tokens
            + self.cache_write_1h_tokens
        )

    @property
    def total_tokens(self) -> int:
        """All tokens that were processed, the cache included."""
        return self.prompt_tokens + self.output_tokens


def cost_of(
    usage: TokenCounts, model: ModelConfig, service_tier: str | None = None
) -> Decimal | None:
    """Return what an attempt cost in USD.

    Args:
        usage: Token counts, disjoint.
        model: The catalog's entry of the model that served, with its prices.
        service_tier: The tier that served, as the reply names it; None: the default one.

    Returns:
        The exact cost, or None if a price that is needed is unknown. A price that is not needed
        (no such tokens) may be unknown. A prompt above ``model.long_context.above`` tokens has
        all its tokens priced by the long-context tier.
    """
    into, out = _multipliers(usage, model)
    total = Decimal(0)
    for kind, tokens, price in _priced(usage, model, service_tier):
        if price is None:
            return None
        amount = _amount(tokens, price, out if kind == "output" else into)
        total = _EXACT.add(total, amount)  # the application's context may round, or raise
    return total


def output_cost_of(
    usage: TokenCounts, model: ModelConfig, service_tier: str | None = None
) -> Decimal | None:
    """Return the part of ``cost_of`` that the output tokens cost; None if it is unknown."""
    if not usage.output_tokens:
        return Decimal(0)
    price = _prices(model, service_tier).output
    _, factor = _multipliers(usage, model)
    return None if price is None else _amount(usage.output_tokens, price, factor)


def unpriced_because(usage: TokenCounts, model: ModelConfig, service_tier: str | None) -> str:
    """Return why an attempt's cost is unknown, where ``cost_of`` returns None."""
    if model.price_unknown is not None:
        return model.price_unknown
    missing = [kind for kind, _, price in _priced(usage, model, service_tier) if price is None]
    if "input" in missing or "output" in missing:
        return f"service tier {service_tier}" if service_tier else "it is in no price list"
    return f"no price list has its price of {' and '.join(missing)} tokens"


def _priced(
    usage: TokenCounts, model: ModelConfig, service_tier: str | None
) -> list[tuple[str, int, float | None]]:
    """Return the kinds of tokens that were used, their counts and their prices."""
    prices = _prices(model, service_tier)
    kinds = (
        ("input", usage.input_tokens, prices.input),
        ("output", usage.output_tokens, prices.output),
        ("cache read", usage.cache_read_tokens, prices.cache_read),
        ("5-minute cache write", usage.cache_write_5m_tokens, prices.cache_write_5m),
        ("1-hour cache write", usage.cache_write_1h_tokens, prices.cache_write_1h),
    )
    return [kind for kind in kinds if kind[1]]


def _prices(model: ModelConfig, service_tier: str | None) -> TokenPrices:
    plain = service_tier in _PLAIN_TIERS
    return model.prices if plain else model.service_tiers.get(service_tier or "", TokenPrices())


def _multipliers(usage: TokenCounts, model: ModelConfig) -> tuple[float, float]:
    """Return the factors on the prices of a prompt of this length: of input and of output."""
    long = model.long_context
    if long is not None and usage.prompt_tokens > long.above:
        return long.input_multiplier, long.output_multiplier
    return 1.0, 1.0


def _amount(tokens: int, price: float, factor: float) -> Decimal:
    amount = _EXACT.multiply(tokens, _exact(price))
    if factor != 1:
        amount = _EXACT.multiply(amount, _exact(factor))
    return _EXACT.divide(amount, _PER_TOKEN)


@lru_cache(maxsize=1024, typed=True)
def _exact(figure: float) -> Decimal:
    """Return the digits of a price list: ``str`` gives a float's shortest form."""
    return Decimal(str(figure))


def pico_of(usd: Decimal | None) -> int | None:
    """Return an amount in whole pico USD; None if it is unknown or invalid."""
    if usd is None or not usd.is_finite() or usd.is_signed() or usd.adjusted() > 6:  # noqa: PLR2004 - 10 million USD
        return None
    return int(_EXACT.to_integral_value(_EXACT.scaleb(usd, 12)))


def usd_of(pico: int) -> Decimal:
    """Return whole pico USD as USD, exactly."""
    return _EXACT.scaleb(Decimal(pico), -12)
