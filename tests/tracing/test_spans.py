"""What the spans of a call and its attempts say."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.trace import SpanKind, StatusCode

from langchain_modelmgr import BudgetExceededError, ManagedBedrockChat, ModelManager
from langchain_modelmgr.errors import AllModelsFailedError, ModelCompatibilityError
from langchain_modelmgr.local import ScriptedReply
from tests.agents import count_pallets
from tests.models import HAIKU, SONNET, TITAN
from tests.tracing.span_recorder import of

if TYPE_CHECKING:
    from collections.abc import Callable

    from langchain_modelmgr import ConfigurationManager
    from langchain_modelmgr.local import LocalAWS
    from tests.tracing.span_recorder import Spans

CAPTURE = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
CACHED = {
    "inputTokens": 100,
    "outputTokens": 20,
    "totalTokens": 170,
    "cacheReadInputTokens": 30,
    "cacheWriteInputTokens": 20,
}


def test_a_throttled_call_shows_both_attempts_with_model_tokens_and_cost(
    llm: ManagedBedrockChat, local_aws: LocalAWS, spans: Spans
) -> None:
    local_aws.fail(SONNET, "ThrottlingException", times=1)
    local_aws.reply(HAIKU, ScriptedReply(text="Thirty.", usage=CACHED))

    report = llm.invoke("how many pallets?").response_metadata["model_manager"]

    (call,), (first, second) = spans.calls, spans.attempts
    assert (call.name, call.kind) == ("modelmgr.call a", SpanKind.INTERNAL)
    assert [(s.name, s.kind) for s in (first, second)] == [
        (f"chat {SONNET}", SpanKind.CLIENT),
        (f"chat {HAIKU}", SpanKind.CLIENT),
    ]
    assert (first.status.status_code, first.status.description) == (
        StatusCode.ERROR,
        "BedrockRateLimitError",
    )
    failed, answered = of(first), of(second)
    common = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "aws.bedrock",
        "gen_ai.agent.name": "a",
        "gen_ai.request.stream": False,
    }
    assert common.items() <= failed.items()
    assert common.items() <= answered.items()
    assert failed["error.type"] == "BedrockRateLimitError"
    assert failed["modelmgr.error_code"] == "ThrottlingException"
    assert failed["modelmgr.attempt.number"] == 1
    assert failed["modelmgr.fallback"] is False
    assert "gen_ai.usage.input_tokens" not in failed
    assert answered["gen_ai.request.model"] == answered["gen_ai.response.model"] == HAIKU
    assert answered["gen_ai.usage.input_tokens"] == 150
    assert answered["gen_ai.usage.output_tokens"] == 20
    assert answered["gen_ai.usage.cache_read.input_tokens"] == 30
    assert answered["gen_ai.usage.cache_creation.input_tokens"] == 20
    assert answered["gen_ai.response.finish_reasons"] == ("end_turn",)
    assert answered["modelmgr.cost_usd"] == float(report["cost_usd"])
    assert answered["modelmgr.attempt.number"] == 2
    assert answered["modelmgr.fallback.reason"] == "BedrockRateLimitError"
    assert answered["modelmgr.attempt.wait_seconds"] >= 0


def test_nothing_adds_the_call_to_its_attempts(
    llm: ManagedBedrockChat, local_aws: LocalAWS, spans: Spans
) -> None:
    local_aws.fail(SONNET, "ThrottlingException", times=1)

    message = llm.invoke("how many pallets?")

    found = of(spans.calls[0])
    assert "gen_ai.operation.name" not in found
    assert not [name for name in found if name.startswith("gen_ai.usage")]
    assert not found.keys() & {"modelmgr.cost_usd", "modelmgr.estimated_wasted_cost_usd"}
    assert found["gen_ai.agent.name"] == "a"
    assert found["modelmgr.environment"] == "traced"
    assert found["modelmgr.run_id"] in (message.id or "")
    assert found["modelmgr.outcome"] == "answered"
    assert found["modelmgr.call.model"] == HAIKU
    assert found["modelmgr.call.attempts"] == 2
    assert found["modelmgr.call.cost_usd"] == of(spans.attempts[1])["modelmgr.cost_usd"]
    assert found["modelmgr.call.wait_seconds"] >= 0


def test_an_unknown_cost_is_missing_and_is_not_0(
    traced: Callable[..., ConfigurationManager], spans: Spans
) -> None:
    config = traced("a: {model: my.own-model-v1, fallbacks: []}\n  allow_unknown: true")

    ManagedBedrockChat("a", config=config).invoke("how many pallets?")

    (call,), (attempt,) = spans.calls, spans.attempts
    assert of(call)["modelmgr.unpriced"] is of(attempt)["modelmgr.unpriced"] is True
    assert not [name for name in (*of(call), *of(attempt)) if name.endswith("cost_usd")]


def test_a_call_that_no_model_answers_is_an_error(
    llm: ManagedBedrockChat, local_aws: LocalAWS, spans: Spans
) -> None:
    local_aws.fail(None, "AccessDeniedException", times=None)

    with pytest.raises(AllModelsFailedError) as caught:
        llm.invoke("how many pallets?")

    (call,) = spans.calls
    assert call.status.status_code is StatusCode.ERROR
    assert of(call)["error.type"] == type(caught.value).__name__
    assert len(spans.of_call(call)) == of(call)["modelmgr.call.attempts"] == 2


def test_a_request_that_no_model_can_serve_is_a_call_without_attempts(
    traced: Callable[..., ConfigurationManager], spans: Spans
) -> None:
    llm = ManagedBedrockChat("a", config=traced(f"a: {{model: '{TITAN}', fallbacks: []}}"))
    picture = {"image": {"format": "png", "source": {"bytes": b"\x89PNG"}}}

    with pytest.raises(ModelCompatibilityError):
        llm.invoke([("human", [{"type": "text", "text": "what is this?"}, picture])])

    (call,) = spans.calls
    assert spans.attempts == []
    assert of(call)["error.type"] == "ModelCompatibilityError"
    assert of(call)["modelmgr.call.skipped"][0].startswith(f"{TITAN}: Model does not support")


def test_budgets_and_the_candidates_that_they_refuse_are_on_the_call(
    traced: Callable[..., ConfigurationManager], spans: Spans
) -> None:
    budgets = "budgets: {daily: {usd: 0.0001, per: day}}"
    llm = ManagedBedrockChat("a", config=traced(more=budgets))

    with pytest.raises(BudgetExceededError):
        llm.invoke("how many pallets?")

    found = of(spans.calls[0])
    assert spans.attempts == []
    assert found["error.type"] == "BudgetExceededError"
    assert found["modelmgr.call.skipped"] == (
        f"{SONNET}: Budget 'daily' can't pay for it",
        f"{HAIKU}: Budget 'daily' can't pay for it",
    )


def test_a_call_shows_what_is_left_of_its_budgets(
    traced: Callable[..., ConfigurationManager], spans: Spans
) -> None:
    budgets = "budgets: {daily: {tokens: 100000, per: day, by: agent}}"

    ManagedBedrockChat("a", config=traced(more=budgets), max_tokens=10).invoke("how many pallets?")

    (text,) = of(spans.calls[0])["modelmgr.call.budgets"]
    assert text.startswith("daily: ")
    assert text.endswith(" of 100000 tokens left")


def test_the_answer_of_an_arn_names_the_model_and_masks_the_account(
    traced: Callable[..., ConfigurationManager], spans: Spans
) -> None:
    arn = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc123"
    known = f"models: {{'{arn}': {{base_model: '{HAIKU}'}}}}"
    config = traced(f"a: {{model: '{arn}', fallbacks: []}}", more=known)

    ManagedBedrockChat("a", config=config).invoke("how many pallets?")

    (attempt,) = spans.attempts
    masked = arn.replace("123456789012", "*" * 12)
    assert attempt.name == f"chat {masked}"
    assert of(attempt)["gen_ai.request.model"] == masked
    assert of(attempt)["gen_ai.response.model"] == HAIKU
    assert of(spans.calls[0])["modelmgr.call.model"] == masked


def test_an_attempt_says_why_the_primary_was_not_called(
    traced: Callable[..., ConfigurationManager], local_aws: LocalAWS, spans: Spans
) -> None:
    llm = ManagedBedrockChat("a", config=traced())
    local_aws.fail(SONNET, "ThrottlingException", times=3)
    for _ in range(4):
        llm.invoke("how many pallets?")

    _, last = spans.of_call(spans.calls[0])[-1], spans.of_call(spans.calls[-1])[0]
    assert of(last)["gen_ai.request.model"] == HAIKU
    assert of(last)["modelmgr.attempt.number"] == 1
    assert of(last)["modelmgr.fallback.reason"].startswith("Model is cooling down after failures")
    assert of(spans.calls[-1])["modelmgr.call.skipped"][0].startswith(f"{SONNET}: Model is cooling")


def test_an_attempt_for_which_a_budget_refused_the_primary_says_so(
    traced: Callable[..., ConfigurationManager], spans: Spans
) -> None:
    budgets = "budgets: {daily: {usd: 0.002, per: day}}"
    llm = ManagedBedrockChat("a", config=traced(more=budgets), max_tokens=200)

    llm.invoke("how many pallets?")

    (attempt,) = spans.attempts
    assert of(attempt)["gen_ai.request.model"] == HAIKU
    assert of(attempt)["modelmgr.fallback.reason"] == "Budget 'daily' can't pay for it"


def test_a_stream_has_the_time_to_its_first_content(llm: ManagedBedrockChat, spans: Spans) -> None:
    list(llm.stream("how many pallets?"))

    (attempt,) = spans.attempts
    seconds = ((attempt.end_time or 0) - (attempt.start_time or 0)) / 1e9
    assert of(attempt)["gen_ai.request.stream"] is True
    assert 0 < of(attempt)["gen_ai.response.time_to_first_chunk"] <= seconds + 1e-6


def test_an_attempt_has_the_main_parameters_of_its_request(
    traced: Callable[..., ConfigurationManager], spans: Spans
) -> None:
    llm = ManagedBedrockChat("a", config=traced(), max_tokens=77, temperature=0.5, stop=["END"])

    llm.invoke("how many pallets?")

    found = of(spans.attempts[0])
    assert found["gen_ai.request.max_tokens"] == 77
    assert found["gen_ai.request.temperature"] == 0.5
    assert found["gen_ai.request.stop_sequences"] == ("END",)


def test_spans_have_no_content_unless_the_variable_asks_for_it(
    llm: ManagedBedrockChat, local_aws: LocalAWS, spans: Spans, monkeypatch: pytest.MonkeyPatch
) -> None:
    local_aws.script(lambda _: ScriptedReply(text="thirty-secret"))

    for value in (None, "false", "NO_CONTENT", "EVENT_ONLY"):
        if value is not None:
            monkeypatch.setenv(CAPTURE, value)
        llm.invoke([("system", "system-secret"), ("human", "prompt-secret")])

    for span in (*spans.calls, *spans.attempts):
        assert "secret" not in span.to_json()


@pytest.mark.parametrize("value", ["true", "SPAN_ONLY", "span_and_event"])
@pytest.mark.parametrize("mode", ["invoke", "stream"])
def test_content_is_on_the_attempt_if_the_variable_asks_for_it(
    llm: ManagedBedrockChat,
    local_aws: LocalAWS,
    spans: Spans,
    monkeypatch: pytest.MonkeyPatch,
    value: str,
    mode: str,
) -> None:
    monkeypatch.setenv(CAPTURE, value)
    local_aws.script(lambda _: ScriptedReply(text="Thirty."))

    messages = [("system", "Be brief."), ("human", "How many?")]
    llm.invoke(messages) if mode == "invoke" else list(llm.stream(messages))

    found = {
        name: json.loads(text) for name, text in of(spans.attempts[0]).items() if _is_content(name)
    }
    assert found == {
        "gen_ai.system_instructions": [{"type": "text", "content": "Be brief."}],
        "gen_ai.input.messages": [
            {"role": "user", "parts": [{"type": "text", "content": "How many?"}]}
        ],
        "gen_ai.output.messages": [
            {
                "role": "assistant",
                "parts": [{"type": "text", "content": "Thirty."}],
                "finish_reason": "stop",
            }
        ],
    }
    assert "Thirty" not in spans.calls[0].to_json()


def test_content_has_tool_calls_and_their_results(
    llm: ManagedBedrockChat, spans: Spans, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CAPTURE, "true")
    bound = llm.bind_tools([count_pallets], tool_choice="any")

    answer = bound.invoke("How many pallets are in Hamburg?")
    result: Any = count_pallets.invoke(answer.tool_calls[0])
    bound.invoke(["How many pallets are in Hamburg?", answer, result])

    first, second = (of(span) for span in spans.attempts)
    (asked,) = json.loads(first["gen_ai.output.messages"])
    use = next(part for part in asked["parts"] if part["type"] == "tool_call")
    assert (asked["finish_reason"], use["name"]) == ("tool_call", "count_pallets")
    assert use["arguments"] == answer.tool_calls[0]["args"]
    *_, sent = json.loads(second["gen_ai.input.messages"])
    assert sent["role"] == "tool"
    assert sent["parts"] == [
        {"type": "tool_call_response", "id": use["id"], "response": result.content}
    ]


def test_a_failure_of_opentelemetry_never_reaches_a_call(
    traced: Callable[..., ConfigurationManager], spans: Spans, caplog: pytest.LogCaptureFixture
) -> None:
    manager = ModelManager(traced())
    llm = manager.chat_model("a")

    with caplog.at_level(logging.WARNING):
        spans.fails_at = "start"
        message = llm.invoke("how many pallets?")
        chunks = list(llm.stream("how many pallets?"))
        spans.fails_at = "end"
        asyncio.run(llm.ainvoke("how many pallets?"))

    assert message.content
    assert chunks
    assert spans.ended == []
    assert manager.get_usage_summary()["metrics"]["errors"] == 4
    assert manager.get_usage_summary()["calls"] == 3
    assert "the metrics sink OpenTelemetrySpans failed: RuntimeError" in caplog.text
    assert "secret" not in caplog.text


def _is_content(name: str) -> bool:
    return name.endswith((".messages", ".system_instructions"))
