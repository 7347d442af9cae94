"""The error codes that AWS services have in common, by meaning.

``bedrock/failures.py`` and ``metrics/cloudwatch/outcome.py`` use these sets, add the codes of
their own services, and decide how to handle each.

Source: AWS, "Common errors" of the Bedrock and CloudWatch API references, and the retry codes of
botocore 1.44.5 (``retries/standard.py``); read 2026-11-26.
"""

from __future__ import annotations

THROTTLED = frozenset(
    {
        "LimitExceededException",
        "LimitExceededFault",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "ServiceQuotaExceededException",
        "ThrottledException",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
    }
)
"""Too many requests: the same request may succeed later."""

TIMED_OUT = frozenset({"RequestTimeout", "RequestTimeoutException"})
"""The service did not receive or process the request in time."""

UNAVAILABLE = frozenset(
    {
        "InternalFailure",
        "InternalServerException",
        "ServiceUnavailable",
        "ServiceUnavailableException",
    }
)
"""The service failed."""

BAD_CREDENTIALS = frozenset(
    {
        "ExpiredToken",
        "ExpiredTokenException",
        "IncompleteSignature",
        "IncompleteSignatureException",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "MissingAuthenticationToken",
        "MissingAuthenticationTokenException",
        "RequestExpired",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    }
)
"""The credentials, or the signature made with them, are missing, wrong or expired."""

DENIED = frozenset({"AccessDenied", "AccessDeniedException", "NotAuthorized", "OptInRequired"})
"""The credentials are valid and lack a permission."""
