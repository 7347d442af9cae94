"""Reduces many values to the 150 that one datum may hold, and keeps the percentiles."""

from __future__ import annotations

import math
from bisect import bisect_left
from itertools import accumulate, pairwise
from operator import mul
from typing import TYPE_CHECKING

from langchain_modelmgr.metrics.series import MAX_VALUES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Value = float
Cell = dict[Value, int]
"""The values of one series in one minute, and how often each occurred."""

_BODY, _SHOULDER, _TAIL = 50, 54, 44
"""Bins up to p95, up to p99.5, and above; two more are the minimum and the maximum."""

_BODY_ENDS, _SHOULDER_ENDS = 0.05, 0.005
"""Shares of the values that lie above the body, and above the shoulder."""

_SHARES = (
    *((1 - _BODY_ENDS) * n / _BODY for n in range(1, _BODY + 1)),
    *(
        1 - _BODY_ENDS * (_SHOULDER_ENDS / _BODY_ENDS) ** (n / _SHOULDER)
        for n in range(1, _SHOULDER + 1)
    ),
)
"""Shares of the values that lie below the end of each bin of body and shoulder."""


def publishable(cell: Mapping[Value, int]) -> Cell:
    """Return the values as one datum takes them: at most 150, percentiles kept.

    Up to p95 each bin holds as many data points; from there to p99.5 ever fewer, so that p99 is
    kept; above, bins are spaced by value, for the tail. ``benchmarks/metrics.py`` measures it: p99
    within 1 %, p99.9 within 2 %.
    """
    if len(cell) <= MAX_VALUES:
        return dict(cell)
    low, *inner, high = sorted(cell)
    bins = {low: cell[low], high: cell[high]}
    counts = [cell[value] for value in inner]
    seen, sums = [0, *accumulate(counts)], list(map(mul, inner, counts))
    add = sum if set(map(type, inner)) == {int} else math.fsum  # money is whole, in pico USD
    for start, end in pairwise(_cuts(inner, counts, seen)):
        if end - start == 1:
            bins[inner[start]] = counts[start]
        elif end > start:
            count = seen[end] - seen[start]
            mean = add(sums[start:end]) / count
            # Rounding may put the mean of neighbours beside them.
            mean = min(max(mean, inner[start]), inner[end - 1])
            bins[mean] = bins.get(mean, 0) + count
    return bins


def _cuts(values: Sequence[Value], counts: Sequence[int], seen: Sequence[int]) -> list[int]:
    """Return where bins of ascending values begin and end; ``seen`` counts what is below each."""
    middles = [below + count / 2 for below, count in zip(seen, counts, strict=False)]
    cuts = [0, *(bisect_left(middles, share * seen[-1]) for share in _SHARES)]
    tail = values[cuts[-1] :]
    if not tail:
        return cuts
    low, high = _log(tail[0]), _log(tail[-1])
    step = (high - low) / (_TAIL - 1)
    ends = (bisect_left(tail, math.exp(low + step * n)) for n in range(1, _TAIL))
    return [*cuts, *(cuts[-1] + end for end in sorted(ends)), len(values)]


def _log(value: Value) -> float:
    return math.log(max(value, math.ulp(0.0)))
