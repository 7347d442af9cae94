"""Many values as few: as one datum takes them, in at most 150."""

from __future__ import annotations

import math
from itertools import groupby
from typing import TYPE_CHECKING

from langchain_modelmgr.metrics.datums import MAX_VALUES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

Value = float
Cell = dict[Value, int]
"""The values of one series in one minute, and how often each occurred."""

_BODY, _SHOULDER, _TAIL = 50, 54, 44
"""Bins up to p95, up to p99.5, and above; two more are the minimum and the maximum."""

_BODY_ENDS, _SHOULDER_ENDS = 0.05, 0.005
"""Shares of the values that lie above the body, and above the shoulder."""


def publishable(cell: Mapping[Value, int]) -> Cell:
    """Return the values as one datum takes them: at most 150, percentiles kept.

    Up to p95 each bin holds as many data points; from there to p99.5 ever fewer, so that p99 is
    kept; above, bins are spaced by value, for the tail. ``benchmarks/metrics.py`` measures it: p99
    within 1 %, p99.9 within 2 %.
    """
    if len(cell) <= MAX_VALUES:
        return dict(cell)
    low, *inner, high = sorted(cell)
    return _ends(cell, low, high) | _merged(cell, inner, _by_rank(cell, inner))


def _ends(cell: Mapping[Value, int], low: Value, high: Value) -> Cell:
    return {low: cell[low], high: cell[high]}


def _by_value(values: Sequence[Value], bins: int) -> Callable[[Value], int]:
    if not values:
        return lambda _: 0
    start, end = _log(values[0]), _log(values[-1])
    scale = (bins - 1) / (end - start) if end > start else 0.0
    return lambda value: int((_log(value) - start) * scale)


def _by_rank(cell: Mapping[Value, int], values: Sequence[Value]) -> Callable[[Value], int]:
    total = sum(cell[value] for value in values)
    places: dict[Value, int] = {}
    seen = 0
    for at, value in enumerate(values):
        above = 1 - (seen + cell[value] / 2) / total
        seen += cell[value]
        if above > _BODY_ENDS:
            places[value] = int((1 - above) / (1 - _BODY_ENDS) * _BODY)
        elif above > _SHOULDER_ENDS:
            share = math.log(_BODY_ENDS / above) / math.log(_BODY_ENDS / _SHOULDER_ENDS)
            places[value] = _BODY + min(_SHOULDER - 1, int(share * _SHOULDER))
        else:
            tail = _by_value(values[at:], _TAIL)
            places |= {rest: _BODY + _SHOULDER + tail(rest) for rest in values[at:]}
            break
    return places.__getitem__


def _merged(
    cell: Mapping[Value, int], values: Iterable[Value], place: Callable[[Value], int]
) -> Cell:
    bins: Cell = {}
    for _, group in groupby(values, key=place):
        members = list(group)
        count = sum(cell[value] for value in members)
        mean = _mean([(value, cell[value]) for value in members], count)
        # Rounding may put the mean of neighbours beside them.
        mean = min(max(mean, members[0]), members[-1])
        bins[mean] = bins.get(mean, 0) + count
    return bins


def _log(value: Value) -> float:
    return math.log(max(value, math.ulp(0.0)))


def _mean(members: list[tuple[Value, int]], count: int) -> Value:
    if all(type(value) is int for value, _ in members):  # money, in pico USD
        return sum(value * times for value, times in members) / count
    return math.fsum(value * times for value, times in members) / count
