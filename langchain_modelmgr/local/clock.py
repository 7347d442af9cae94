"""A server clock that is ahead of this machine's, or behind it, and what AWS refuses then."""

from __future__ import annotations

import datetime as dt
import email.utils
import re
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from aiohttp import web

    _Response = TypeVar("_Response", bound="web.StreamResponse")

_TOLERANCE = dt.timedelta(minutes=5)
"""Source: AWS, "Signature Version 4 request signing: troubleshooting", read 2026-11-26."""

_FORMAT = "%Y%m%dT%H%M%SZ"
_SHAPE = re.compile(r"[0-9]{8}T[0-9]{6}Z")
_INVALID = "InvalidSignatureException"


def skew_refusal(request: web.BaseRequest, skew: float) -> tuple[str, str] | None:
    """Return AWS's error if the request was signed too far from the server's time, else None.

    Args:
        request: The request.
        skew: Seconds that the server's clock is ahead.

    Returns:
        The error's code and text.
    """
    signed = request.headers.get("X-Amz-Date", "")
    if not signed:
        return None
    now = _now(skew)
    at = _time_of(signed)
    if at is None:
        return "IncompleteSignature", (
            f"Date must be in ISO-8601 'basic format'. Got '{signed}'. "
            "See http://en.wikipedia.org/wiki/ISO_8601"
        )
    if at < now - _TOLERANCE:
        earliest = f"{now - _TOLERANCE:{_FORMAT}} ({now:{_FORMAT}} - 5 min.)"
        return _INVALID, f"Signature expired: {signed} is now earlier than {earliest}"
    if at > now + _TOLERANCE:
        latest = f"{now + _TOLERANCE:{_FORMAT}} ({now:{_FORMAT}} + 5 min.)"
        return _INVALID, f"Signature not yet current: {signed} is still later than {latest}"
    return None


def stamped(response: _Response, skew: float) -> _Response:
    """Return the response with the server's time in its ``Date`` header, unless it was sent."""
    if skew and not response.prepared:
        response.headers["Date"] = email.utils.format_datetime(_now(skew), usegmt=True)
    return response


def _time_of(signed: str) -> dt.datetime | None:
    if not _SHAPE.fullmatch(signed):  # strptime takes fewer digits too
        return None
    try:
        return dt.datetime.strptime(signed, _FORMAT).replace(tzinfo=dt.UTC)
    except ValueError:
        return None


def _now(skew: float) -> dt.datetime:
    return dt.datetime.now(dt.UTC) + dt.timedelta(seconds=skew)
