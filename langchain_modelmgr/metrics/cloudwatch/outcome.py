"""What became of a request of PutMetricData, by its answer or by the error of botocore."""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


class Outcome(Enum):
    """What became of a request."""

    SENT = auto()
    RETRY = auto()
    """Not taken, for a passing reason: keep it and try again."""
    UNUSABLE = auto()
    """Not sent, or not answered by CloudWatch, or refused for who we are: keep it, try later."""
    INVALID = auto()
    """Refused for what it holds: one bad datum fails the whole request."""
    REFUSED = auto()
    """Refused for a reason that is not known: perhaps for what it holds."""
    AMBIGUOUS = auto()
    """Sent, perhaps taken: sending it again might count it twice."""


_THROTTLES = frozenset(
    {
        "LimitExceededException",
        "LimitExceededFault",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "RequestTimeout",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
    }
)
_IDENTITY = frozenset(
    {
        "AccessDenied",
        "AccessDeniedException",
        "ExpiredToken",
        "ExpiredTokenException",
        "IncompleteSignature",
        "InvalidAction",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "MissingAuthenticationToken",
        "MissingAuthenticationTokenException",
        "NotAuthorized",
        "OptInRequired",
        "RequestExpired",
        "SignatureDoesNotMatch",
        "UnknownOperationException",
        "UnrecognizedClientException",
    }
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
"""CloudWatch's own codes for data that it does not take. Source: AWS, PutMetricData API reference
and "Common errors", and botocore 1.44.5's service model; read 2026-11-26. No other drops any."""

_PASSING_STATUS = frozenset({408, 425, 429})
_TOO_LARGE = 413
_BAD_REQUEST = 400
_SERVER_ERROR = 500
_OK = 200
_AWS_CONTENT = ("application/x-amz-json", "application/cbor")


def is_cloudwatchs(headers: Mapping[str, str]) -> bool:
    """Return whether an answer is CloudWatch's own: a proxy or a captive portal may answer too."""
    lower = {name.lower(): value for name, value in headers.items()}
    return bool(lower.get("x-amzn-requestid")) or lower.get("content-type", "").startswith(
        _AWS_CONTENT
    )


def of_answer(status: int, headers: Mapping[str, str], code: str) -> Outcome:
    """Return what an answer means.

    Args:
        status: Its HTTP status.
        headers: Its headers.
        code: AWS's error code; empty: none.
    """
    if not is_cloudwatchs(headers):
        return Outcome.UNUSABLE
    if status == _OK and not code:
        return Outcome.SENT
    if code in _THROTTLES or status in _PASSING_STATUS or status >= _SERVER_ERROR:
        return Outcome.RETRY
    if code in _INVALID or status == _TOO_LARGE:
        return Outcome.INVALID
    if code in _IDENTITY or status != _BAD_REQUEST:
        return Outcome.UNUSABLE
    return Outcome.REFUSED


def of_error(error: Exception) -> Outcome:
    """Return what an error means after which no answer came, once sending had begun."""
    from botocore import exceptions as aws

    # No connection, so nothing was sent; a proxy that refuses has not passed it on. All else (no
    # answer in time, a reset) comes after the body may have arrived.
    return Outcome.RETRY if isinstance(error, aws.ConnectionError) else Outcome.AMBIGUOUS


def reason(error: Exception) -> str:
    """Return a failure's name as it may be logged: AWS's code or the class, never the text."""
    return code_of(error) or type(error).__name__


def code_of(error: Exception) -> str:
    """Return AWS's error code; empty: there is none."""
    response: Any = getattr(error, "response", None)
    code = response.get("Error", {}).get("Code") if isinstance(response, dict) else None
    return str(code or "")
