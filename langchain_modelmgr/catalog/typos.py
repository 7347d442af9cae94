"""Tells a typo in a model id from a model that is newer than the catalog."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from langchain_modelmgr.catalog.ids import PREFIXES, split_prefix
from langchain_modelmgr.runtime.spelling import is_a_letter_away

if TYPE_CHECKING:
    from collections.abc import Collection

_CHARACTERS = re.compile(r"[A-Za-z0-9._:/-]+")
"""What Bedrock's model ids are made of. Source: botocore 1.44.5's service model."""


def typo_in(model_id: str, known: Collection[str]) -> str | None:
    """Return what is wrong with an unknown model id; None if it may name a model.

    An id without a provider names nothing on Bedrock. One that is a letter away from a known id is
    a typo; one that differs in digits alone is another version of a model.

    Args:
        model_id: A model id or an inference profile id, not an ARN.
        known: Base model ids.
    """
    if not _CHARACTERS.fullmatch(model_id):
        return "not a model id: it has letters, digits, and . _ : / - only"
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
        if is_a_letter_away(base, other):
            return f"{prefix}.{other}" if prefix else other
    # "uss.anthropic...": an edit in the prefix, which then is taken for the provider.
    forms = (f"{p}.{other}" for p in PREFIXES for other in known if prefix is None)
    return next((form for form in forms if is_a_letter_away(model_id, form)), None)
