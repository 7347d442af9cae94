"""Distinguishes typos in model ids from models that are newer than the catalog."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from langchain_modelmgr.catalog.ids import PREFIXES, split_prefix
from langchain_modelmgr.runtime.spelling import is_a_letter_away

if TYPE_CHECKING:
    from collections.abc import Collection

_CHARACTERS = re.compile(r"[A-Za-z0-9._:/-]+")
"""The characters of Bedrock's model ids. Source: botocore 1.44.5's service model."""


def typo_in(model_id: str, known: Collection[str]) -> str | None:
    """Return what is wrong with an unknown model id; None if it may be valid.

    An id without a provider is never valid on Bedrock. An id that differs from a known one by a
    letter is a typo; one that differs only in digits is another version of a model.

    Args:
        model_id: A model id or an inference profile id, not an ARN.
        known: Base model ids.
    """
    if not _CHARACTERS.fullmatch(model_id):
        return "not a valid model id: use only letters, digits, and . _ : / -"
    if not _has_provider(split_prefix(model_id)[1]):
        return (
            "not a valid model id: it must start with a provider, such as anthropic. or "
            "us.anthropic."
        )
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
    # "uss.anthropic...": a typo in the prefix, which is then taken for the provider.
    forms = (f"{p}.{other}" for p in PREFIXES for other in known if prefix is None)
    return next((form for form in forms if is_a_letter_away(model_id, form)), None)
