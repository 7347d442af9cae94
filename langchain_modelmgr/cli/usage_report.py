"""UsageReport: the figures that ``modelmgr usage`` prints, whatever their source."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from langchain_modelmgr.cli.values import exact
from langchain_modelmgr.runtime.money_text import usd

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime


@dataclass(frozen=True, slots=True)
class UsageReport:
    """Usage of a time range.

    Attributes:
        source: Where the figures are from.
        since: The first moment, in UTC.
        until: The first moment after it, in UTC.
        by: What the rows are grouped by.
        rows: The rows: the columns of ``by``, and the figures of ``totals``.
        totals: The figures over all rows.
        answers: Attempts that answered.
        fallbacks: Those of fallback models; None: unknown.
    """

    source: str
    since: datetime
    until: datetime
    by: Sequence[str]
    rows: Sequence[Mapping[str, Any]]
    totals: Mapping[str, Any]
    answers: int
    fallbacks: int | None

    @property
    def waste_share(self) -> float | None:
        """The part of what was billed that is for broken attempts; None: unknown, or no cost."""
        wasted, cost = self.totals["estimated_wasted_cost_usd"], self.totals["cost_usd"]
        return float(wasted / (cost + wasted)) if wasted is not None and cost + wasted else None

    @property
    def fallback_share(self) -> float | None:
        """The part of answers that fallback models gave; None: unknown, or no answer."""
        known = self.fallbacks is not None and self.answers
        return (self.fallbacks or 0) / self.answers if known else None

    def shares(self) -> Iterator[str]:
        """Yield a line about wasted cost, one about fallbacks, and one about unknown prices."""
        wasted = self.totals["estimated_wasted_cost_usd"]
        if wasted is None:
            yield "waste      unknown: add wasted_cost to metrics.extra"
        else:
            yield f"waste      {_percent(self.waste_share)} of the cost, {usd(wasted)} (estimated)"
        if self.fallbacks is None:
            yield "fallbacks  unknown: add fallbacks to metrics.extra"
        else:
            counts = f"{self.fallbacks:,} of {self.answers:,}"
            yield f"fallbacks  {_percent(self.fallback_share)} of the answers, {counts}"
        unpriced = self.totals["unpriced"]
        if unpriced is None:
            yield "unpriced   unknown: add unpriced to metrics.extra"
        elif unpriced:
            yield f"unpriced   {unpriced:,} answers have no known price: the cost leaves them out"

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {
            "source": self.source,
            "since": self.since.isoformat(),
            "until": self.until.isoformat(),
            "by": list(self.by),
            "rows": [_texts(row) for row in self.rows],
            "totals": _texts(self.totals),
            "waste_share": self.waste_share,
            "fallback_share": self.fallback_share,
        }


def cell(value: Any) -> str:
    """Return a value as a cell of a table."""
    if value is None:
        return "-"
    if isinstance(value, Decimal):
        return usd(value)
    if isinstance(value, float):
        return f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _percent(share: float | None) -> str:
    return "0 %" if not share else f"{share:.1%}".replace("%", " %")


def _texts(row: Mapping[str, Any]) -> dict[str, Any]:
    return {k: exact(v) if isinstance(v, Decimal) else v for k, v in row.items()}
