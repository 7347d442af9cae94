"""A model in a cooldown is tried as a last resort before a call fails or waits."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from langchain_modelmgr import AllModelsFailedError, ModelManager, ModelManagerError
from langchain_modelmgr.chain import policy
from langchain_modelmgr.errors import (
    BedrockAuthenticationError,
    BedrockContextOverflowError,
    BedrockPermissionDeniedError,
    BedrockRateLimitError,
)
from langchain_modelmgr.metrics import MemorySink
from tests.models import HAIKU, LLAMA, OPUS, SONNET

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_modelmgr.local import LocalAWS
    from tests.agents import Configure

MODES = ["invoke", "stream", "ainvoke", "astream", "invoke_model"]
HELLO = [{"role": "user", "content": [{"text": "x"}]}]


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy, "BACKOFF_BASE_SECONDS", 0.001)


def _manager(configured: Configure, fallbacks: Sequence[str] | None, more: str = "") -> Any:
    chain = "" if fallbacks is None else f", fallbacks: {list(fallbacks)}"
    config = configured(f"a: {{model: '{SONNET}'{chain}{more}}}")
    return ModelManager(config, sinks=[MemorySink()])


def _trip(aws: LocalAWS, llm: Any, model_id: str, code: str = "ThrottlingException") -> None:
    """Let a model fail until it cools down, and be healthy again."""
    aws.fail(model_id, code, times=3)
    for _ in range(3):
        llm.invoke("x")
    aws.clear_faults()


def _ask(manager: Any, mode: str) -> dict[str, Any]:
    llm = manager.chat_model("a")
    if mode == "invoke_model":
        return dict(manager.invoke_model("a", HELLO))
    if mode == "invoke":
        reply = llm.invoke("x")
    elif mode == "ainvoke":
        reply = asyncio.run(llm.ainvoke("x"))
    elif mode == "stream":
        reply = list(llm.stream("x"))[-1]
    else:

        async def streamed() -> Any:
            return [chunk async for chunk in llm.astream("x")][-1]

        reply = asyncio.run(streamed())
    report: dict[str, Any] = reply.response_metadata["model_manager"]
    return report


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("code", ["AccessDeniedException", "ThrottlingException"])
@pytest.mark.parametrize("fallbacks", [[HAIKU], None], ids=["named", "family rule"])
def test_a_healthy_model_in_its_cooldown_answers_when_its_fallback_fails(
    configured: Configure, local_aws: LocalAWS, mode: str, code: str, fallbacks: list[str] | None
) -> None:
    manager = _manager(configured, fallbacks)
    _trip(local_aws, manager.chat_model("a"), SONNET)
    before = local_aws.requests(HAIKU)
    local_aws.fail(HAIKU, code, times=None)

    report = _ask(manager, mode)

    assert report["model_id"] == SONNET
    assert [(a["model_id"], bool(a["error"])) for a in report["attempts"]] == [
        (HAIKU, True),
        (SONNET, False),
    ]
    assert not report["fallback_used"]
    assert report["skipped"] == []  # it was passed over at first, and called
    assert local_aws.requests(HAIKU) == before + 1  # not retried before the other was called


def test_of_several_models_in_a_cooldown_the_one_that_ends_first_is_tried_first(
    configured: Configure, local_aws: LocalAWS
) -> None:
    manager = _manager(configured, [OPUS, HAIKU])
    llm = manager.chat_model("a")
    denied = "AccessDeniedException"
    for model_id in (OPUS, SONNET):  # Opus first: its cooldown ends first
        local_aws.fail(model_id, denied)
        llm.invoke("x", model=model_id)
    local_aws.fail(None, denied, times=None)
    before = len(local_aws.calls())

    with pytest.raises(BedrockPermissionDeniedError):
        llm.invoke("x")

    assert [c.model_id for c in local_aws.calls()[before:]] == [HAIKU, OPUS, SONNET]


def test_if_all_models_cool_down_the_one_that_ends_first_is_tried(
    configured: Configure, local_aws: LocalAWS
) -> None:
    manager = _manager(configured, [HAIKU])
    llm = manager.chat_model("a")
    local_aws.fail(None, "AccessDeniedException", times=2)
    with pytest.raises(BedrockPermissionDeniedError):
        llm.invoke("x")  # Sonnet's cooldown starts first, then Haiku's

    report = llm.invoke("x").response_metadata["model_manager"]

    assert report["model_id"] == SONNET
    (skipped,) = report["skipped"]
    assert skipped["model_id"] == HAIKU
    assert skipped["reason"].startswith("Model is cooling down after failures, for ")


def test_the_last_model_in_turn_has_its_retries_after_the_last_resort_was_called(
    configured: Configure, local_aws: LocalAWS
) -> None:
    manager = _manager(configured, [HAIKU], ", retries: 2")
    llm = manager.chat_model("a")
    _trip(local_aws, llm, SONNET)
    local_aws.fail(SONNET, "AccessDeniedException", times=None)
    local_aws.fail(HAIKU, "ThrottlingException", times=2)
    before = len(local_aws.calls())

    report = llm.invoke("x").response_metadata["model_manager"]

    assert [c.model_id for c in local_aws.calls()[before:]] == [HAIKU, SONNET, HAIKU, HAIKU]
    assert report["model_id"] == HAIKU


def test_a_last_resort_is_retried_where_no_other_model_may_answer(
    configured: Configure, local_aws: LocalAWS
) -> None:
    manager = _manager(configured, [HAIKU], ", retries: 2")
    llm = manager.chat_model("a")
    _trip(local_aws, llm, SONNET)
    local_aws.fail(HAIKU, "AccessDeniedException", times=None)
    local_aws.fail(SONNET, "ThrottlingException", times=2)
    before = len(local_aws.calls())

    assert llm.invoke("x").response_metadata["model_name"] == SONNET
    assert [c.model_id for c in local_aws.calls()[before:]] == [HAIKU, SONNET, SONNET, SONNET]


def test_after_an_overflow_only_a_larger_window_is_a_last_resort(
    configured: Configure, local_aws: LocalAWS
) -> None:
    config = configured(f"a: {{model: '{SONNET}', fallbacks: ['{LLAMA}', '{HAIKU}']}}")
    llm = ModelManager(config, sinks=[]).chat_model("a")
    _trip(local_aws, llm, SONNET)
    overflow = "Input is too long for requested model."
    local_aws.fail(LLAMA, "ValidationException", message=overflow)
    local_aws.fail(HAIKU, "ValidationException", message=overflow)

    with pytest.raises(BedrockContextOverflowError) as caught:
        llm.invoke("x")

    assert [a.model_id for a in caught.value.attempts] == [LLAMA, HAIKU]
    assert f"skipped {SONNET}: Model has no larger context window" in str(caught.value)


def test_expired_credentials_cause_no_last_resort(
    configured: Configure, local_aws: LocalAWS
) -> None:
    manager = _manager(configured, [HAIKU])
    llm = manager.chat_model("a")
    _trip(local_aws, llm, SONNET)
    sent = local_aws.requests(SONNET)
    local_aws.fail(HAIKU, "ExpiredTokenException")

    with pytest.raises(BedrockAuthenticationError):
        llm.invoke("x")

    assert local_aws.requests(SONNET) == sent


def test_an_exhausted_call_names_every_model_that_was_tried_with_its_error_code(
    configured: Configure, local_aws: LocalAWS
) -> None:
    manager = _manager(configured, [HAIKU, OPUS], ", retries: 1")
    local_aws.fail(SONNET, "ThrottlingException", times=None)
    local_aws.fail(HAIKU, "ServiceQuotaExceededException", times=None)
    local_aws.fail(OPUS, "ThrottlingException", times=None)

    with pytest.raises(BedrockRateLimitError) as caught:  # of one class, and of three models
        manager.chat_model("a").invoke("x")

    text = str(caught.value)
    assert f"{SONNET}: ThrottlingException: " in text
    assert f"{HAIKU}: ServiceQuotaExceededException: " in text
    assert f"{OPUS}: ThrottlingException: " in text
    assert "(2 attempts)" in text
    assert text.count(OPUS) == 1


def test_an_exhausted_call_names_every_model_that_was_skipped_with_the_reason(
    configured: Configure, local_aws: LocalAWS
) -> None:
    titan = "amazon.titan-text-premier-v1:0"
    manager = _manager(configured, [titan, HAIKU])
    local_aws.fail(SONNET, "ThrottlingException", times=None)
    local_aws.fail(HAIKU, "AccessDeniedException", times=None)

    def look(place: str) -> str:
        """Look up a place."""
        return place

    with pytest.raises(AllModelsFailedError) as caught:
        manager.chat_model("a").bind_tools([look]).invoke("x")

    text = str(caught.value)
    assert f"{SONNET}: ThrottlingException: " in text
    assert f"{HAIKU}: AccessDeniedException: " in text
    assert f"skipped {titan}: Model does not support tools" in text


def test_a_call_that_ran_out_of_time_names_the_models_that_it_did_not_reach(
    configured: Configure, local_aws: LocalAWS
) -> None:
    manager = _manager(configured, [HAIKU, OPUS], ", deadline_seconds: 4")
    llm = manager.chat_model("a")
    _trip(local_aws, llm, SONNET)
    local_aws.stall(HAIKU, 30)

    with pytest.raises(ModelManagerError, match="deadline of 4 s") as caught:
        llm.invoke("x")

    assert f"skipped {SONNET}: Model is cooling down after failures" in str(caught.value)
    assert f"skipped {OPUS}: The call's deadline passed before its turn" in str(caught.value)
