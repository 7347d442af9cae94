"""Real Bedrock replies, byte for byte, through the managed model."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from botocore.eventstream import EventStreamBuffer
from langchain_core.exceptions import ModelInvalidRequestError, ModelNotFoundError

from langchain_modelmgr import ConfigurationManager, ModelManager
from langchain_modelmgr.local.state import Replay
from langchain_modelmgr.metrics import MemorySink
from langchain_modelmgr.wire import token_counts

if TYPE_CHECKING:
    from collections.abc import Callable

    from langchain_modelmgr.local import LocalAWS

RECORDINGS = Path(__file__).resolve().parents[2] / "shared" / "recordings" / "converse.jsonl"
_LINES = RECORDINGS.read_text("utf-8").splitlines() if RECORDINGS.is_file() else []
_ALL = [json.loads(line) for line in _LINES]

pytestmark = pytest.mark.skipif(not _ALL, reason="the recordings are not at hand")


def _body(record: dict[str, Any]) -> bytes:
    return base64.b64decode(record["body_base64"])


def _told(record: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """Return the raw reply's usage and stop reason, read without langchain-aws."""
    if record["operation"] == "Converse":
        reply = json.loads(_body(record))
        return reply["usage"], reply["stopReason"]
    buffer: Any = EventStreamBuffer()
    usage: dict[str, Any] = {}
    stop = ""
    buffer.add_data(_body(record))
    for event in buffer:
        payload = json.loads(event.payload)
        if event.headers[":event-type"] == "metadata":
            usage = payload["usage"]
        elif event.headers[":event-type"] == "messageStop":
            stop = payload["stopReason"]
    return usage, stop


def _named(records: list[dict[str, Any]]) -> list[Any]:
    return [
        pytest.param(r, id=f"{i}-{r['operation']}-{r['model_id']}") for i, r in enumerate(records)
    ]


def _ask(
    record: dict[str, Any], configured: Callable[..., ConfigurationManager], aws: LocalAWS
) -> tuple[Any, MemorySink]:
    sink = MemorySink()
    config = configured(
        f"a: {{model: '{record['model_id']}', fallbacks: []}}",
        f"models: {{'{record['model_id']}': {{supports_streaming: true, "
        "supports_streaming_tools: true, provider: anthropic, base_model: anthropic.recorded}}",
    )
    aws._state.add_replay(
        record["operation"],
        record["model_id"],
        Replay(record["status"], record["headers"], _body(record)),
    )
    llm = ModelManager(config, sinks=[sink]).chat_model("a")
    if record["operation"] == "Converse":
        return llm.invoke("x"), sink
    message: Any = None
    for chunk in llm.stream("x"):
        message = chunk if message is None else message + chunk
    return message, sink


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("record", _named([r for r in _ALL if r["status"] == 200]))
def test_a_recorded_reply_keeps_usage_and_stop_reason(
    record: dict[str, Any], configured: Callable[..., ConfigurationManager], local_aws: LocalAWS
) -> None:
    usage, stop_reason = _told(record)

    message, sink = _ask(record, configured, local_aws)

    (entered,) = sink.records
    assert entered.tokens == token_counts(usage)
    assert entered.tokens.total_tokens == usage["totalTokens"]
    assert message.response_metadata["stopReason"] == stop_reason
    assert message.response_metadata["model_name"] == record["model_id"]
    assert message.usage_metadata["output_tokens"] == usage["outputTokens"]


@pytest.mark.parametrize("record", _named([r for r in _ALL if r["status"] != 200]))
def test_a_recorded_error_is_named(
    record: dict[str, Any], configured: Callable[..., ConfigurationManager], local_aws: LocalAWS
) -> None:
    with pytest.raises((ModelNotFoundError, ModelInvalidRequestError)) as caught:
        _ask(record, configured, local_aws)

    assert isinstance(caught.value, ModelNotFoundError)


def test_all_recordings_are_looked_at() -> None:
    assert (len(_ALL), sum(r["status"] == 200 for r in _ALL)) == (69, 67)
