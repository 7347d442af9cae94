"""A refusal stops a call only where it is sure that no other model would take the request."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from langchain_modelmgr import AllModelsFailedError, ModelManager
from langchain_modelmgr.chain import policy
from langchain_modelmgr.errors import (
    BedrockInvalidRequestError,
    BedrockNotFoundError,
    BedrockPermissionDeniedError,
)
from tests.models import HAIKU, OPUS, SONNET

if TYPE_CHECKING:
    from langchain_modelmgr.local import LocalAWS
    from tests.agents import Configure

NOVA = "us.amazon.nova-pro-v1:0"
MALFORMED = "temperature and top_p cannot both be specified. Please use only one."

OF_THE_PLACE = [
    "Access to Anthropic models is not allowed from unsupported countries, regions, or "
    "territories. Please refer to https://www.anthropic.com/supported-countries",
    "Model use case details have not been submitted for this account. Fill out the Anthropic use "
    "case details form before using the model.",
    "Operation not allowed",
    "Your account is not authorized to invoke this API operation.",
    "Access to this model is not available for channel program accounts. Reach out to your AWS "
    "Solution Provider or AWS Distributor for more information.",
]
OF_NO_SUCH_MODEL = [
    "The provided model identifier is invalid.",
    "Invocation of model ID x with on-demand throughput isn\u2019t supported. Retry your request "
    "with the ID or ARN of an inference profile that contains this model.",
    "The provided model doesn\u2019t support on-demand throughput.",
    "This action doesn't support the model that you provided. Try again with a supported model.",
    "This model version has reached the end of its life. Please refer to the AWS documentation.",
    "Access denied. This Model is marked by provider as Legacy and you have not been actively "
    "using the model in the last 15 days.",
]
OF_AN_UNABLE_MODEL = [
    "This model doesn't support tool use.",
    "This model doesn\u2019t support the system field. Remove system and try again.",
    "The model is unsupported for streaming",
    "You invoked an unsupported model or your request did not allow prompt caching.",
    "toolConfig.toolChoice.any is not supported by this model.",
]
OF_THE_MODEL = [
    *((text, BedrockPermissionDeniedError) for text in OF_THE_PLACE),
    *((text, BedrockNotFoundError) for text in OF_NO_SUCH_MODEL),
    *((text, BedrockInvalidRequestError) for text in OF_AN_UNABLE_MODEL),
]


@pytest.fixture
def llm(configured: Configure) -> Any:
    chain = f"model: '{SONNET}', fallbacks: ['{HAIKU}', '{NOVA}']"
    return ModelManager(configured(f"a: {{{chain}}}"), sinks=[]).chat_model("a")


def _refuse(aws: LocalAWS, model_id: str, text: str = MALFORMED, times: int = 1) -> None:
    aws.fail(model_id, "ValidationException", message=text, times=times)


def _errors(report: dict[str, Any]) -> list[str]:
    return [attempt["error"] for attempt in report["attempts"]]


@pytest.mark.parametrize("mode", ["invoke", "stream", "ainvoke", "astream"])
def test_a_fallbacks_refusal_moves_on_where_the_primary_failed_for_a_passing_reason(
    llm: Any, local_aws: LocalAWS, mode: str
) -> None:
    local_aws.fail(SONNET, "ThrottlingException")
    _refuse(local_aws, HAIKU)

    async def streamed() -> Any:
        return [chunk async for chunk in llm.astream("x")][-1]

    if mode == "invoke":
        reply = llm.invoke("x")
    elif mode == "ainvoke":
        reply = asyncio.run(llm.ainvoke("x"))
    else:
        reply = list(llm.stream("x"))[-1] if mode == "stream" else asyncio.run(streamed())

    report = reply.response_metadata["model_manager"]
    assert report["model_id"] == NOVA
    assert _errors(report) == ["BedrockRateLimitError", "BedrockInvalidRequestError", None]


@pytest.mark.parametrize(
    "passing", ["ServiceUnavailableException", "ModelTimeoutException", "InternalServerException"]
)
def test_any_passing_failure_before_it_lets_a_refusal_move_on(
    llm: Any, local_aws: LocalAWS, passing: str
) -> None:
    local_aws.fail(SONNET, passing)
    _refuse(local_aws, HAIKU)

    assert llm.invoke("x").response_metadata["model_name"] == NOVA


def test_a_fallbacks_refusal_moves_on_while_the_primary_cools_down(
    llm: Any, local_aws: LocalAWS
) -> None:
    local_aws.fail(SONNET, "ThrottlingException", times=3)
    for _ in range(3):
        llm.invoke("x")
    _refuse(local_aws, HAIKU)
    _refuse(local_aws, NOVA)

    report = llm.invoke("x").response_metadata["model_manager"]

    assert report["model_id"] == SONNET  # the last resort
    assert _errors(report) == ["BedrockInvalidRequestError"] * 2 + [None]


def test_a_refusal_of_the_last_candidate_hides_no_passing_failure(
    llm: Any, local_aws: LocalAWS
) -> None:
    local_aws.fail(SONNET, "ThrottlingException")
    _refuse(local_aws, HAIKU)
    _refuse(local_aws, NOVA)

    with pytest.raises(AllModelsFailedError) as caught:
        llm.invoke("x")

    assert caught.value.is_retryable  # the primary may answer in a moment
    assert f"{HAIKU}: ValidationException: {MALFORMED}" in str(caught.value)
    assert f"{SONNET}: ThrottlingException: " in str(caught.value)


def test_a_primarys_refusal_is_raised_at_once(llm: Any, local_aws: LocalAWS) -> None:
    _refuse(local_aws, SONNET)

    with pytest.raises(BedrockInvalidRequestError):
        llm.invoke("x")

    assert local_aws.requests() == 1


def test_a_primarys_refusal_as_a_last_resort_is_raised_as_it_is(
    configured: Configure, local_aws: LocalAWS
) -> None:
    config = configured(f"a: {{model: '{SONNET}', fallbacks: ['{HAIKU}']}}")
    llm = ModelManager(config, sinks=[]).chat_model("a")
    local_aws.fail(SONNET, "ThrottlingException", times=3)
    for _ in range(3):
        llm.invoke("x")
    local_aws.fail(HAIKU, "AccessDeniedException")
    _refuse(local_aws, SONNET)

    with pytest.raises(BedrockInvalidRequestError):
        llm.invoke("x")


def test_a_fallbacks_refusal_stops_where_the_primary_is_denied(
    llm: Any, local_aws: LocalAWS
) -> None:
    local_aws.fail(SONNET, "AccessDeniedException")
    _refuse(local_aws, HAIKU)

    with pytest.raises(BedrockInvalidRequestError):
        llm.invoke("x")

    assert local_aws.requests(NOVA) == 0


def test_a_refusal_never_starts_a_cooldown(llm: Any, local_aws: LocalAWS) -> None:
    for _ in range(5):
        local_aws.fail(SONNET, "ThrottlingException")
        _refuse(local_aws, HAIKU)
        llm.invoke("x")
        llm.invoke("x")  # Sonnet answers

    local_aws.fail(SONNET, "ThrottlingException")
    assert llm.invoke("x").response_metadata["model_name"] == HAIKU


@pytest.mark.parametrize(("text", "kind"), OF_THE_MODEL, ids=lambda value: str(value)[:40])
@pytest.mark.parametrize("code", ["ValidationException", "ResourceNotFoundException"])
def test_a_refusal_about_model_account_or_place_is_that_models_failure(
    llm: Any, local_aws: LocalAWS, text: str, kind: type[Exception], code: str
) -> None:
    local_aws.fail(SONNET, code, message=text)
    local_aws.fail(HAIKU, code, message=text)

    report = llm.invoke("x").response_metadata["model_manager"]

    assert report["model_id"] == NOVA
    if code == "ValidationException":
        assert _errors(report) == [kind.__name__] * 2 + [None]


@pytest.mark.parametrize(("text", "kind"), OF_THE_MODEL, ids=lambda value: str(value)[:40])
def test_a_refusal_of_the_only_model_is_raised_by_its_name(
    configured: Configure, local_aws: LocalAWS, text: str, kind: type[Exception]
) -> None:
    config = configured(f"a: {{model: '{SONNET}', fallbacks: []}}")
    _refuse(local_aws, SONNET, text, times=9)

    with pytest.raises(kind):
        ModelManager(config, sinks=[]).chat_model("a").invoke("x")

    assert local_aws.requests() == 1


def test_an_unsupported_request_does_not_count_against_a_models_health(
    configured: Configure, local_aws: LocalAWS, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(policy, "BACKOFF_BASE_SECONDS", 0.001)
    chain = f"model: '{SONNET}', fallbacks: ['{OPUS}']"
    manager = ModelManager(configured(f"a: {{{chain}}}\nb: {{{chain}}}"), sinks=[])
    _refuse(local_aws, SONNET, "This model doesn't support tool use.", times=4)

    for _ in range(4):
        manager.chat_model("a").invoke("x")

    assert manager.chat_model("b").invoke("x").response_metadata["model_name"] == SONNET


@pytest.mark.parametrize(
    "text",
    [
        "Malformed input request: #/messages/0: extraneous key [foo] is not permitted",
        "The maximum tokens you requested exceeds the model limit of 4096.",
        "messages.0.content.0: text content blocks must be non-empty",
        MALFORMED,
    ],
)
def test_an_invalid_request_stops_at_the_primary(llm: Any, local_aws: LocalAWS, text: str) -> None:
    _refuse(local_aws, SONNET, text)

    with pytest.raises(BedrockInvalidRequestError):
        llm.invoke("x")

    assert local_aws.requests() == 1
