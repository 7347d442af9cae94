"""Token counts times prices: a Decimal in USD, or None where a price is unknown."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from langchain_modelmgr.catalog import ModelConfig

_PER_TOKEN = Decimal(1000)
"""Prices are USD per 1,000 tokens, as in the design guide."""


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
    def total_tokens(self) -> int:
        """All tokens that were processed, the cache included."""
        return (
            self.input_tokens
            + self.output_tokens
            + self.cache_read_tokens
            + self.cache_write_5m_tokens
            + self.cache_write_1h_tokens
        )


def cost_of(usage: TokenCounts, model: ModelConfig) -> Decimal | None:
    """Return what an attempt cost in USD.

    Args:
        usage: Token counts, disjoint.
        model: The catalog's entry of the model that served, with its prices.

    Returns:
        The exact cost, or None if a price that is needed is unknown. A price that is not needed
        (no such tokens) may be unknown.
    """
    total = Decimal(0)
    for tokens, price in (
        (usage.input_tokens, model.cost_per_1k_input_tokens),
        (usage.output_tokens, model.cost_per_1k_output_tokens),
        (usage.cache_read_tokens, model.cost_per_1k_cache_read_tokens),
        (usage.cache_write_5m_tokens, model.cost_per_1k_cache_write_5m_tokens),
        (usage.cache_write_1h_tokens, model.cost_per_1k_cache_write_1h_tokens),
    ):
        if not tokens:
            continue
        if price is None:
            return None
        # str() of a float is its shortest form: the very digits of the price list.
        total += tokens * Decimal(str(price)) / _PER_TOKEN
    return total
