"""The two lines of an attempt: made for speed in the caller's thread, read with suspicion."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from json.encoder import encode_basestring_ascii as quoted
from typing import TYPE_CHECKING, Any, NamedTuple

from langchain_modelmgr.ledger.rows import MAX_INTEGER, OUTCOMES, AttemptRow, finite, pico_of
from langchain_modelmgr.privacy import mask_account_ids

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from langchain_modelmgr.ledger.segment import Writer
    from langchain_modelmgr.records import ModelUsageMetrics

_NUMBERS = {outcome: number for number, outcome in enumerate(OUTCOMES)}
_EARLIEST_MS, _LATEST_MS = 946_684_800_000, 4_102_444_800_000
"""2000 and 2100."""

_LEFT_FIELDS, _ENDED_FIELDS = 12, 16
_NO_TOKENS = "null,null,null,null,null"


class Departure(NamedTuple):
    """What is known of an attempt when it leaves.

    Attributes:
        agent: The agent's name.
        model: The model id.
        attempt: 1 is the first of its call.
        is_fallback: True if another than the chain's first model is asked.
        call: The call's number in its ledger.
        run_id: LangChain's run id.
        tags: JSON list of the tags that are allowed; None: none.
        metadata: JSON object of the metadata that is allowed; None: none.
        estimate: Pico USD that it costs at least if no end of it is heard of.
        time_ms: Milliseconds since 1970.
    """

    agent: str
    model: str
    attempt: int
    is_fallback: int
    call: int
    run_id: str | None
    tags: str | None
    metadata: str | None
    estimate: int | None
    time_ms: int


@dataclass(frozen=True, slots=True)
class Entry:
    """An attempt that has left.

    Attributes:
        writer: The writer of its line.
        number: Its number there.
        left: What was known.
    """

    writer: Writer
    number: int
    left: Departure


class NoLineError(ValueError):
    """A line that can't be read."""


def write_left(writer: Writer, number: int, left: Departure) -> None:
    """Write that an attempt left."""
    run = "null" if left.run_id is None else quoted(left.run_id)
    estimate = "null" if left.estimate is None else left.estimate
    writer.append(
        "1",
        (left.agent, _masked(left.model), left.tags, left.metadata),
        f"{number},{left.time_ms},{left.attempt},{left.is_fallback},{left.call},{run},{estimate}",
    )


def write_ended(writer: Writer, number: int, usage: ModelUsageMetrics) -> None:
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


def read_left(line: Sequence[Any], name: Callable[[Any], str | None]) -> tuple[int, Departure]:
    """Return an attempt's number, and what was known when it left.

    Raises:
        NoLineError: It is no such line.
    """
    if len(line) < _LEFT_FIELDS:
        raise NoLineError
    _, agent, model, tags, metadata, number, time, attempt, fallback, call, run, estimate = line[
        :_LEFT_FIELDS
    ]
    _check_time(time)
    _check_integers(number, attempt, fallback, call)
    _check_integers_or_none(estimate)
    _check_text(run)
    agent, model = name(agent), name(model)
    if agent is None or model is None:
        raise NoLineError
    return number, Departure(
        agent, model, attempt, int(bool(fallback)), call, run, name(tags), name(metadata),
        estimate, time,
    )  # fmt: skip


def read_ended(line: Sequence[Any], name: Callable[[Any], str | None]) -> tuple[int, Ended]:
    """Return an attempt's number, and how it ended.

    Raises:
        NoLineError: It is no such line.
    """
    if len(line) < _ENDED_FIELDS:
        raise NoLineError
    ended = line[5:_ENDED_FIELDS]
    number, time = line[3:5]
    _check_time(time)
    _check_integers(number, ended[0])
    _check_integers_or_none(*ended[1:8])
    _check_floats(ended[8], ended[9])
    _check_text(ended[10])
    if ended[0] >= len(OUTCOMES) or len({value is None for value in ended[1:6]}) != 1:
        raise NoLineError
    return number, Ended(time, name(line[1]), name(line[2]), OUTCOMES[ended[0]], *ended[1:])


class Ended(NamedTuple):
    """How an attempt ended."""

    time_ms: int
    error: str | None
    service_tier: str | None
    outcome: str
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_tokens: int | None = None
    cache_write_5m_tokens: int | None = None
    cache_write_1h_tokens: int | None = None
    cost: int | None = None
    wasted: int | None = None
    latency_ms: float | None = None
    time_to_first_token_ms: float | None = None
    request_id: str | None = None


def lost(left: Departure) -> Ended:
    """Return the end of an attempt whose process died before it."""
    return Ended(left.time_ms, None, None, "lost", wasted=left.estimate)


def row_of(left: Departure, ended: Ended, environment: str, writer: str, time: str) -> AttemptRow:
    """Return the row of an attempt."""
    return AttemptRow(
        time, environment, left.agent, left.model, ended.outcome, ended.error,
        ended.input_tokens, ended.output_tokens, ended.cache_read_tokens,
        ended.cache_write_5m_tokens, ended.cache_write_1h_tokens, ended.cost, ended.wasted,
        ended.latency_ms, ended.time_to_first_token_ms, left.attempt, left.is_fallback,
        ended.service_tier, f"{writer}-{left.call}", left.run_id, ended.request_id,
        left.metadata, left.tags,
    )  # fmt: skip


def kept_of(
    allowed: frozenset[str], metadata: Mapping[str, Any], tags: Sequence[str]
) -> tuple[str | None, str | None]:
    """Return as JSON the keys of metadata, and the tags, that are allowed; None: there are none."""
    told = {key: str(metadata[key]) for key in sorted(allowed & metadata.keys())}
    named = [tag for tag in tags if tag in allowed]
    return json.dumps(told) if told else None, json.dumps(named) if named else None


@lru_cache(maxsize=1_024)
def _masked(model: str) -> str:
    return mask_account_ids(model)


def _json(value: float | None) -> str:
    return "null" if value is None else repr(value)


def _check_time(value: Any) -> None:
    if type(value) is not int or not _EARLIEST_MS <= value < _LATEST_MS:
        raise NoLineError


def _check_integers(*values: Any) -> None:
    for value in values:
        if type(value) is not int or not 0 <= value <= MAX_INTEGER:
            raise NoLineError


def _check_integers_or_none(*values: Any) -> None:
    for value in values:
        if value is not None and (type(value) is not int or not 0 <= value <= MAX_INTEGER):
            raise NoLineError


def _check_floats(*values: Any) -> None:
    for value in values:
        if value is not None and (type(value) not in (int, float) or not 0 <= value < float("inf")):
            raise NoLineError


def _check_text(value: Any) -> None:
    if value is not None and type(value) is not str:
        raise NoLineError
