"""Outcome: classifies the answer or the error of a PutMetricData request."""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING, Any

from langchain_modelmgr.runtime import aws_codes

if TYPE_CHECKING:
    from collections.abc import Mapping


class Outcome(Enum):
    """The result of a request."""

    SENT = auto()
    RETRY = auto()
    """Refused for a temporary reason: keep the data and retry."""
    UNUSABLE = auto()
    """Not sent, not answered by CloudWatch, or refused for the credentials: keep, retry later."""
    INVALID = auto()
    """Refused as invalid: one invalid datum fails the whole request."""
    REFUSED = auto()
    """Refused for an unknown reason: perhaps as invalid."""
    AMBIGUOUS = auto()
    """Sent, perhaps accepted: sending it again might count it twice."""


_PASSING = aws_codes.THROTTLED | aws_codes.TIMED_OUT | aws_codes.UNAVAILABLE
_ELSEWHERE = (
    aws_codes.BAD_CREDENTIALS
    | aws_codes.DENIED
    | {"InvalidAction", "UnknownOperationException"}  # another service answered
)
_INVALID = frozenset(
    {
        "InvalidParameterCombination",
        "InvalidParameterCombinationException",
        "InvalidParameterValue",
        "InvalidParameterValueException",
        "MissingParameter",
        "MissingRequiredParameterException",
        "RequestEntityTooLarge",
        "ValidationError",
    }
)
"""CloudWatch's codes for invalid data. Source: AWS, PutMetricData API reference
and "Common errors", and botocore 1.44.5's service model; read 2026-11-26.
No other code drops data."""

_PASSING_STATUS = frozenset({408, 425, 429})
_TOO_LARGE = 413
_BAD_REQUEST = 400
_SERVER_ERROR = 500
_OK = 200
_AWS_CONTENT = ("application/x-amz-json", "application/cbor")


def is_cloudwatchs(headers: Mapping[str, str]) -> bool:
    """Return whether CloudWatch answered: a proxy or a captive portal may answer instead."""
    lower = {name.lower(): value for name, value in headers.items()}
    return bool(lower.get("x-amzn-requestid")) or lower.get("content-type", "").startswith(
        _AWS_CONTENT
    )


def of_answer(status: int, headers: Mapping[str, str], code: str) -> Outcome:
    """Classify an answer.

    Args:
        status: Its HTTP status.
        headers: Its headers.
        code: AWS's error code; empty if there is none.
    """
    if not is_cloudwatchs(headers):
        return Outcome.UNUSABLE
    if status == _OK and not code:
        return Outcome.SENT
    if code in _PASSING or status in _PASSING_STATUS or status >= _SERVER_ERROR:
        return Outcome.RETRY
    if code in _INVALID or status == _TOO_LARGE:
        return Outcome.INVALID
    if code in _ELSEWHERE or status != _BAD_REQUEST:
        return Outcome.UNUSABLE
    return Outcome.REFUSED


def of_error(error: Exception) -> Outcome:
    """Classify an error that came instead of an answer, after sending had begun."""
    from botocore import exceptions as aws

    # Without a connection nothing was sent, and a proxy that refuses did not pass it on. After any
    # other error (a time-out, a reset) the body may have arrived.
    return Outcome.RETRY if isinstance(error, aws.ConnectionError) else Outcome.AMBIGUOUS


def reason(error: Exception) -> str:
    """Return a failure's name as it may be logged: AWS's code or the class, never the text."""
    return code_of(error) or type(error).__name__


def code_of(error: Exception) -> str:
    """Return AWS's error code; empty if there is none."""
    response: Any = getattr(error, "response", None)
    code = response.get("Error", {}).get("Code") if isinstance(response, dict) else None
    return str(code or "")
