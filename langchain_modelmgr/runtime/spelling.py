"""Detects single-letter typing errors in names."""

from __future__ import annotations

from itertools import takewhile


def is_a_letter_away(one: str, other: str) -> bool:
    """Return whether two texts differ by one added, missing, replaced or swapped letter."""
    if one == other or abs(len(one) - len(other)) > 1:
        return False
    start = _common(one, other)
    end = _common(one[start:][::-1], other[start:][::-1])
    here, there = one[start : len(one) - end], other[start : len(other) - end]
    swapped = len(here) == 2 and here == there[::-1]  # noqa: PLR2004 - a pair
    return (swapped or max(len(here), len(there)) == 1) and any(c.isalpha() for c in here + there)


def _common(one: str, other: str) -> int:
    """Return the length of the common prefix of two texts."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))
