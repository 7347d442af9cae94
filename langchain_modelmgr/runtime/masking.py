"""Masks AWS account ids in logs, metrics, reprs and errors."""

from __future__ import annotations

import re

_ACCOUNT_ID = re.compile(r"(?<!\d)\d{12}(?!\d)")

MASK = "*" * 12


def mask_account_ids(text: str) -> str:
    """Return ``text`` with every AWS account id (12 digits, as in an ARN) masked."""
    return _ACCOUNT_ID.sub(MASK, text)
