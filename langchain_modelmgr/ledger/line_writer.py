"""Writes the two lines of an attempt, in the caller's thread; ``line_reader`` reads them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from json.encoder import encode_basestring_ascii as quoted
from typing import TYPE_CHECKING, Any

from langchain_modelmgr.ledger.attempt_rows import OUTCOMES, finite
from langchain_modelmgr.runtime.masking import masked_id
from langchain_modelmgr.usage.pricing import pico_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from langchain_modelmgr.ledger.segment import Writer
    from langchain_modelmgr.usage.record import AttemptStart, ModelUsageMetrics

_NUMBERS = {outcome: number for number, outcome in enumerate(OUTCOMES)}
_NO_TOKENS = "null,null,null,null,null"


@dataclass(frozen=True, slots=True)
class OpenAttempt:
    """An attempt that has started and not ended.

    Attributes:
        writer: The writer of its first line.
        number: Its number in the writer's segments.
        start: What was known when it started.
    """

    writer: Writer
    number: int
    start: AttemptStart


def write_start(writer: Writer, number: int, start: AttemptStart) -> None:
    """Write that an attempt starts."""
    run = "null" if start.run_id is None else quoted(start.run_id)
    estimate = "null" if start.estimate is None else start.estimate
    writer.append(
        "1",
        (start.agent, masked_id(start.model), start.tags, start.metadata),
        f"{number},{start.time_ms},{start.attempt},{start.is_fallback},{start.call},{run},{estimate}",
    )


def write_end(writer: Writer, number: int, usage: ModelUsageMetrics) -> None:
    """Write that an attempt ended, and what it took."""
    tokens = _NO_TOKENS
    if usage.has_usage:
        tokens = (
            f"{usage.input_tokens},{usage.output_tokens},{usage.cache_read_tokens},"
            f"{usage.cache_write_5m_tokens},{usage.cache_write_1h_tokens}"
        )
    cost, wasted = pico_of(usage.cost_usd), pico_of(usage.estimated_wasted_cost_usd)
    latency, first = finite(usage.latency_ms), finite(usage.time_to_first_token_ms)
    request = usage.request_id
    writer.append(
        "2",
        (usage.error_message, usage.service_tier),
        f"{number},{int(usage.timestamp.timestamp() * 1000)},{_NUMBERS[usage.outcome]},{tokens},"
        f"{_json(cost)},{_json(wasted)},{_json(latency)},{_json(first)},"
        f"{'null' if request is None else quoted(request)}",
    )


def kept_of(
    allowed: frozenset[str], metadata: Mapping[str, Any], tags: Sequence[str]
) -> tuple[str | None, str | None]:
    """Return as JSON the keys of metadata and the tags that are allowed; None if there are none."""
    kept = {key: str(metadata[key]) for key in sorted(allowed & metadata.keys())}
    named = [tag for tag in tags if tag in allowed]
    return json.dumps(kept) if kept else None, json.dumps(named) if named else None


def _json(value: float | None) -> str:
    return "null" if value is None else repr(value)
