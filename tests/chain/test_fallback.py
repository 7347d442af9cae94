"""The chain over real HTTP: every failure, and what follows from it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError
from langchain_core.exceptions import (
    ContextOverflowError,
    ModelError,
    ModelNotFoundError,
    ModelPermissionDeniedError,
    ModelRateLimitError,
)

from langchain_modelmgr import (
    AllModelsFailedError,
    Attempt,
    ManagedBedrockChat,
    ModelManagerError,
)
from langchain_modelmgr.chain import policy
from langchain_modelmgr.errors import (
    BedrockAuthenticationError,
    BedrockConnectionError,
    BedrockTimeoutError,
)
from tests.models import HAIKU, LLAMA, SONNET

if TYPE_CHECKING:
    from langchain_modelmgr.local import LocalAWS
    from tests.agents import Configure
    from tests.held_replies import TimeOuts


GO_ON = [
    "ThrottlingException",
    "ServiceUnavailableException",
    "InternalServerException",
    "ModelTimeoutException",
    "ModelNotReadyException",
    "ModelErrorException",
    "AccessDeniedException",
    "ResourceNotFoundException",
]
STOP = ["ValidationException", "ExpiredTokenException", "UnrecognizedClientException"]
MODES = ["invoke", "stream", "ainvoke", "astream"]


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy, "BACKOFF_BASE_SECONDS", 0.001)


@pytest.fixture
def llm(configured: Configure) -> ManagedBedrockChat:
    return ManagedBedrockChat(
        agent_name="a", config=configured(f"a: {{model: '{SONNET}', fallbacks: ['{HAIKU}']}}")
    )


async def call(llm: Any, mode: str, question: Any = "how many?") -> Any:
    if mode == "invoke":
        return llm.invoke(question)
    if mode == "ainvoke":
        return await llm.ainvoke(question)
    if mode == "stream":
        chunks = list(llm.stream(question))
    else:
        chunks = [chunk async for chunk in llm.astream(question)]
    message = chunks[0]
    for chunk in chunks[1:]:
        message += chunk
    return message


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("code", GO_ON)
async def test_a_failure_that_another_model_may_not_have_falls_back(
    llm: ManagedBedrockChat, local_aws: LocalAWS, code: str, mode: str
) -> None:
    local_aws.fail(SONNET, code, times=1)

    reply = await call(llm, mode)

    assert reply.response_metadata["model_name"] == HAIKU
    assert reply.response_metadata["model_manager"]["fallback_used"]
    assert (local_aws.requests(SONNET), local_aws.requests(HAIKU)) == (1, 1)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("code", STOP)
async def test_a_failure_that_no_model_can_mend_stops_at_once(
    llm: ManagedBedrockChat, local_aws: LocalAWS, code: str, mode: str
) -> None:
    local_aws.fail(SONNET, code, times=1)

    with pytest.raises(ModelManagerError) as caught:
        await call(llm, mode)

    assert isinstance(caught.value, ModelError)
    assert isinstance(caught.value.__cause__, ClientError)
    assert [a.model_id for a in caught.value.attempts] == [SONNET]
    assert local_aws.requests() == 1


async def test_an_invalid_model_identifier_falls_back(
    llm: ManagedBedrockChat, local_aws: LocalAWS
) -> None:
    local_aws.fail(
        SONNET,
        "ValidationException",
        times=1,
        message="The provided model identifier is invalid.",
    )

    assert llm.invoke("x").response_metadata["model_name"] == HAIKU


@pytest.mark.parametrize("mode", MODES)
async def test_a_connection_that_dies_before_the_reply_is_replaced_once(
    llm: ManagedBedrockChat, local_aws: LocalAWS, mode: str
) -> None:
    local_aws.reset(SONNET, times=1, at="request")

    reply = await call(llm, mode)

    assert reply.response_metadata["model_name"] == SONNET
    assert local_aws.requests(HAIKU) == 0


async def test_a_connection_that_dies_twice_falls_back(
    llm: ManagedBedrockChat, local_aws: LocalAWS
) -> None:
    local_aws.reset(SONNET, times=2, at="request")

    assert llm.invoke("x").response_metadata["model_name"] == HAIKU
    assert local_aws.requests(SONNET) == 2


@pytest.mark.parametrize("mode", MODES)
async def test_a_silent_model_is_left_when_its_time_is_over(
    llm: ManagedBedrockChat, local_aws: LocalAWS, time_outs: TimeOuts, mode: str
) -> None:
    time_outs.after(SONNET, 0.2)
    local_aws.stall(SONNET, 300, times=1)

    reply = await call(llm, mode)

    report = reply.response_metadata["model_manager"]["attempts"]
    assert reply.response_metadata["model_name"] == HAIKU
    assert report[0]["error"] == "BedrockTimeoutError"


async def test_each_call_has_its_own_timeout_on_shared_clients(
    llm: ManagedBedrockChat, local_aws: LocalAWS
) -> None:
    alone = llm.model_copy(update={"use_fallback": False, "max_retries": 0})
    local_aws.stall(SONNET, 300, times=1)

    with pytest.raises(BedrockTimeoutError):
        alone.invoke("x", timeout=0.3)
    local_aws.latency(SONNET, 0.4)  # longer than the first call's time-out
    long = llm.invoke("x", timeout=60)

    assert long.response_metadata["model_name"] == SONNET


async def test_an_unreachable_endpoint_is_a_connection_error(configured: Configure) -> None:
    config = configured(f"a: {{model: '{SONNET}', fallbacks: []}}")
    object.__setattr__(config.aws, "endpoint_url", "http://127.0.0.1:9")

    with pytest.raises(BedrockConnectionError):
        ManagedBedrockChat(agent_name="a", config=config, max_retries=0).invoke("x")


async def test_missing_credentials_stop_at_once(
    llm: ManagedBedrockChat, local_aws: LocalAWS, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")

    with pytest.raises(BedrockAuthenticationError):
        llm.invoke("x")

    assert local_aws.requests() == 0


@pytest.mark.parametrize("mode", MODES)
async def test_the_last_model_is_called_twice_more(
    llm: ManagedBedrockChat, local_aws: LocalAWS, mode: str
) -> None:
    local_aws.fail(SONNET, "ThrottlingException", times=1)
    local_aws.fail(HAIKU, "ThrottlingException", times=2)

    reply = await call(llm, mode)

    assert reply.response_metadata["model_name"] == HAIKU
    assert (local_aws.requests(SONNET), local_aws.requests(HAIKU)) == (1, 3)


@pytest.mark.parametrize("mode", MODES)
async def test_failures_of_one_class_are_raised_as_that_class(
    llm: ManagedBedrockChat, local_aws: LocalAWS, mode: str
) -> None:
    local_aws.fail(None, "ThrottlingException", times=99)

    with pytest.raises(ModelRateLimitError) as caught:
        await call(llm, mode)

    assert isinstance(caught.value, ModelManagerError)
    assert isinstance(caught.value.__cause__, ClientError)
    assert [type(a) for a in caught.value.attempts] == [Attempt] * 4
    assert {a.error for a in caught.value.attempts} == {"BedrockRateLimitError"}


async def test_failures_of_several_classes_are_one_retryable_error(
    llm: ManagedBedrockChat, local_aws: LocalAWS
) -> None:
    local_aws.fail(SONNET, "ThrottlingException", times=9)
    local_aws.fail(HAIKU, "AccessDeniedException", times=9)

    with pytest.raises(AllModelsFailedError) as caught:
        llm.invoke("x")

    assert caught.value.is_retryable
    assert [a.error for a in caught.value.attempts] == [
        "BedrockRateLimitError",
        "BedrockPermissionDeniedError",
    ]
    assert SONNET in str(caught.value)
    assert HAIKU in str(caught.value)


async def test_a_failure_that_stops_a_chain_is_raised_unchanged_after_any_other(
    llm: ManagedBedrockChat, local_aws: LocalAWS
) -> None:
    local_aws.fail(SONNET, "ThrottlingException", times=1)
    local_aws.fail(HAIKU, "ExpiredTokenException", times=1)

    with pytest.raises(BedrockAuthenticationError) as caught:
        llm.invoke("x")

    assert len(caught.value.attempts) == 2


async def test_without_fallbacks_the_primary_is_alone(
    llm: ManagedBedrockChat, local_aws: LocalAWS
) -> None:
    local_aws.fail(SONNET, "AccessDeniedException", times=1)

    with pytest.raises(ModelPermissionDeniedError):
        llm.model_copy(update={"use_fallback": False}).invoke("x")

    assert local_aws.requests() == 1


async def test_a_model_that_is_gone_everywhere_is_not_found(
    llm: ManagedBedrockChat, local_aws: LocalAWS
) -> None:
    local_aws.fail(None, "ResourceNotFoundException", times=9)

    with pytest.raises(ModelNotFoundError):
        llm.invoke("x")


async def test_an_overflow_goes_only_to_a_larger_window(
    configured: Configure, local_aws: LocalAWS
) -> None:
    small = LLAMA.replace("70b", "8b")
    config = configured(f"a: {{model: '{LLAMA}', fallbacks: ['{small}', '{HAIKU}']}}")
    local_aws.fail(LLAMA, "ValidationException", times=1, message="maximum context length is 8192")

    reply = ManagedBedrockChat(agent_name="a", config=config).invoke("x")

    report = reply.response_metadata["model_manager"]
    assert report["model_id"] == HAIKU
    assert report["skipped"] == [
        {"model_id": small, "reason": "Model has no larger context window"}
    ]


async def test_an_overflow_of_the_largest_window_is_langchains_own_error(
    llm: ManagedBedrockChat, local_aws: LocalAWS
) -> None:
    local_aws.fail(SONNET, "ThrottlingException", times=1)
    local_aws.fail(HAIKU, "ValidationException", times=1, message="prompt is too long: 9 > 8")

    with pytest.raises(ContextOverflowError) as caught:
        llm.invoke("x")

    assert isinstance(caught.value, ModelManagerError)


@pytest.mark.parametrize("mode", MODES)
async def test_a_programmers_error_passes_untouched(
    llm: ManagedBedrockChat, local_aws: LocalAWS, mode: str
) -> None:
    with pytest.raises(ValueError, match="Unsupported function") as caught:
        await call(llm.bind(tools=[7]), mode)

    assert not isinstance(caught.value, ModelManagerError)

    assert local_aws.requests() == 0


async def test_one_warning_is_logged_per_fallback_and_per_exhausted_chain(
    llm: ManagedBedrockChat, local_aws: LocalAWS, caplog: pytest.LogCaptureFixture
) -> None:
    local_aws.fail(None, "AccessDeniedException", times=9)

    with caplog.at_level(logging.WARNING), pytest.raises(ModelPermissionDeniedError):
        llm.invoke("my secret question")

    ours = [r.getMessage() for r in caplog.records if r.name.startswith("langchain_modelmgr")]
    assert len(ours) == 2
    assert all(word in ours[0] for word in ("a:", SONNET, HAIKU, "BedrockPermissionDeniedError"))
    assert "gave up" in ours[1]
    assert "secret" not in caplog.text


async def test_a_guardrail_is_sent_to_every_model_unchanged(
    configured: Configure, local_aws: LocalAWS
) -> None:
    guard = {"guardrailIdentifier": "g1", "guardrailVersion": "2"}
    config = configured(f"""
    a:
      model: {SONNET}
      fallbacks: [{HAIKU}]
      parameters: {{guardrail_config: {guard}}}
    """)
    local_aws.fail(SONNET, "ThrottlingException", times=1)

    ManagedBedrockChat(agent_name="a", config=config).invoke("x")

    assert [c.body["guardrailConfig"] for c in local_aws.calls()] == [guard, guard]


async def test_a_guardrail_of_another_region_drops_the_model(
    configured: Configure, local_aws: LocalAWS
) -> None:
    guard = {"guardrailIdentifier": "g1", "guardrailVersion": "2"}
    config = configured(f"""
    a:
      model: {SONNET}
      fallbacks: [{{model: {SONNET}, region: us-west-2}}, {HAIKU}]
      parameters: {{guardrail_config: {guard}}}
    """)
    local_aws.fail(SONNET, "ThrottlingException", times=1)

    reply = ManagedBedrockChat(agent_name="a", config=config).invoke("x")

    report = reply.response_metadata["model_manager"]
    assert report["model_id"] == HAIKU
    assert report["skipped"][0]["reason"] == "Model is in a different region from the guardrail"


async def test_one_providers_own_fields_go_to_no_other_provider(
    configured: Configure, local_aws: LocalAWS
) -> None:
    config = configured(f"""
    a:
      model: {SONNET}
      fallbacks: [{HAIKU}, {LLAMA}]
      parameters: {{additional_model_request_fields: {{top_k: 5}}}}
    """)
    local_aws.fail(SONNET, "ThrottlingException", times=1)
    local_aws.fail(HAIKU, "ThrottlingException", times=1)

    ManagedBedrockChat(agent_name="a", config=config).invoke("x")

    sent = [c.body.get("additionalModelRequestFields") for c in local_aws.calls()]
    assert sent == [{"top_k": 5}, {"top_k": 5}, None]


async def test_a_timeout_names_itself(llm: ManagedBedrockChat, local_aws: LocalAWS) -> None:
    local_aws.stall(None, 30, times=9)

    with pytest.raises(BedrockTimeoutError):
        llm.model_copy(update={"timeout": 0.1, "max_retries": 0}).invoke("x")
