"""AttemptRow: one attempt as a row of the ledger, and rows in groups."""

from __future__ import annotations

import math
from dataclasses import dataclass
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple

from langchain_modelmgr.runtime.masking import masked_id
from langchain_modelmgr.usage.pricing import pico_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from langchain_modelmgr.usage.record import ModelUsageMetrics

OUTCOMES = ("answered", "failed", "aborted", "lost")
"""``lost``: the process died before the attempt ended."""

MAX_INTEGER = 2**63 - 1
"""The largest integer of SQLite."""

MINUTE_TEXT = 16
"""Characters of a time up to its minute."""


class AttemptRow(NamedTuple):
    """A row of ``attempts``: the fields are its columns, in order."""

    time: str
    environment: str
    agent: str
    model: str
    outcome: str
    error: str | None
    input_tokens: int | None
    output_tokens: int | None
    cache_read_tokens: int | None
    cache_write_5m_tokens: int | None
    cache_write_1h_tokens: int | None
    cost_pico_usd: int | None
    estimated_wasted_cost_pico_usd: int | None
    latency_ms: float | None
    time_to_first_token_ms: float | None
    attempt: int
    is_fallback: int
    service_tier: str | None
    call_id: str
    run_id: str | None
    request_id: str | None
    metadata: str | None
    tags: str | None

    @classmethod
    def of(cls, usage: ModelUsageMetrics) -> AttemptRow:
        """Return a record as the row that the ledger makes of it, without ids."""
        known = usage.has_usage
        return cls(
            time=usage.timestamp.isoformat(),
            environment="",
            agent=usage.agent_name,
            model=masked_id(usage.model_id),
            outcome=usage.outcome,
            error=usage.error_message,
            input_tokens=usage.input_tokens if known else None,
            output_tokens=usage.output_tokens if known else None,
            cache_read_tokens=usage.cache_read_tokens if known else None,
            cache_write_5m_tokens=usage.cache_write_5m_tokens if known else None,
            cache_write_1h_tokens=usage.cache_write_1h_tokens if known else None,
            cost_pico_usd=pico_of(usage.cost_usd),
            estimated_wasted_cost_pico_usd=pico_of(usage.estimated_wasted_cost_usd),
            latency_ms=finite(usage.latency_ms),
            time_to_first_token_ms=finite(usage.time_to_first_token_ms),
            attempt=1,
            is_fallback=int(usage.is_fallback),
            service_tier=usage.service_tier,
            call_id="",
            run_id=usage.run_id,
            request_id=usage.request_id,
            metadata=None,
            tags=None,
        )


@dataclass(frozen=True, slots=True)
class Group:
    """Rows of one minute with the same agent, model, outcome and other keys of ``totals``.

    Attributes:
        first: The first row.
        columns: One tuple of values for each field of ``AttemptRow``.
        size: The number of rows.
    """

    first: AttemptRow
    columns: Any
    size: int

    @classmethod
    def of(cls, rows: Sequence[AttemptRow]) -> Group:
        """Return rows, at least one, as a group."""
        return cls(rows[0], AttemptRow._make(zip(*rows, strict=True)), len(rows))

    @property
    def unpriced(self) -> int:
        """The number of answers with known token counts and an unknown price."""
        columns = self.columns
        if self.first.outcome != "answered" or None not in columns.cost_pico_usd:
            return 0
        pairs = zip(columns.input_tokens, columns.cost_pico_usd, strict=True)
        return sum(tokens is not None and cost is None for tokens, cost in pairs)


_SAME = itemgetter(*map(AttemptRow._fields.index, (
    "environment", "agent", "model", "outcome", "is_fallback", "service_tier", "metadata",
)))  # fmt: skip


def grouped(rows: Iterable[AttemptRow]) -> list[Group]:
    """Group rows by minute and by the keys of ``totals``."""
    groups: dict[tuple[Any, ...], list[AttemptRow]] = {}
    for row in rows:
        key = (row[0][:MINUTE_TEXT], _SAME(row))
        same = groups.get(key)
        if same is None:
            groups[key] = [row]
        else:
            same.append(row)
    return [Group.of(same) for same in groups.values()]


def finite(value: float | None) -> float | None:
    """Return a measured value; None if it is negative, infinite or NaN."""
    return value if value is not None and 0 <= value < math.inf else None
