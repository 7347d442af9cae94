"""Masks AWS account ids in logs, metrics, reprs and errors."""

from __future__ import annotations

import re
from functools import lru_cache

_ACCOUNT_ID = re.compile(r"(?<!\d)\d{12}(?!\d)")

MASK = "*" * 12


def mask_account_ids(text: str) -> str:
    """Return ``text`` with every AWS account id (12 digits, as in an ARN) masked."""
    return _ACCOUNT_ID.sub(MASK, text)


@lru_cache(maxsize=1_024)
def masked_id(model_id: str) -> str:
    """Return a model id with account ids masked. Calls ask for the same few again and again."""
    return mask_account_ids(model_id)
