"""Maps the errors of botocore, urllib3 and LangChain to ``BedrockError`` classes."""

from __future__ import annotations

import builtins
import email.utils
import re
import time
from typing import TYPE_CHECKING, Any

from langchain_core.exceptions import ContextOverflowError, ModelError

from langchain_modelmgr.bedrock import wordings
from langchain_modelmgr.bedrock.causes import REFUSED
from langchain_modelmgr.errors import (
    BedrockAPIError,
    BedrockAuthenticationError,
    BedrockConnectionError,
    BedrockContextOverflowError,
    BedrockError,
    BedrockInvalidRequestError,
    BedrockNotFoundError,
    BedrockPermissionDeniedError,
    BedrockRateLimitError,
    BedrockTimeoutError,
)
from langchain_modelmgr.runtime import aws_codes
from langchain_modelmgr.runtime.aws_regions import known_regions, nearest_region
from langchain_modelmgr.runtime.masking import mask_account_ids

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

CODES: Mapping[str, type[BedrockError]] = {
    **dict.fromkeys(aws_codes.THROTTLED, BedrockRateLimitError),
    **dict.fromkeys(aws_codes.TIMED_OUT, BedrockTimeoutError),
    **dict.fromkeys(aws_codes.UNAVAILABLE, BedrockAPIError),
    **dict.fromkeys(aws_codes.BAD_CREDENTIALS, BedrockAuthenticationError),
    **dict.fromkeys(aws_codes.DENIED, BedrockPermissionDeniedError),
    # Bedrock Runtime's own (botocore's service model of bedrock-runtime lists them).
    "ConflictException": BedrockInvalidRequestError,
    "ModelErrorException": BedrockAPIError,
    "ModelNotReadyException": BedrockAPIError,
    "ModelStreamErrorException": BedrockAPIError,
    "ModelTimeoutException": BedrockTimeoutError,
    "ResourceNotFoundException": BedrockNotFoundError,
    "ValidationException": BedrockInvalidRequestError,
}
"""AWS error code -> failure. Error events of streams use lower camel case and are mapped too."""

BOTOCORE: Mapping[str, type[BedrockError]] = {
    "ReadTimeoutError": BedrockTimeoutError,
    "ConnectTimeoutError": BedrockTimeoutError,
    "CapacityNotAvailableError": BedrockRateLimitError,
    "ChecksumError": BedrockConnectionError,
    "ConnectionClosedError": BedrockConnectionError,
    "ConnectionError": BedrockConnectionError,
    "EndpointConnectionError": BedrockConnectionError,
    "FlexibleChecksumError": BedrockConnectionError,
    "HTTPClientError": BedrockConnectionError,
    "IncompleteReadError": BedrockConnectionError,
    "ProxyConnectionError": BedrockConnectionError,
    "ResponseStreamingError": BedrockConnectionError,
    "SSLError": BedrockConnectionError,
    "CredentialRetrievalError": BedrockAuthenticationError,
    "LoginAuthorizationCodeError": BedrockAuthenticationError,
    "LoginError": BedrockAuthenticationError,
    "LoginInsufficientPermissions": BedrockAuthenticationError,
    "LoginRefreshRequired": BedrockAuthenticationError,
    "LoginTokenLoadError": BedrockAuthenticationError,
    "MetadataRetrievalError": BedrockAuthenticationError,
    "NoAuthTokenError": BedrockAuthenticationError,
    "NoCredentialsError": BedrockAuthenticationError,
    "PartialCredentialsError": BedrockAuthenticationError,
    "RefreshWithMFAUnsupportedError": BedrockAuthenticationError,
    "SSOError": BedrockAuthenticationError,
    "SSOTokenLoadError": BedrockAuthenticationError,
    "TokenRetrievalError": BedrockAuthenticationError,
    "UnauthorizedSSOTokenError": BedrockAuthenticationError,
    "UnknownCredentialError": BedrockAuthenticationError,
    "ParamValidationError": BedrockInvalidRequestError,
    "ResponseParserError": BedrockAPIError,
}
"""botocore exception class -> failure, for the classes that a request can raise."""

URLLIB3: Mapping[str, type[BedrockError]] = {
    "ReadTimeoutError": BedrockTimeoutError,
    "HTTPError": BedrockConnectionError,
}
"""urllib3 exception class -> failure; a broken stream raises these directly."""

EVENT_STREAM: Mapping[str, type[BedrockError]] = {"ParserError": BedrockConnectionError}
"""botocore.eventstream exception class for incomplete or corrupt frames -> failure."""

_LASTING_CODES = frozenset({"ServiceQuotaExceededException"})

_MESSAGE_LIMIT = 300
"""Maximum length, in characters, of AWS's message in an error."""

STALE_CONNECTION_CODES = frozenset({"ConnectionClosedError"})
"""The connection closed before any byte of the reply, usually a stale kept-alive connection."""

_NEVER_CONNECTED = frozenset(
    {"ConnectTimeoutError", "EndpointConnectionError", "ProxyConnectionError"}
)
"""No connection was made, so that nothing was sent."""

PROMPT_CODES = frozenset(
    {"ModelErrorException", "ModelStreamErrorException", "ModelTimeoutException"}
)
"""The model failed or timed out on this request; other prompts may succeed.
Source: API reference of Converse, errors 408 and 424 (2026-11)."""

CAPACITY_CODES = frozenset(
    {"ModelNotReadyException", "ServiceUnavailable", "ServiceUnavailableException"}
)
"""The service can't accept any requests at the moment."""

_REGION_OF_ENDPOINT = re.compile(r"https://[a-z-]+\.([a-z0-9-]+)\.(?:amazonaws\.com|api\.aws)")


def classify(error: BaseException) -> BedrockError | None:
    """Return the ``BedrockError`` for an exception; None if it is not a failure of the model.

    Args:
        error: An exception of a request, raised by botocore, urllib3 or LangChain.

    Returns:
        A new instance of a ``BedrockError`` subclass, without attempts; None for programming
        errors, interrupts, cancellation and other errors that no other model could avoid.
    """
    if isinstance(error, BedrockError):
        return error
    for link in _chain(error):
        if failure := _of_aws(link) or _of_transport(link):
            return failure
    return _of_langchain(error)


def died_before_reply(failure: BedrockError) -> bool:
    """Return whether the connection closed before any byte of the reply was received."""
    return failure.code in STALE_CONNECTION_CODES


def may_be_the_prompts(failure: BedrockError) -> bool:
    """Return whether the request may have caused the model's failure."""
    return failure.code in PROMPT_CODES


def takes_no_request(failure: BedrockError) -> bool:
    """Return whether the service would have rejected any request."""
    return failure.code in CAPACITY_CODES or not_connected(failure)


def not_connected(failure: BedrockError) -> bool:
    """Return whether connecting timed out, which does not depend on the caller's timeout."""
    return failure.code == "ConnectTimeoutError"


def may_be_billed(failure: BedrockError) -> bool:
    """Return whether Bedrock may bill an attempt that returned no content.

    A rejected request is not billed. A request that was sent and timed out may be.
    """
    return isinstance(failure, BedrockTimeoutError) and not not_connected(failure)


def was_rejected(failure: BedrockError) -> bool:
    """Return whether a failure means that Bedrock does not bill the attempt, whatever was sent.

    An HTTP error reply does, unless the model timed out. A connection that was never made does.
    """
    if may_be_billed(failure):
        return False
    return failure.status is not None or failure.code in _NEVER_CONNECTED


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield the error, and its cause if LangChain wrapped botocore's (``raise ... from``)."""
    yield error
    if isinstance(error, ValueError) and error.__cause__ is not None:
        yield error.__cause__


def _of_aws(error: BaseException) -> BedrockError | None:
    from botocore.exceptions import ClientError

    if not isinstance(error, ClientError):
        return None
    body: dict[str, Any] = error.response.get("Error", {})  # type: ignore[assignment]
    reply: dict[str, Any] = error.response.get("ResponseMetadata", {})  # type: ignore[assignment]
    headers = reply.get("HTTPHeaders", {})
    # The code of an event-stream error is in lower camel case, without an HTTP status.
    code = str(body.get("Code", ""))
    code = code[:1].upper() + code[1:]
    status = reply.get("HTTPStatusCode")
    text = str(body.get("Message", ""))
    words = wordings.plain(text)
    overflow = isinstance(error, ContextOverflowError)  # langchain-aws recognised the message
    kind = BedrockContextOverflowError if overflow else _kind(code, status, words)
    failure = kind(
        f"{code}: {_safe(text)}",
        code=code,
        status=status,
        request_id=reply.get("RequestId"),
        retry_after=_seconds(headers.get("retry-after")),
    )
    failure.is_lasting = _is_lasting(failure, words)
    failure.concerns_model = _concerns_model(failure, words)
    return failure


def _concerns_model(failure: BedrockError, text: str) -> bool:
    if isinstance(failure, BedrockInvalidRequestError):
        return wordings.says(text, wordings.UNABLE_MODEL)
    if isinstance(failure, BedrockPermissionDeniedError | BedrockNotFoundError):
        return not wordings.is_of_the_request(text)
    return failure.concerns_model


def _is_lasting(failure: BedrockError, text: str) -> bool:
    if isinstance(failure, BedrockRateLimitError | BedrockPermissionDeniedError):
        return failure.code in _LASTING_CODES or wordings.says(text, wordings.LASTING)
    return False


def _kind(code: str, status: int | None, text: str) -> type[BedrockError]:
    """Return the class by code; by message only where one code covers several failures."""
    kind = CODES.get(code) or _kind_of_status(status)
    if kind is BedrockInvalidRequestError:
        if wordings.says(text, wordings.OVERFLOW):
            return BedrockContextOverflowError
        if wordings.says(text, wordings.UNKNOWN_MODEL):
            return BedrockNotFoundError
    if kind in (BedrockInvalidRequestError, BedrockNotFoundError):
        return BedrockPermissionDeniedError if wordings.says(text, wordings.NO_ACCESS) else kind
    if kind is BedrockPermissionDeniedError and wordings.says(text, wordings.BAD_CREDENTIALS):
        return BedrockAuthenticationError
    return kind


_STATUS: Mapping[int, type[BedrockError]] = {
    401: BedrockAuthenticationError,
    403: BedrockPermissionDeniedError,
    404: BedrockNotFoundError,
    408: BedrockTimeoutError,
    424: BedrockAPIError,
    429: BedrockRateLimitError,
}
_CLIENT_ERRORS = range(400, 500)


def _kind_of_status(status: int | None) -> type[BedrockError]:
    if status is not None and status in _CLIENT_ERRORS:
        return _STATUS.get(status, BedrockInvalidRequestError)
    return BedrockAPIError


def _of_transport(error: BaseException) -> BedrockError | None:
    import botocore.eventstream
    import botocore.exceptions
    import botocore.parsers
    import urllib3.exceptions

    tables: tuple[tuple[type[BaseException], Mapping[str, type[BedrockError]]], ...] = (
        (botocore.exceptions.BotoCoreError, BOTOCORE),
        (botocore.parsers.ResponseParserError, BOTOCORE),
        (botocore.eventstream.ParserError, EVENT_STREAM),
        (urllib3.exceptions.HTTPError, URLLIB3),
    )
    for base, table in tables:
        if isinstance(error, base):
            for cls in type(error).__mro__:
                if kind := table.get(cls.__name__):
                    return kind(_describe(error, kind), code=type(error).__name__)
    if isinstance(error, builtins.ConnectionError):
        # Also langchain-aws's own, for a stream that ends without messageStop.
        return BedrockConnectionError(f"{type(error).__name__}: {error}", code="ConnectionError")
    return None


def _describe(error: BaseException, kind: type[BedrockError]) -> str:
    name = type(error).__name__
    if kind is BedrockInvalidRequestError:
        # botocore's report quotes the rejected values, which are message content.
        where = REFUSED.match(str(getattr(error, "kwargs", {}).get("report", "")))
        return f"{name}: botocore rejected the request{f': {where[0]}' if where else ''}"
    return f"{name}: {_safe(str(error))}{_suggested_region(error)}"


def _suggested_region(error: BaseException) -> str:
    """Return a suggestion if the unreachable endpoint is in an unknown region."""
    url = str(getattr(error, "kwargs", {}).get("endpoint_url", ""))
    found = _REGION_OF_ENDPOINT.match(url)
    if found is None or found[1] in known_regions():
        return ""
    near = nearest_region(found[1])
    return f"; unknown AWS region {found[1]!r}{f', did you mean {near!r}?' if near else ''}"


def _of_langchain(error: BaseException) -> BedrockError | None:
    if isinstance(error, ContextOverflowError):
        return BedrockContextOverflowError(_safe(str(error)), code=type(error).__name__)
    if isinstance(error, ModelError):
        for kind in BedrockError.__subclasses__():
            if isinstance(error, kind.__bases__[1]):
                return kind(_safe(str(error)), code=type(error).__name__)
    return None


def _safe(text: str) -> str:
    """Return a text with account ids masked, shortened to ``_MESSAGE_LIMIT``."""
    masked = mask_account_ids(text)
    return masked if len(masked) <= _MESSAGE_LIMIT else f"{masked[:_MESSAGE_LIMIT]}…"


def _seconds(header: str | None) -> float | None:
    """Return the seconds of a ``Retry-After`` header; None if it is absent or invalid."""
    if not header:
        return None
    try:
        return max(0.0, float(header))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(header).timestamp() - time.time())
    except ValueError:
        return None
