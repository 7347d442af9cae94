"""What the prompt cache saved, by model, at the catalog's default prices."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from langchain_modelmgr.usage.summary import EXACT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from langchain_modelmgr.catalog import ModelConfig

_CACHED = (
    ("cache_read_tokens", "cost_per_1k_cache_read_tokens"),
    ("cache_write_5m_tokens", "cost_per_1k_cache_write_5m_tokens"),
    ("cache_write_1h_tokens", "cost_per_1k_cache_write_1h_tokens"),
)


def cache_rows(
    rows: Iterable[Mapping[str, Any]], model_of: Callable[[str], ModelConfig | None]
) -> tuple[dict[str, Any], ...]:
    """Return hit rate and saving of each model that read or wrote its prompt cache.

    Args:
        rows: Usage by model.
        model_of: Returns the catalog's facts of a model; None: unknown.

    Returns:
        ``model``, ``hit_rate`` (the part of prompt tokens that was read from the cache),
        ``read_tokens``, ``written_tokens``, and ``saved_usd``: what the same tokens would have
        cost without the cache, less what they did cost; negative if writing cost more than
        reading saved; None if a price is unknown.
    """
    found = []
    for row in rows:
        written = row["cache_write_5m_tokens"] + row["cache_write_1h_tokens"]
        read = row["cache_read_tokens"]
        if not read + written:
            continue
        found.append(
            {
                "model": row["model"],
                "hit_rate": read / (read + written + row["input_tokens"]),
                "read_tokens": read,
                "written_tokens": written,
                "saved_usd": _saved(row, model_of(row["model"])),
            }
        )
    return tuple(found)


def _saved(row: Mapping[str, Any], model: ModelConfig | None) -> Decimal | None:
    if model is None or model.cost_per_1k_input_tokens is None:
        return None
    full = Decimal(str(model.cost_per_1k_input_tokens))
    saved = Decimal(0)
    for tokens, price in _CACHED:
        if not row[tokens]:
            continue
        known = getattr(model, price)
        if known is None:
            return None
        less = EXACT.subtract(full, Decimal(str(known)))
        saved = EXACT.add(saved, EXACT.scaleb(EXACT.multiply(row[tokens], less), -3))
    return saved
