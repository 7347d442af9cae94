"""Every error of a request is mapped to one failure class."""

from __future__ import annotations

import inspect
import pickle
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import botocore.exceptions
import botocore.session
import pytest
import urllib3.exceptions
from botocore.exceptions import ClientError, EventStreamError
from langchain_core.exceptions import ContextOverflowError, ModelError, ModelRateLimitError
from langgraph.errors import GraphInterrupt

from langchain_modelmgr import errors
from langchain_modelmgr.bedrock.failures import BOTOCORE, CODES, classify, died_before_reply
from langchain_modelmgr.errors import (
    Attempt,
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
    ModelManagerError,
)

_NO_FAILURES_OF_A_REQUEST = {
    # botocore's own mistakes in set-up, other services' errors, and its test stubs.
    "BaseEndpointResolverError",
    "ConfigNotFound",
    "ConfigParseError",
    "DataNotFoundError",
    "EndpointProviderError",
    "InvalidConfigError",
    "InvalidRetryConfigurationError",
    "MissingDependencyException",
    "ValidationError",
    "AwsChunkedWrapperError",
    "UnseekableStreamError",
}
_WORDS_OF_A_REQUEST = ("Connect", "HTTP", "Timeout", "Credential", "Token", "SSO", "Login", "SSL")


def client_error(
    code: str, message: str = "", status: int | None = 400, headers: dict[str, str] | None = None
) -> ClientError:
    reply: Any = {
        "Error": {"Code": code, "Message": message},
        "ResponseMetadata": {
            "HTTPStatusCode": status,
            "RequestId": "req-1",
            "HTTPHeaders": headers or {},
        },
    }
    return ClientError(reply, "Converse")


def test_every_error_of_bedrock_runtime_is_mapped() -> None:
    model = botocore.session.get_session().get_service_model("bedrock-runtime")

    declared = {
        shape.name
        for operation in model.operation_names
        for shape in model.operation_model(operation).error_shapes
    }
    output: Any = model.operation_model("ConverseStream").output_shape
    stream = output.members["stream"]
    in_stream = {
        name[0].upper() + name[1:]
        for name, shape in stream.members.items()
        if shape.metadata.get("exception")
    }

    assert declared | in_stream <= CODES.keys()


def test_every_botocore_error_that_a_request_can_end_in_is_mapped() -> None:
    names = {
        name
        for name, cls in vars(botocore.exceptions).items()
        if inspect.isclass(cls)
        and issubclass(cls, botocore.exceptions.BotoCoreError)
        and any(word in name for word in _WORDS_OF_A_REQUEST)
    }
    set_up = {"UnknownTokenProviderError", "InvalidIMDSEndpointError"}
    legacy = {n for n in names if "SigV" in n or "S3" in n or "STS" in n}

    assert names - set_up - legacy - _NO_FAILURES_OF_A_REQUEST <= BOTOCORE.keys()


@pytest.mark.parametrize(
    ("code", "status", "message", "expected"),
    [
        ("ThrottlingException", 429, "Too many tokens, please wait", BedrockRateLimitError),
        ("ServiceQuotaExceededException", 400, "", BedrockRateLimitError),
        ("throttlingException", None, "slow down", BedrockRateLimitError),
        ("modelStreamErrorException", None, "", BedrockAPIError),
        ("InternalServerException", 500, "", BedrockAPIError),
        ("ModelNotReadyException", 429, "", BedrockAPIError),
        ("ModelTimeoutException", 408, "", BedrockTimeoutError),
        ("AccessDeniedException", 403, "You don't have access", BedrockPermissionDeniedError),
        ("AccessDeniedException", 403, "Authentication failed", BedrockAuthenticationError),
        ("ExpiredTokenException", 403, "expired", BedrockAuthenticationError),
        ("UnrecognizedClientException", 403, "", BedrockAuthenticationError),
        ("ResourceNotFoundException", 404, "end of its life", BedrockNotFoundError),
        ("ValidationException", 400, "Malformed input request", BedrockInvalidRequestError),
        (
            "ValidationException",
            400,
            "The provided model identifier is invalid.",
            BedrockNotFoundError,
        ),
        (
            "ValidationException",
            400,
            "Invocation of model ID x with on-demand throughput isn't supported.",
            BedrockNotFoundError,
        ),
        (
            "ValidationException",
            400,
            "input length and `max_tokens` exceed context limit: 9 + 9 > 9",
            BedrockContextOverflowError,
        ),
        ("ValidationException", 400, "too many input tokens", BedrockContextOverflowError),
        ("validationException", None, "prompt is too long: 3", BedrockContextOverflowError),
        ("NewFailure", 401, "", BedrockAuthenticationError),
        ("NewFailure", 404, "", BedrockNotFoundError),
        ("NewFailure", 418, "", BedrockInvalidRequestError),
        ("NewFailure", 429, "", BedrockRateLimitError),
        ("NewFailure", 599, "", BedrockAPIError),
        ("newFailure", None, "", BedrockAPIError),
    ],
)
def test_an_aws_error_is_named_by_code_first_and_message_last(
    code: str, status: int | None, message: str, expected: type[BedrockError]
) -> None:
    failure = classify(client_error(code, message, status))

    assert type(failure) is expected
    assert failure.status == status
    assert failure.request_id == "req-1"
    assert issubclass(expected, ModelError)
    assert issubclass(expected, ModelManagerError)


def test_an_error_event_of_a_stream_is_named_like_its_http_twin() -> None:
    error = EventStreamError(
        {"Error": {"Code": "throttlingException", "Message": "x"}}, "ConverseStream"
    )

    failure = classify(error)

    assert type(failure) is BedrockRateLimitError
    assert failure.code == "ThrottlingException"


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (botocore.exceptions.ReadTimeoutError(endpoint_url="u"), BedrockTimeoutError),
        (botocore.exceptions.ConnectTimeoutError(endpoint_url="u"), BedrockTimeoutError),
        (botocore.exceptions.EndpointConnectionError(endpoint_url="u"), BedrockConnectionError),
        (botocore.exceptions.ConnectionClosedError(endpoint_url="u"), BedrockConnectionError),
        (botocore.exceptions.NoCredentialsError(), BedrockAuthenticationError),
        (botocore.exceptions.ParamValidationError(report="secret"), BedrockInvalidRequestError),
        (urllib3.exceptions.ProtocolError("reset"), BedrockConnectionError),
        (
            urllib3.exceptions.ReadTimeoutError(None, "u", "slow"),  # type: ignore[arg-type]
            BedrockTimeoutError,
        ),
        (ConnectionError("Incomplete Bedrock response stream"), BedrockConnectionError),
        (ContextOverflowError("too long"), BedrockContextOverflowError),
        (ModelRateLimitError("other layer"), BedrockRateLimitError),
    ],
)
def test_a_failure_of_transport_or_of_langchain_is_named(
    error: Exception, expected: type[BedrockError]
) -> None:
    assert type(classify(error)) is expected


@pytest.mark.parametrize(
    "error",
    [
        TypeError("bug"),
        AttributeError("bug"),
        ValueError("bug"),
        KeyboardInterrupt(),
        GeneratorExit(),
        GraphInterrupt(),
        botocore.exceptions.NoRegionError(),
    ],
)
def test_an_error_that_no_other_model_could_avoid_is_not_a_failure(error: BaseException) -> None:
    assert classify(error) is None


def test_an_error_that_langchain_wrapped_is_named_by_its_cause() -> None:
    wrapped = ValueError("System tools require 'bedrock:InvokeTool'")
    wrapped.__cause__ = client_error("AccessDeniedException", "InvokeTool", 403)

    assert isinstance(classify(wrapped), BedrockPermissionDeniedError)


def test_a_failure_is_its_own_name() -> None:
    failure = BedrockTimeoutError("x")

    assert classify(failure) is failure


def test_account_ids_and_long_texts_stay_out_of_messages() -> None:
    text = f"User: arn:aws:iam::123456789012:user/x is not authorized {'x' * 999}"

    failure = classify(client_error("AccessDeniedException", text, 403))

    assert failure is not None
    assert "123456789012" not in str(failure)
    assert len(str(failure)) < 400


def test_values_that_botocore_refused_stay_out_of_messages() -> None:
    error = botocore.exceptions.ParamValidationError(report="value: my secret prompt")

    assert "secret" not in str(classify(error))


@pytest.mark.parametrize(("header", "low", "high"), [("7", 7, 7), ("-3", 0, 0), ("1.5", 1.5, 1.5)])
def test_retry_after_is_read_in_seconds(header: str, low: float, high: float) -> None:
    failure = classify(client_error("ThrottlingException", headers={"retry-after": header}))

    assert failure is not None
    assert failure.retry_after is not None
    assert low <= failure.retry_after <= high


def test_retry_after_is_read_as_a_date_and_ignored_where_unreadable() -> None:
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)

    dated = classify(client_error("ThrottlingException", headers={"retry-after": soon}))
    broken = classify(client_error("ThrottlingException", headers={"retry-after": "soon"}))

    assert dated is not None
    assert broken is not None
    assert dated.retry_after is not None
    assert 20 < dated.retry_after <= 30
    assert broken.retry_after is None


def test_only_a_connection_that_closed_before_the_reply_is_stale() -> None:
    closed = classify(botocore.exceptions.ConnectionClosedError(endpoint_url="u"))
    refused = classify(botocore.exceptions.EndpointConnectionError(endpoint_url="u"))

    assert closed is not None
    assert refused is not None
    assert died_before_reply(closed)
    assert not died_before_reply(refused)


def _error_classes() -> list[type[ModelManagerError]]:
    return [
        cls
        for cls in vars(errors).values()
        if inspect.isclass(cls) and issubclass(cls, ModelManagerError)
    ]


@pytest.mark.parametrize("cls", _error_classes())
def test_every_error_survives_pickling(cls: type[ModelManagerError]) -> None:
    error = cls("what and where", [Attempt("m", "BedrockTimeoutError", 1.5, "r")])
    error.is_retryable = True  # type: ignore[attr-defined]

    copied = pickle.loads(pickle.dumps(error))  # noqa: S301

    assert type(copied) is cls
    assert str(copied) == "what and where"
    assert copied.attempts == error.attempts
    assert vars(copied)["is_retryable"] is True


def test_the_error_tree_in_the_docstring_is_the_real_one() -> None:
    names = {cls.__name__ for cls in _error_classes()}

    assert all(name in (errors.__doc__ or "") for name in names)


@pytest.mark.parametrize(
    ("code", "message", "lasts"),
    [
        ("ThrottlingException", "Too many requests, please wait before trying again.", False),
        ("ThrottlingException", "Too many tokens, please wait before trying again.", False),
        ("ThrottlingException", "Too many tokens per day, please wait before trying again.", True),
        ("ThrottlingException", "Your daily request quota is used up.", True),
        ("ThrottlingException", "A wording that is not known yet.", False),
        ("ServiceQuotaExceededException", "Whatever it says.", True),
        ("AccessDeniedException", "You don't have access to the model.", False),
        ("AccessDeniedException", "Your agreement is being created; please wait.", True),
        (
            "AccessDeniedException",
            "Your AWS Marketplace subscription for this model cannot be completed at this time. "
            "If you recently fixed this issue, try again after 2 minutes.",
            True,
        ),
        ("ValidationException", "Too many tokens per day is not a throttle here.", False),
        ("InternalServerException", "daily trouble", False),
    ],
)
def test_lasting_failures_are_distinguished_from_passing_ones(
    code: str, message: str, lasts: bool
) -> None:
    failure = classify(client_error(code, message))

    assert failure is not None
    assert failure.is_lasting is lasts


@pytest.mark.parametrize(
    ("region", "text"),
    [
        ("us-nort-1", "; unknown AWS region 'us-nort-1', did you mean '"),
        ("eu-centrall-9", "; unknown AWS region 'eu-centrall-9', did you mean 'eu-central-"),
        ("us-east-1", None),
        ("us-gov-west-1", None),
    ],
)
def test_an_error_for_an_endpoint_of_an_unknown_region_suggests_the_nearest(
    region: str, text: str | None
) -> None:
    url = f"https://bedrock-runtime.{region}.amazonaws.com/model/m/converse"

    failure = classify(botocore.exceptions.EndpointConnectionError(endpoint_url=url))

    assert failure is not None
    assert (text in str(failure)) if text else ("unknown AWS region" not in str(failure))
