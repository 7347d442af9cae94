"""What each failure of PutMetricData means for the datums that were being sent."""

from __future__ import annotations

from enum import Enum, auto
from typing import Any


class Verdict(Enum):
    """What became of a request."""

    SENT = auto()
    RETRY = auto()
    """Not taken, for a passing reason: keep it and try again."""
    UNUSABLE = auto()
    """Not sent, or refused for who we are: keep it and try again, but not at once."""
    INVALID = auto()
    """Refused for what it holds: one bad datum fails the whole request."""
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
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "MissingAuthenticationToken",
        "MissingAuthenticationTokenException",
        "NotAuthorized",
        "OptInRequired",
        "RequestExpired",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    }
)
_PASSING_STATUS = frozenset({408, 425, 429})
_IDENTITY_STATUS = frozenset({401, 403})
_SERVER_ERROR = 500


def classify(error: Exception) -> Verdict:
    """Return what a failure of PutMetricData means for the batch, once sending had begun."""
    from botocore import exceptions as aws

    if isinstance(error, aws.ClientError):
        return _by_response(error.response)
    # No connection, so nothing was sent. All else (no answer in time, a reset, an answer that
    # can't be read) comes after the body may have arrived.
    return Verdict.RETRY if isinstance(error, aws.ConnectionError) else Verdict.AMBIGUOUS


def _by_response(response: Any) -> Verdict:
    code = response.get("Error", {}).get("Code", "")
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if code in _THROTTLES or status in _PASSING_STATUS or status >= _SERVER_ERROR:
        return Verdict.RETRY
    if code in _IDENTITY or status in _IDENTITY_STATUS:
        return Verdict.UNUSABLE
    return Verdict.INVALID


def reason(error: Exception) -> str:
    """Return a failure's name as it may be logged: AWS's code or the class, never the text."""
    response = getattr(error, "response", None)
    code = response.get("Error", {}).get("Code") if isinstance(response, dict) else None
    return str(code or type(error).__name__)
