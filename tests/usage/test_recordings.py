"""Real Bedrock replies, byte for byte, through the managed model."""

from __future__ import annotations

import base64
import json
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from botocore.eventstream import EventStreamBuffer
from langchain_core.exceptions import ModelInvalidRequestError, ModelNotFoundError

from langchain_modelmgr import ConfigurationManager, ModelManager
from langchain_modelmgr.catalog import ModelCatalog
from langchain_modelmgr.local.state import Replay
from langchain_modelmgr.metrics import MemorySink
from langchain_modelmgr.usage.meter import token_counts
from langchain_modelmgr.usage.pricing import cost_of
from tests.support import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable

    from langchain_modelmgr.local import LocalAWS

RECORDINGS = ROOT.parent / "shared" / "recordings" / "converse.jsonl"
_LINES = RECORDINGS.read_text("utf-8").splitlines() if RECORDINGS.is_file() else []
_ALL = [json.loads(line) for line in _LINES]

pytestmark = pytest.mark.skipif(not _ALL, reason="the recordings are not at hand")


def _body(record: dict[str, Any]) -> bytes:
    return base64.b64decode(record["body_base64"])


def _usage_of(record: dict[str, Any]) -> tuple[dict[str, Any], str]:
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
    usage, stop_reason = _usage_of(record)

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


_UNPRICED = {"anthropic.claude-v2": "no list has it: it is older than all of them"}


@pytest.mark.parametrize("record", _named([r for r in _ALL if r["status"] == 200]))
def test_a_recorded_reply_has_a_price_or_a_reason(record: dict[str, Any]) -> None:
    usage, _ = _usage_of(record)
    model = ModelCatalog().resolve(record["model_id"])

    cost = cost_of(token_counts(usage), model)

    if record["model_id"] in _UNPRICED:
        assert (cost, model.in_catalog) == (None, False)
    else:
        assert cost is not None
        assert cost > 0
        assert model.price_source


# Input and output tokens of a real reply, and its price in micro-dollars, worked out by hand from
# USD per million tokens (genai-prices 0.2.3 and LiteLLM 1.109.1 agree on each).
_BY_HAND = [
    ("amazon.titan-text-lite-v1", 8, 10, "3.2"),  # 0.15, 0.20: 1.2 + 2.0
    ("amazon.titan-text-express-v1", 28, 26, "21.2"),  # 0.20, 0.60: 5.6 + 15.6
    ("amazon.titan-text-express-v1", 17, 16, "13"),  # 3.4 + 9.6
    ("amazon.nova-micro-v1:0", 415, 195, "41.825"),  # 0.035, 0.14: 14.525 + 27.3
    ("amazon.nova-micro-v1:0", 558, 57, "27.51"),  # 19.53 + 7.98
    ("amazon.nova-lite-v1:0", 54, 18, "7.56"),  # 0.06, 0.24: 3.24 + 4.32
    ("meta.llama3-2-1b-instruct-v1:0", 52, 36, "8.8"),  # 0.10, 0.10: 5.2 + 3.6
    ("anthropic.claude-3-sonnet-20240229-v1:0", 295, 43, "1530"),  # 3, 15: 885 + 645
    ("us.anthropic.claude-3-7-sonnet-20250219-v1:0", 20, 72, "1140"),  # 3, 15: 60 + 1080
    ("us.anthropic.claude-sonnet-5", 446, 55, "1586.2"),  # 2.2, 11: 981.2 + 605
    ("us.anthropic.claude-sonnet-5", 5582, 38, "12698.4"),  # 12280.4 + 418
    ("us.anthropic.claude-sonnet-5", 1373, 1190, "16110.6"),  # 3020.6 + 13090
]


@pytest.mark.parametrize(("model_id", "read", "written", "micro_dollars"), _BY_HAND)
def test_a_real_reply_priced_by_hand(
    model_id: str, read: int, written: int, micro_dollars: str
) -> None:
    (usage, record), *_ = [
        (usage, r)
        for r in _ALL
        if r["status"] == 200 and r["model_id"].endswith(model_id)
        for usage in [_usage_of(r)[0]]
        if (usage["inputTokens"], usage["outputTokens"]) == (read, written)
    ]

    cost = cost_of(token_counts(usage), ModelCatalog().resolve(record["model_id"]))

    assert cost == Decimal(micro_dollars) / 10**6


def test_all_recordings_are_looked_at() -> None:
    assert (len(_ALL), sum(r["status"] == 200 for r in _ALL)) == (69, 67)
