"""Tells a typo in a model id from a model that is newer than the catalog."""

from __future__ import annotations

from itertools import takewhile
from typing import TYPE_CHECKING

from langchain_modelmgr.catalog.ids import PREFIXES, split_prefix

if TYPE_CHECKING:
    from collections.abc import Collection


def typo_in(model_id: str, known: Collection[str]) -> str | None:
    """Return what is wrong with an unknown model id; None if it may name a model.

    An id without a provider names nothing on Bedrock. One that is a letter away from a known id is
    a typo; one that differs in digits alone is another version of a model.

    Args:
        model_id: A model id or an inference profile id, not an ARN.
        known: Base model ids.
    """
    if not _has_provider(split_prefix(model_id)[1]):
        return "not a model id: it must start with its provider, as anthropic. or us.anthropic."
    if (near := _a_letter_away(model_id, known)) is not None:
        return f"unknown model id; did you mean {near!r}?"
    return None


def _has_provider(base: str) -> bool:
    provider, _, name = base.partition(".")
    return bool(provider and name) and provider not in PREFIXES


def _a_letter_away(model_id: str, known: Collection[str]) -> str | None:
    prefix, base = split_prefix(model_id)
    for other in known:
        if _is_a_letter_away(base, other):
            return f"{prefix}.{other}" if prefix else other
    # "uss.anthropic...": an edit in the prefix, which then is taken for the provider.
    forms = (f"{p}.{other}" for p in PREFIXES for other in known if prefix is None)
    return next((form for form in forms if _is_a_letter_away(model_id, form)), None)


def _is_a_letter_away(one: str, other: str) -> bool:
    """Return whether one letter was added, left out or replaced, or two changed places."""
    if one == other or abs(len(one) - len(other)) > 1:
        return False
    start = _common(one, other)
    end = _common(one[start:][::-1], other[start:][::-1])
    here, there = one[start : len(one) - end], other[start : len(other) - end]
    swapped = len(here) == 2 and here == there[::-1]  # noqa: PLR2004 - a pair
    return (swapped or max(len(here), len(there)) == 1) and any(c.isalpha() for c in here + there)


def _common(one: str, other: str) -> int:
    """Return how many characters two texts begin with alike."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))
