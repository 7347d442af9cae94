"""Async calls without a thread: the replies, errors, records and requests of the synchronous path."""

from __future__ import annotations

import asyncio
import base64
import re
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import pytest
from langchain_aws import ChatBedrockConverse
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage

from langchain_modelmgr import ModelManager, ModelManagerError
from langchain_modelmgr.local import ScriptedReply
from langchain_modelmgr.local.state import Replay
from tests.agents import count_pallets
from tests.chain.awaited import AGENT, CHAIN, awaiting
from tests.chain.fault_matrix import KINDS, Kind
from tests.models import HAIKU, SONNET
from tests.support import answer_with_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from langchain_modelmgr.local import LocalAWS
    from tests.agents import Configure
    from tests.chain.awaited import Threads
    from tests.held_replies import TimeOuts

MODES = ["unary", "stream"]

_PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(40)).decode()
_USAGE = {
    "inputTokens": 5,
    "outputTokens": 7,
    "totalTokens": 62,
    "cacheReadInputTokens": 30,
    "cacheWriteInputTokens": 20,
    "cacheDetails": [{"ttl": "1h", "inputTokens": 20}],
}
_IMAGE = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{_PNG}"}}
_HISTORY: list[Any] = [
    SystemMessage("Be brief."),
    HumanMessage("x"),
    AIMessage("", tool_calls=[{"name": "count_pallets", "args": {"warehouse": "H"}, "id": "t1"}]),
    ToolMessage("7", tool_call_id="t1"),
]
PROMPTS: dict[str, Any] = {
    "text": "x",
    "unicode": "Häfen 港口 🚢 \u2028 \x7f",
    "an image": [HumanMessage([{"type": "text", "text": "?"}, _IMAGE])],
    "a tool's result": _HISTORY,
    "a long history": [HumanMessage("a"), AIMessage("b ")] * 40 + [HumanMessage("c")],
}
REPLIES: dict[str, ScriptedReply] = {
    "text": ScriptedReply(text="Sieben Paletten für 東京 🚢"),
    "tools": ScriptedReply(
        text="Let me look.", tool_calls=[("count_pallets", {"warehouse": "H"}, "t9")]
    ),
    "tool input that broke off": ScriptedReply(tool_calls=[("count_pallets", '{"ware', "t9")]),
    "cache usage": ScriptedReply(text="x", usage=_USAGE),
    "reasoning and fields": ScriptedReply(text="x", reasoning="So:", additional_fields="odd"),
}
_VARIES = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}|lc_run--\S+|'(?:latency_ms|latencyMs)': [^,}]+|latency_ms=[\d.]+|"
                     r"\w{3}, \d\d \w{3} \d{4} [\d:]+ GMT|[\d.]+ (?=s\b)")  # fmt: skip


@pytest.fixture
def ready(configured: Configure) -> Iterator[tuple[ModelManager, Threads]]:
    with awaiting(configured, f"a: {AGENT}\nb: {CHAIN}") as made:
        yield made


def plain(value: object) -> str:
    """Return a text of a value, without what differs between any two calls."""
    return _VARIES.sub("~", str(value))


def sync_outcome(llm: Any, prompt: Any, mode: str) -> Any:
    """Return what a synchronous call gives."""
    try:
        if mode == "unary":
            return described(llm.invoke(prompt))
        return [described(chunk) for chunk in llm.stream(prompt)]
    except Exception as error:  # noqa: BLE001 - compared
        return said(error)


async def async_outcome(llm: Any, prompt: Any, mode: str) -> Any:
    """Return what an async call gives."""
    try:
        if mode == "unary":
            return described(await llm.ainvoke(prompt))
        return [described(chunk) async for chunk in llm.astream(prompt)]
    except Exception as error:  # noqa: BLE001 - compared
        return said(error)


def described(message: Any) -> str:
    return plain(message.model_dump())


def said(error: Exception) -> Any:
    """Return all that an error says."""
    fields = {k: v for k, v in vars(error).items() if k != "attempts"}
    attempts = [plain(attempt) for attempt in getattr(error, "attempts", ())]
    causes, cause = [], error.__cause__
    while cause is not None:
        causes.append((type(cause).__module__, type(cause).__name__, plain(cause)))
        cause = cause.__cause__ if isinstance(cause, ModelManagerError) else None
    notes = [plain(note) for note in getattr(error, "__notes__", ())]
    return type(error).__name__, plain(error), plain(fields), attempts, causes, notes


def recorded(sink: Threads) -> list[str]:
    """Return the records, without what differs between any two calls, and forget them."""
    found = [
        plain({k: v for k, v in asdict(r).items() if "ms" not in k and k not in _OWN})
        for r in sink.records
    ]
    sink.clear()
    return found


_OWN = {"timestamp", "request_id", "call_id", "attempt_id", "run_id"}


def compare(
    ready: tuple[ModelManager, Threads],
    prompt: Any = "x",
    mode: str = "unary",
    *,
    agent: str = "a",
    before: Callable[[], None] = lambda: None,
    tools: bool = False,
) -> Any:
    """Make a call synchronously and without a thread; both must give and record the same."""
    manager, sink = ready
    llm: Any = manager.chat_model(agent)
    if tools:
        llm = llm.bind_tools([count_pallets])
    before()
    by_thread, first = sync_outcome(llm, prompt, mode), recorded(sink)
    sink.names.clear()
    before()
    awaited = asyncio.run(async_outcome(llm, prompt, mode))
    assert awaited == by_thread
    assert recorded(sink) == first
    assert set(sink.names) <= {"MainThread"}  # none ran on a thread of the pool
    return awaited


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.filterwarnings("ignore:Tool messages were passed without toolConfig")
def test_the_same_requests_are_sent_and_the_same_replies_are_returned(
    ready: tuple[ModelManager, Threads], local_aws: LocalAWS, mode: str
) -> None:
    for prompt in PROMPTS.values():
        compare(ready, prompt, mode, tools=True)
        by_thread, awaited = local_aws.calls(SONNET)[-2:]
        assert awaited.body == by_thread.body
        changing = {"X-Amz-Date", "Authorization", "amz-sdk-invocation-id"}
        first, second = (
            {k: v for k, v in call.headers.items() if k not in changing}
            for call in (by_thread, awaited)
        )
        assert second == first
    for reply in REPLIES.values():
        compare(ready, mode=mode, tools=True, before=lambda r=reply: local_aws.reply(SONNET, r))  # type: ignore[misc]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "kind", [k for k in KINDS if "before headers" in k.places], ids=lambda k: k.name
)
def test_failures_before_the_reply_are_the_same(
    configured: Configure, local_aws: LocalAWS, time_outs: TimeOuts, kind: Kind, mode: str
) -> None:
    with awaiting(configured, f"a: {AGENT}\nb: {CHAIN}") as ready:
        if kind.silent:
            time_outs.after(SONNET, 0.5, of_socket=True)
        for agent in "ab":
            compare(
                ready,
                mode=mode,
                agent=agent,
                before=lambda: kind.order(local_aws, "before headers", 0),
            )


def _raw(status: int, body: bytes, **headers: str) -> Replay:
    return Replay(status, {"Content-Type": "application/json", **headers}, body)


@pytest.mark.parametrize(
    "reply",
    [
        _raw(200, b"{"),
        _raw(200, b""),
        _raw(200, b"[]"),
        _raw(200, b'{"output": 7}'),
        _raw(200, b'{"stopReason": "end_turn", "usage": {"inputTokens": 1}}'),
        _raw(400, b"<html>"),
        _raw(503, b""),
        _raw(429, b'{"message": "slow down"}', **{"Retry-After": "0"}),
        _raw(302, b"", Location="http://127.0.0.1:9/"),
        _raw(500, b'{"message": "x"}', **{"x-amzn-ErrorType": "InternalServerException:"}),
    ],
    ids=range(10),
)
def test_odd_replies_are_read_the_same(
    ready: tuple[ModelManager, Threads], local_aws: LocalAWS, reply: Replay
) -> None:
    compare(ready, before=lambda: local_aws._state.add_replay("Converse", SONNET, reply))


def test_a_reply_without_its_token_counts_is_recorded_the_same(
    ready: tuple[ModelManager, Threads], local_aws: LocalAWS
) -> None:
    reply = {
        "output": {"message": {"role": "assistant", "content": [{"text": "seven"}]}},
        "stopReason": "end_turn",
    }

    compare(ready, before=lambda: answer_with_json(local_aws, SONNET, reply))


def test_a_fallback_answers_a_call_without_a_thread(
    ready: tuple[ModelManager, Threads], local_aws: LocalAWS
) -> None:
    manager, sink = ready
    local_aws.fail(SONNET, "ThrottlingException")

    reply = asyncio.run(manager.chat_model("b").ainvoke("x"))

    assert reply.response_metadata["model_manager"]["model_id"] == HAIKU
    assert [r.outcome for r in sink.records] == ["failed", "answered"]
    assert sink.names == ["MainThread"] * 2


def test_a_large_request_is_sent_the_same(
    ready: tuple[ModelManager, Threads], local_aws: LocalAWS
) -> None:
    image = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(1_500_000)).decode()
    url = {"url": f"data:image/png;base64,{image}"}

    compare(ready, [HumanMessage([{"type": "image_url", "image_url": url}])])

    by_thread, awaited = local_aws.calls(SONNET)[-2:]
    assert awaited.body == by_thread.body


def test_a_tool_that_replaces_generate_sees_one_call(
    ready: tuple[ModelManager, Threads], monkeypatch: pytest.MonkeyPatch
) -> None:
    manager, sink = ready
    original, seen = ChatBedrockConverse._generate, []

    def traced(*args: Any, **kwargs: Any) -> Any:
        seen.append(1)
        return original(*args, **kwargs)

    monkeypatch.setattr(ChatBedrockConverse, "_generate", traced)
    asyncio.run(manager.chat_model("a").ainvoke("x"))

    assert seen == [1]
    assert [name.startswith("modelmgr-") for name in sink.names] == [True]


def test_what_boto3_must_send_is_sent_once_on_a_thread(
    ready: tuple[ModelManager, Threads], local_aws: LocalAWS
) -> None:
    manager, sink = ready
    events: list[str] = []
    manager.clients.runtime().meta.events.register(
        "before-send.bedrock-runtime", lambda event_name, **_: events.append(event_name)
    )
    before = local_aws.requests()

    asyncio.run(manager.chat_model("a").ainvoke("x"))

    assert (len(events), local_aws.requests() - before) == (1, 1)
    assert [r.outcome for r in sink.records] == ["answered"]
    assert [name.startswith("modelmgr-") for name in sink.names] == [True]
