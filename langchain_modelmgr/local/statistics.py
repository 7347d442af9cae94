"""Datums, and CloudWatch's statistics over them."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Datum:
    """One stored datum.

    Attributes:
        namespace: CloudWatch's namespace.
        name: The metric's name.
        dimensions: Pairs of name and value, sorted by name.
        timestamp: Seconds since the epoch.
        unit: CloudWatch's unit.
        values: Pairs of value and count.
    """

    namespace: str
    name: str
    dimensions: tuple[tuple[str, str], ...]
    timestamp: float
    unit: str
    values: tuple[tuple[float, float], ...]


Weighted = Sequence[tuple[float, float]]

_STATISTICS: dict[str, Callable[[Weighted], float]] = {
    "Sum": lambda values: math.fsum(v * c for v, c in values),
    "SampleCount": lambda values: math.fsum(c for _, c in values),
    "Average": lambda values: math.fsum(v * c for v, c in values) / math.fsum(c for _, c in values),
    "Minimum": lambda values: min(v for v, _ in values),
    "Maximum": lambda values: max(v for v, _ in values),
}


def _percentile(stat: str) -> Callable[[Weighted], float]:
    """Return a percentile (``p99``, ``p99.9``, ...): the value of that rank."""
    named = re.fullmatch(r"p(\d{1,2}(?:\.\d{1,10})?|100)", stat)
    if named is None:
        raise KeyError(stat)
    share = float(named[1]) / 100

    def of(values: Weighted) -> float:
        ordered = sorted(values)
        wanted = share * math.fsum(count for _, count in ordered)
        seen = 0.0
        for value, count in ordered:
            seen += count
            if seen >= wanted:
                return value
        return ordered[-1][0]

    return of


def series_of(
    datums: Iterable[Datum], period: int, start: float, end: float, stat: str
) -> list[tuple[float, float]]:
    """Return one statistic by period, oldest first: pairs of the period's start and the value.

    Raises:
        KeyError: The statistic is not served.
    """
    statistic = _STATISTICS.get(stat) or _percentile(stat)
    buckets: defaultdict[float, list[tuple[float, float]]] = defaultdict(list)
    for datum in datums:
        if start <= datum.timestamp < end:
            buckets[datum.timestamp // period * period].extend(datum.values)
    return [(at, statistic(values)) for at, values in sorted(buckets.items()) if values]
