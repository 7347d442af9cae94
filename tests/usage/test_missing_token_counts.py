"""Answers that came whole, without their token counts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from langchain_modelmgr import ModelManager
from langchain_modelmgr.metrics import MemorySink
from tests.models import HAIKU, SONNET
from tests.support import BEGIN, answer_with_events, answer_with_json, delta, end, stop

if TYPE_CHECKING:
    from collections.abc import Callable

    from langchain_modelmgr.local import LocalAWS
    from tests.agents import Configure
    from tests.held_replies import TimeOuts

HI: list[Any] = [{"role": "user", "content": [{"text": "how many pallets are in Hamburg?"}]}]

FAULTS: dict[str, Callable[[LocalAWS], None]] = {
    "nothing more": lambda aws: aws.cut(None, at="end"),
    "an error event": lambda aws: aws.fail(None, "ThrottlingException", at="end"),
    "another error event": lambda aws: aws.fail(None, "InternalServerException", at="end"),
    "a reset": lambda aws: aws.reset(None, at="end"),
    "silence": lambda aws: aws.stall(None, 300, at="end"),
}


@pytest.fixture
def sink() -> MemorySink:
    return MemorySink()


@pytest.fixture
def manager(configured: Configure, sink: MemorySink, time_outs: TimeOuts) -> ModelManager:
    time_outs.when(SONNET, lambda _, meter: meter.stop_reason is not None)
    agents = f"a: {{model: '{SONNET}', fallbacks: ['{HAIKU}'], timeout_seconds: 60}}"
    return ModelManager(configured(agents), sinks=[sink])


@pytest.mark.parametrize("fault", FAULTS)
def test_the_answer_is_whole_after_message_stop(
    manager: ModelManager, local_aws: LocalAWS, sink: MemorySink, fault: str
) -> None:
    FAULTS[fault](local_aws)

    message: Any = None
    for chunk in manager.chat_model("a").stream("how many pallets are in Hamburg?"):
        message = chunk if message is None else message + chunk

    assert message.text == "You said: how many pallets are in Hamburg?"
    assert message.response_metadata["model_name"] == SONNET
    assert message.response_metadata["stopReason"] == "end_turn"
    assert message.response_metadata["model_manager"]["cost_usd"] is None
    assert message.usage_metadata["input_tokens"] == 8
    assert local_aws.requests() == 1
    (record,) = sink.records
    assert (record.outcome, record.usage_estimated, record.cost_usd) == ("answered", True, None)
    assert record.output_tokens == message.usage_metadata["output_tokens"] > 5


@pytest.mark.parametrize("fault", FAULTS)
async def test_an_answer_without_token_counts_is_estimated_and_counted_as_unpriced(
    manager: ModelManager, local_aws: LocalAWS, fault: str
) -> None:
    FAULTS[fault](local_aws)

    result = [event async for event in manager.astream_model("a", HI)][-1]["result"]

    assert result["response"] == "You said: how many pallets are in Hamburg?"
    assert result["cost"] is None
    assert result["usage"]["total_tokens"] > 10
    summary = manager.get_usage_summary()
    assert summary["total_tokens"] == result["usage"]["total_tokens"]
    assert summary["unpriced_invocations"] == 1
    assert summary["success_rate"] == 1.0
    assert summary["estimated_wasted_cost_usd"] == 0


def test_the_log_says_that_the_counts_are_estimated_and_names_no_price(
    manager: ModelManager, local_aws: LocalAWS, caplog: pytest.LogCaptureFixture
) -> None:
    local_aws.cut(SONNET, at="end")

    list(manager.stream_model("a", HI))

    assert "came without its token counts" in caplog.text
    assert "price" not in caplog.text.replace("unpriced", "")


def test_a_metadata_event_without_usage_is_as_good_as_none(
    manager: ModelManager, local_aws: LocalAWS
) -> None:
    shown = ("metadata", {"metrics": {"latencyMs": 1}})
    answer_with_events(local_aws, SONNET, BEGIN, delta(0, text="12"), stop(0), end(), shown)

    *_, last = manager.stream_model("a", HI)

    assert last["result"]["response"] == "12"
    assert manager.get_usage_summary()["unpriced_invocations"] == 1


def test_a_reply_without_usage_is_estimated_too(manager: ModelManager, local_aws: LocalAWS) -> None:
    message = {"role": "assistant", "content": [{"text": "12 pallets"}]}
    reply = {"output": {"message": message}, "stopReason": "end_turn", "metrics": {"latencyMs": 1}}
    answer_with_json(local_aws, SONNET, reply)

    answered = manager.chat_model("a").invoke("how many pallets are in Hamburg?")

    assert answered.text == "12 pallets"
    assert manager.get_usage_summary()["unpriced_invocations"] == 1
    assert manager.get_usage_summary()["total_tokens"] > 8


def test_an_error_before_message_stop_is_an_error_as_before(
    manager: ModelManager, local_aws: LocalAWS
) -> None:
    local_aws.fail(SONNET, "ThrottlingException", at="stream", after=0)

    *_, last = manager.stream_model("a", HI)

    assert last["result"]["model_id"] == HAIKU
    assert manager.get_usage_summary()["unpriced_invocations"] == 0
