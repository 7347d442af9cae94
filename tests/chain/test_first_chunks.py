"""Streams: what is held back, what is handed on, and what closes them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from langchain_modelmgr import ManagedBedrockChat, ModelManagerError
from langchain_modelmgr.chain import policy
from langchain_modelmgr.local import ScriptedReply
from langchain_modelmgr.metrics import MemorySink
from tests.agents import count_pallets
from tests.models import HAIKU, SONNET

if TYPE_CHECKING:
    from langchain_modelmgr.local import LocalAWS
    from tests.agents import Configure
    from tests.held_replies import HeldReplies, TimeOuts


TEXT = "Thirty pallets stand in Hamburg, twelve in Trieste and none in Rotterdam."


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy, "BACKOFF_BASE_SECONDS", 0.001)


@pytest.fixture
def llm(configured: Configure, local_aws: LocalAWS) -> ManagedBedrockChat:
    local_aws.script(lambda _: ScriptedReply(text=TEXT))
    return ManagedBedrockChat(
        agent_name="a", config=configured(f"a: {{model: '{SONNET}', fallbacks: ['{HAIKU}']}}")
    )


def records(llm: ManagedBedrockChat) -> Any:
    (sink,) = llm.model_manager.totals.sinks.sinks
    assert isinstance(sink, MemorySink)
    return list(sink.records)


async def chunks_of(llm: Any, mode: str, question: str = "how many?") -> list[Any]:
    if mode == "stream":
        return list(llm.stream(question))
    return [chunk async for chunk in llm.astream(question)]


@pytest.mark.parametrize("mode", ["stream", "astream"])
async def test_a_failure_before_the_first_content_falls_back_unseen(
    llm: ManagedBedrockChat, local_aws: LocalAWS, mode: str
) -> None:
    local_aws.fail(SONNET, "ThrottlingException", times=1, at="stream", after=0)

    chunks = await chunks_of(llm, mode)

    assert "".join(c.text for c in chunks) == TEXT
    report = [
        c.response_metadata["model_manager"]
        for c in chunks
        if "model_manager" in c.response_metadata
    ]
    assert len(report) == 1
    assert report[0]["model_id"] == HAIKU
    assert [a["error"] for a in report[0]["attempts"]] == ["BedrockRateLimitError", None]


@pytest.mark.parametrize("mode", ["stream", "astream"])
@pytest.mark.parametrize("fault", ["event", "reset", "cut", "stall"])
async def test_a_failure_after_content_is_raised_and_never_mixed(
    llm: ManagedBedrockChat, local_aws: LocalAWS, time_outs: TimeOuts, fault: str, mode: str
) -> None:
    if fault == "event":
        local_aws.fail(SONNET, "ThrottlingException", times=1, at="stream", after=2)
    elif fault == "reset":
        local_aws.reset(SONNET, times=1, at="stream", after=2)
    elif fault == "cut":
        local_aws.cut(SONNET, times=1, after=2)
    else:
        local_aws.stall(SONNET, 300, times=1, at="stream", after=2)
        time_outs.when_received(local_aws, SONNET, contents=2)
    seen: list[str] = []

    with pytest.raises(ModelManagerError) as caught:
        if mode == "stream":
            for chunk in llm.stream("x"):
                seen.append(chunk.text)
        else:
            async for chunk in llm.astream("x"):
                seen.append(chunk.text)

    assert TEXT.startswith("".join(seen))
    assert "".join(seen)
    assert len(caught.value.attempts) == 1
    assert local_aws.requests(HAIKU) == 0
    assert [r.outcome for r in records(llm)] == ["failed"]


@pytest.mark.parametrize("mode", ["stream", "astream"])
async def test_a_model_that_can_not_stream_with_tools_gives_one_chunk(
    configured: Configure, local_aws: LocalAWS, mode: str
) -> None:
    config = configured("a: {model: us.meta.llama3-3-70b-instruct-v1:0}")
    local_aws.script(lambda _: ScriptedReply(tool_calls=[("count_pallets", {"warehouse": "H"})]))
    llm = ManagedBedrockChat(agent_name="a", config=config).bind_tools([count_pallets])

    chunks = await chunks_of(llm, mode)

    calls = [c for chunk in chunks for c in chunk.tool_calls]
    assert [c["args"] for c in calls] == [{"warehouse": "H"}]
    assert [c.operation for c in local_aws.calls()] == ["Converse"]


def test_an_abandoned_stream_is_aborted_and_no_failure_of_the_model(
    llm: ManagedBedrockChat, local_aws: LocalAWS
) -> None:
    local_aws.stall(SONNET, 300, at="stream", after=2)

    stream: Any = llm.stream("x")
    next(stream)
    stream.close()

    (record,) = records(llm)
    assert (record.outcome, record.success, record.has_usage) == ("aborted", True, False)
    summary = llm.model_manager.get_usage_summary()
    assert (summary["aborted"], summary["success_rate"]) == (1, 1.0)
    assert local_aws.wait_closed(50)


async def test_a_closed_async_stream_frees_its_socket(
    llm: ManagedBedrockChat, local_aws: LocalAWS
) -> None:
    local_aws.stall(SONNET, 300, times=1, at="stream", after=2)

    stream = llm.astream("x")
    await anext(stream)
    await stream.aclose()  # type: ignore[attr-defined]

    assert await asyncio.to_thread(local_aws.wait_closed, 50)
    assert [r.outcome for r in records(llm)] == ["aborted"]


async def test_an_async_stream_that_its_reader_breaks_off_frees_its_socket(
    llm: ManagedBedrockChat, local_aws: LocalAWS
) -> None:
    local_aws.stall(SONNET, 300, times=1, at="stream", after=2)

    async for _ in llm.astream("x"):
        break

    assert await asyncio.to_thread(local_aws.wait_closed, 50)
    assert [r.outcome for r in records(llm)] == ["aborted"]


async def test_a_cancelled_async_stream_frees_its_socket(
    llm: ManagedBedrockChat, local_aws: LocalAWS
) -> None:
    local_aws.stall(SONNET, 300, times=1, at="stream", after=2)
    first = asyncio.Event()

    async def read() -> None:
        async for _ in llm.astream("x"):
            first.set()

    task = asyncio.create_task(read())
    await first.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert await asyncio.to_thread(local_aws.wait_closed, 50)
    assert [r.outcome for r in records(llm)] == ["aborted"]


async def test_a_cancelled_call_is_accounted_as_aborted_at_once(
    llm: ManagedBedrockChat, local_aws: LocalAWS, held: HeldReplies
) -> None:
    held.hold(SONNET)
    task = asyncio.create_task(llm.ainvoke("x"))
    while local_aws.requests(SONNET) == 0:  # noqa: ASYNC110 - the server counts in its own thread
        await asyncio.sleep(0.01)

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    outcomes = [r.outcome for r in records(llm)]
    held.release()
    await llm.ainvoke("y")  # the late answer changes nothing

    assert outcomes == ["aborted"]
    assert [r.outcome for r in records(llm)] == ["aborted", "answered"]
    summary = llm.model_manager.get_usage_summary()
    assert (summary["total_invocations"], summary["aborted"], summary["attempts"]) == (2, 1, 2)


async def test_many_streams_at_once_keep_their_texts_apart(
    llm: ManagedBedrockChat, local_aws: LocalAWS
) -> None:
    local_aws.script(lambda request: ScriptedReply(text=f"{request.prompt} " * 20))

    async def read(i: int) -> str:
        return "".join([c.text async for c in llm.astream(f"q{i}")])

    texts = await asyncio.gather(*(read(i) for i in range(50)))

    assert texts == [f"q{i} " * 20 for i in range(50)]
    assert llm.model_manager.get_usage_summary()["total_invocations"] == 50
