"""Returns the most that one attempt can cost, and what it did cost, in a store's units."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_CEILING, Context, Decimal
from typing import TYPE_CHECKING, Any

from langchain_modelmgr.budgets.prompt_bound import prompt_bound
from langchain_modelmgr.catalog import TokenPrices
from langchain_modelmgr.usage.meter import LATENCY_OPTIMIZED

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from langchain_modelmgr.catalog import ModelConfig

_NANO_PER_TOKEN = Decimal(10**6)
"""Nano-USD per token of a price of 1 USD per 1,000 tokens."""

_UP = Context(prec=50, rounding=ROUND_CEILING)

_RATES: dict[tuple[Any, ...], tuple[ModelConfig, tuple[Decimal, Decimal] | None]] = {}
_RATES_KEPT = 1024
"""The dearest rates by model and request: converting prices takes longer than multiplying."""

THINKING = ("thinking", "reasoning_config")


@dataclass(frozen=True, slots=True)
class WorstCase:
    """The most that one attempt can use.

    Attributes:
        tokens: Prompt and output tokens; None: the prompt has no known bound.
        nano_usd: What they cost at the dearest rates; None: a price or the bound is unknown.
        output: The output tokens among them.
    """

    tokens: int | None
    nano_usd: int | None
    output: int


def worst_case(params: Mapping[str, Any], model: ModelConfig, output: int) -> WorstCase:
    """Return the most that an attempt can use.

    Args:
        params: The request in Converse's shapes.
        model: The catalog's entry of the model, with its prices.
        output: The request's ``maxTokens``.
    """
    prompt, window = prompt_bound(params), model.context_window
    if window is not None and (prompt is None or prompt > window):
        prompt = window
    if prompt is None:
        return WorstCase(None, None, output)
    return WorstCase(prompt + output, worst_cost(params, model, prompt, output), output)


def worst_cost(
    params: Mapping[str, Any], model: ModelConfig, prompt: int, output: int
) -> int | None:
    """Return what tokens cost at the dearest rates that the reply may name, in nano-USD.

    Returns:
        The amount, rounded up; None if a rate is unknown.
    """
    points = list(_cache_points(params))
    hour = any(point.get("ttl") == "1h" for point in points)
    tier = (params.get("serviceTier") or {}).get("type")
    is_fast = (params.get("performanceConfig") or {}).get("latency") == "optimized"
    key = (id(model), tier, is_fast, bool(points), hour)
    known = _RATES.get(key)
    if known is None or known[0] is not model:
        if len(_RATES) >= _RATES_KEPT:
            _RATES.clear()
        rates = _dearest(_prices(model, tier, is_fast=is_fast), caches=bool(points), hour=hour)
        known = _RATES[key] = (model, rates)
    if known[1] is None:
        return None
    into, out = known[1]
    long = model.long_context
    if long is not None and prompt > long.above:
        into *= Decimal(str(max(1.0, long.input_multiplier)))
        out *= Decimal(str(max(1.0, long.output_multiplier)))
    return int(_UP.to_integral_value((prompt * into + output * out) * _NANO_PER_TOKEN))


def output_cap(params: Mapping[str, Any], model: ModelConfig, default: int) -> int:
    """Return the ``maxTokens`` of a request without one.

    Args:
        params: The request in Converse's shapes.
        model: The model; its own limit is the most.
        default: The limit without reasoning, to which a reasoning budget is added.
    """
    fields = params.get("additionalModelRequestFields")
    for name in THINKING:
        thinking = fields.get(name) if isinstance(fields, dict) else None
        if isinstance(thinking, dict) and isinstance(thinking.get("budget_tokens"), int):
            default += thinking["budget_tokens"]
            break
    return default if model.max_tokens is None else min(default, model.max_tokens)


def _dearest(
    tiers: Iterable[TokenPrices], *, caches: bool, hour: bool
) -> tuple[Decimal, Decimal] | None:
    """Return the dearest prices of input and output; None if one is unknown."""
    into, out = Decimal(0), Decimal(0)
    for prices in tiers:
        if prices.input is None or prices.output is None:
            return None
        rates = [prices.input, prices.cache_write_5m, *([prices.cache_write_1h] if hour else [])]
        if caches and None in rates:
            return None
        into = max(into, *(Decimal(str(rate)) for rate in rates if rate is not None))
        out = max(out, Decimal(str(prices.output)))
    return into, out


def _prices(model: ModelConfig, tier: str | None, *, is_fast: bool) -> Iterator[TokenPrices]:
    """Yield the prices of the tiers that the reply may name."""
    yield model.prices
    for name in (tier, LATENCY_OPTIMIZED if is_fast else None):
        if name not in (None, "default"):
            yield model.service_tiers.get(name or "", TokenPrices())


def _cache_points(params: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    lists: list[Any] = [params.get("system", ()), (params.get("toolConfig") or {}).get("tools", ())]
    lists += [message["content"] for message in params.get("messages", ())]
    for blocks in lists:
        for block in blocks:
            if "cachePoint" in block:
                yield block["cachePoint"]
            elif "toolResult" in block:
                for part in block["toolResult"].get("content", ()):
                    if "cachePoint" in part:
                        yield part["cachePoint"]
