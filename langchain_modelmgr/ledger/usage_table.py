"""UsageTable: what attempts took and cost, by agent, model, day and more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from langchain_modelmgr.ledger.schema import (
    COST_COLUMNS,
    LATENCY_BOUNDS_MS,
    LATENCY_COLUMNS,
    TOKEN_COLUMNS,
)
from langchain_modelmgr.runtime.html_table import data_frame, html_table
from langchain_modelmgr.usage.pricing import usd_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

    from langchain_modelmgr.ledger.time_range import TimeRange

_COUNTS = ("attempts", "calls", *TOKEN_COLUMNS, "unpriced")
_MONEY = dict(zip(("cost_usd", "estimated_wasted_cost_usd"), COST_COLUMNS, strict=True))
_HTML_COLUMNS = ("calls", "attempts", "total_tokens", "cost_usd", "estimated_wasted_cost_usd",
                 "unpriced", "average_latency_ms")  # fmt: skip


@dataclass(frozen=True, slots=True, repr=False)
class UsageTable:
    """Usage of a time range, one row for each value of ``by``.

    Each row has the columns of ``by``, and these figures:

    - ``calls``: calls of users, counted at their first attempt; ``attempts``: requests to
      models.
    - ``input_tokens``, ``output_tokens``, ``cache_read_tokens``, ``cache_write_5m_tokens``,
      ``cache_write_1h_tokens``, and ``total_tokens``, their sum.
    - ``cost_usd``: Decimal, of all attempts with a known price; ``unpriced``: answers with an
      unknown price.
    - ``estimated_wasted_cost_usd``: Decimal, what Bedrock probably billed for broken attempts.
    - ``average_latency_ms``: of attempts that ended; None if none did.
    - ``latency_p95_ms``: the upper bound of the bucket that the 95th percentile is in
      (100, 200, 500 ms, ... 60 s); None if it is above 60 s, or if there is none.

    Attributes:
        since: The first moment, in UTC.
        until: The first moment after it, in UTC.
        by: What the rows are grouped by.
        rows: The rows, ordered by ``by``.
        totals: The same figures over all rows.
    """

    since: datetime
    until: datetime
    by: tuple[str, ...]
    rows: tuple[dict[str, Any], ...]
    totals: dict[str, Any]

    @classmethod
    def of(
        cls, time_range: TimeRange, by: Sequence[str], summed: Sequence[Mapping[str, Any]]
    ) -> UsageTable:
        """Return the table of rows as the ledger sums them up, money in pico USD."""
        found = [row for row in summed if row["attempts"]]  # without groups there is always one row
        rows = tuple({**{name: row[name] for name in by}, **_figures([row])} for row in found)
        return cls(time_range.since, time_range.until, tuple(by), rows, _figures(found))

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        return (
            f"UsageTable({len(self.rows)} rows by {', '.join(self.by) or 'nothing'}, "
            f"{self.since:%Y-%m-%d %H:%M} to {self.until:%Y-%m-%d %H:%M} UTC: "
            f"{self.totals['attempts']} attempts, ${self.totals['cost_usd']:.4f})"
        )

    def to_pandas(self) -> Any:
        """Return the rows as a DataFrame; money stays Decimal.

        Raises:
            ImportError: pandas is not installed.
        """
        return data_frame(self.rows, [*self.by, *self.totals])

    def _repr_html_(self) -> str:
        total = {self.by[0]: "total"} if self.by else {}
        return html_table(
            f"{self.since:%Y-%m-%d %H:%M} to {self.until:%Y-%m-%d %H:%M} UTC",
            (*self.by, *_HTML_COLUMNS),
            self.rows,
            {**dict.fromkeys(self.by, ""), **total, **self.totals},
        )


def _figures(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    counts = {name: sum(int(row[name] or 0) for row in rows) for name in _COUNTS}
    pico = {name: sum(int(row[column] or 0) for row in rows) for name, column in _MONEY.items()}
    buckets = [sum(int(row[column] or 0) for row in rows) for column in LATENCY_COLUMNS]
    timed = sum(buckets)
    took = sum(float(row["latency_ms"] or 0) for row in rows)
    return {
        "calls": counts["calls"],
        "attempts": counts["attempts"],
        **{name: counts[name] for name in TOKEN_COLUMNS},
        "total_tokens": sum(counts[name] for name in TOKEN_COLUMNS),
        **{name: usd_of(amount) for name, amount in pico.items()},
        "unpriced": counts["unpriced"],
        "average_latency_ms": took / timed if timed else None,
        "latency_p95_ms": _percentile(buckets, 95),
    }


def _percentile(buckets: Sequence[int], percent: int) -> int | None:
    """Return the upper bound of the bucket that a percentile is in."""
    rank = -(-sum(buckets) * percent // 100)
    reached = 0
    for bound, count in zip(LATENCY_BOUNDS_MS, buckets, strict=False):
        reached += count
        if count and reached >= rank:
            return bound
    return None
