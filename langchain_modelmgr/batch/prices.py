"""The prices of batch inference jobs: half of on-demand, unless others are known."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple

from langchain_modelmgr.catalog.model import TokenPrices

if TYPE_CHECKING:
    from langchain_modelmgr.catalog import ModelConfig

BATCH_TIER = "batch"
"""The service tier of records of batch inference jobs."""

_HALF = Decimal("0.5")
"""Source: "Process multiple prompts with batch inference" and the pricing page of Amazon Bedrock:
supported models cost half of the on-demand price. Read 2026-11-27."""


class BatchModel(NamedTuple):
    """A model as batch inference jobs are billed.

    Attributes:
        model: The model, with the prices of batch inference in place of its own.
        assumed: Whether these are half of its own, as no other is known.
    """

    model: ModelConfig
    assumed: bool


def batch_model(model: ModelConfig) -> BatchModel:
    """Return a model as batch inference jobs are billed.

    Its prices are those of the YAML, else published ones, else half of the on-demand prices.
    """
    published = model.service_tiers.get(BATCH_TIER)
    half = TokenPrices(*(_half(price) for price in _fields(model.prices)))
    found = published or half
    into, out = model.cost_per_1k_batch_input_tokens, model.cost_per_1k_batch_output_tokens
    return BatchModel(
        replace(
            model,
            cost_per_1k_input_tokens=found.input if into is None else into,
            cost_per_1k_output_tokens=found.output if out is None else out,
            cost_per_1k_cache_read_tokens=found.cache_read,
            cost_per_1k_cache_write_5m_tokens=found.cache_write_5m,
            cost_per_1k_cache_write_1h_tokens=found.cache_write_1h,
            service_tiers={},
        ),
        assumed=published is None and None in (into, out),
    )


def _fields(prices: TokenPrices) -> tuple[float | None, ...]:
    return (
        prices.input, prices.output, prices.cache_read, prices.cache_write_5m,
        prices.cache_write_1h,
    )  # fmt: skip


def _half(price: float | None) -> float | None:
    return None if price is None else float(Decimal(str(price)) * _HALF)
