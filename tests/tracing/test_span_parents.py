"""Every span ends once and has the right parent, however a call is made and left."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from langchain.agents import create_agent
from langgraph.graph import END, START, MessagesState, StateGraph
from opentelemetry import trace
from opentelemetry.instrumentation import botocore

from langchain_modelmgr import ManagedBedrockChat, ModelManager
from langchain_modelmgr.bedrock import transport, wire
from langchain_modelmgr.local import ScriptedReply
from tests.agents import count_pallets
from tests.chain.awaited import sent_directly
from tests.models import HAIKU, SONNET
from tests.tracing.span_recorder import is_ours, of, parent, span_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from langchain_modelmgr import ConfigurationManager
    from langchain_modelmgr.local import LocalAWS
    from tests.tracing.span_recorder import Spans

LONG = "pallet " * 400


def current() -> int:
    """Return the id of the current span; 0: there is none."""
    return trace.get_current_span().get_span_context().span_id


@contextmanager
def work(name: str = "work") -> Iterator[int]:
    """Make a span of the application, around its calls; give its id."""
    with trace.get_tracer("application").start_as_current_span(name):
        yield current()


def call_in_mode(llm: Any, mode: str) -> None:
    """Make one call; check that the current span is the application's between the chunks."""
    before = current()

    async def read() -> None:
        async for _ in llm.astream("how many pallets?"):
            assert current() == before

    if mode == "invoke":
        llm.invoke("how many pallets?")
    elif mode == "stream":
        for _ in llm.stream("how many pallets?"):
            assert current() == before
    elif mode == "ainvoke":
        asyncio.run(llm.ainvoke("how many pallets?"))
    else:
        asyncio.run(read())
    assert current() == before


@pytest.mark.parametrize("mode", ["invoke", "stream", "ainvoke", "astream"])
def test_attempts_are_children_of_their_call_and_the_call_of_the_application(
    llm: ManagedBedrockChat, local_aws: LocalAWS, spans: Spans, mode: str
) -> None:
    local_aws.fail(SONNET, "ThrottlingException", times=1)

    with work() as mine:
        call_in_mode(llm, mode)

    (call,) = spans.calls
    assert parent(call) == mine
    assert [of(span)["gen_ai.request.model"] for span in spans.of_call(call)] == [SONNET, HAIKU]
    assert len(spans.attempts) == 2
    for span in spans.attempts:
        assert (call.start_time or 0) <= (span.start_time or 0)
        assert (span.start_time or 0) <= (span.end_time or 0) <= (call.end_time or 0)


@pytest.mark.parametrize("mode", ["invoke", "stream", "ainvoke", "astream"])
def test_the_attempt_is_the_current_span_while_its_request_is_on_the_wire(
    llm: ManagedBedrockChat, spans: Spans, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    seen = []
    send = transport._Http.send

    def observed(self: Any, request: Any) -> Any:
        seen.append(current())
        return send(self, request)

    monkeypatch.setattr(transport._Http, "send", observed)

    call_in_mode(llm, mode)

    (attempt,) = spans.attempts
    assert set(seen) == {span_id(attempt)}


@sent_directly
def test_calls_that_need_no_thread_make_the_same_spans(
    llm: ManagedBedrockChat, local_aws: LocalAWS, spans: Spans, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    send = transport.asend

    async def observed(*sent: Any) -> Any:
        seen.append(current())
        return await send(*sent)

    monkeypatch.setattr(wire, "asend", observed)

    async def one() -> None:
        before = current()
        await llm.ainvoke("how many pallets?")
        assert current() == before

    async def call() -> int:
        await one()  # on a thread, which makes the client ready
        local_aws.fail(SONNET, "ThrottlingException", times=2)
        with work() as mine:
            await asyncio.gather(*(one() for _ in range(4)))
        return mine

    mine = asyncio.run(call())

    _, *calls = spans.calls
    assert [parent(call) for call in calls] == [mine] * 4
    assert sorted(len(spans.of_call(call)) for call in calls) == [1, 1, 2, 2]
    assert set(seen) == {span_id(span) for call in calls for span in spans.of_call(call)}
    assert len(seen) == 6


def test_a_cancelled_call_that_needs_no_thread_ends_its_spans(
    llm: ManagedBedrockChat, local_aws: LocalAWS, spans: Spans
) -> None:
    async def cancel() -> None:
        await llm.ainvoke("how many pallets?")
        local_aws.stall(SONNET, 300)
        before = local_aws.requests(SONNET)
        task = asyncio.create_task(llm.ainvoke("how many pallets?"))
        while local_aws.requests(SONNET) == before:  # noqa: ASYNC110 - the server is in a thread
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancel())

    assert [of(span)["modelmgr.outcome"] for span in spans.calls] == ["answered", "aborted"]
    assert [of(span)["modelmgr.outcome"] for span in spans.attempts] == ["answered", "aborted"]


@pytest.mark.parametrize("mode", ["invoke", "stream", "ainvoke", "astream"])
def test_the_span_of_botocores_instrumentation_is_a_child_of_the_attempt(
    llm: ManagedBedrockChat, local_aws: LocalAWS, spans: Spans, mode: str
) -> None:
    local_aws.fail(SONNET, "ThrottlingException", times=1)
    instrumentor: Any = botocore.BotocoreInstrumentor
    instrumentor().instrument()
    try:
        call_in_mode(llm, mode)
    finally:
        instrumentor().uninstrument()

    theirs = [span for span in spans.named("chat ") if not is_ours(span)]
    assert [parent(span) for span in theirs] == [span_id(span) for span in spans.attempts]
    assert len(theirs) == 2


def test_the_designs_guides_methods_make_the_same_spans(
    traced: Callable[..., ConfigurationManager], spans: Spans
) -> None:
    manager = ModelManager(traced())
    question = [{"role": "user", "content": [{"text": "how many pallets?"}]}]

    async def read() -> None:
        async for _ in manager.astream_model("a", question):
            pass

    with work() as mine:
        manager.invoke_model("a", question)
        list(manager.stream_model("a", question))
        asyncio.run(manager.ainvoke_model("a", question))
        asyncio.run(read())

    assert [parent(call) for call in spans.calls] == [mine] * 4
    assert [len(spans.of_call(call)) for call in spans.calls] == [1] * 4


@pytest.mark.parametrize("mode", ["batch", "abatch"])
def test_the_calls_of_a_batch_do_not_mix(
    llm: ManagedBedrockChat, local_aws: LocalAWS, spans: Spans, mode: str
) -> None:
    local_aws.fail(SONNET, "ThrottlingException", rate=0.5, seed=3, times=None)
    questions: list[Any] = [f"question {number}" for number in range(12)]

    with work() as mine:
        in_batch = mode == "batch"
        answers = llm.batch(questions) if in_batch else asyncio.run(llm.abatch(questions))

    assert [parent(call) for call in spans.calls] == [mine] * 12
    shown = {of(call)["modelmgr.run_id"]: spans.of_call(call) for call in spans.calls}
    for answer in answers:
        attempts = answer.response_metadata["model_manager"]["attempts"]
        run_id = str(answer.id).removeprefix("lc_run--").removesuffix("-0")
        assert [of(span).get("aws.request_id") for span in shown[run_id]] == [
            attempt["request_id"] for attempt in attempts
        ]


@pytest.mark.parametrize("mode", ["invoke", "ainvoke"])
def test_an_agents_calls_are_children_of_the_span_around_it(
    llm: ManagedBedrockChat, spans: Spans, mode: str
) -> None:
    agent = create_agent(llm, [count_pallets])
    asked: Any = {"messages": [("user", "Use count_pallets for Hamburg.")]}

    with work() as mine:
        if mode == "invoke":
            agent.invoke(asked)
        else:
            asyncio.run(agent.ainvoke(asked))

    assert len(spans.calls) == 2
    assert {parent(call) for call in spans.calls} == {mine}
    assert [len(spans.of_call(call)) for call in spans.calls] == [1, 1]


def test_a_call_in_a_node_is_a_child_of_the_nodes_span(
    llm: ManagedBedrockChat, spans: Spans
) -> None:
    nodes: dict[str, int] = {}

    def node(name: str) -> Any:
        def run(state: MessagesState) -> dict[str, Any]:
            with work(name) as span:
                nodes[name] = span
                return {"messages": [llm.invoke(state["messages"])]}

        return run

    graph = StateGraph(MessagesState)
    for name in ("left", "right"):
        graph.add_node(name, node(name))
        graph.add_edge(START, name)
        graph.add_edge(name, END)
    for _ in graph.compile().stream({"messages": [("user", "hi")]}, stream_mode="messages"):  # type: ignore[call-overload]
        assert current() == 0

    assert {parent(call) for call in spans.calls} == set(nodes.values())
    assert len(spans.calls) == 2


@pytest.mark.parametrize("left", ["closed", "garbage", "raised"])
def test_an_abandoned_stream_ends_its_spans(
    llm: ManagedBedrockChat, local_aws: LocalAWS, spans: Spans, left: str
) -> None:
    local_aws.script(lambda _: ScriptedReply(text=LONG))

    with work() as mine:
        stream: Any = llm.stream("how many pallets?")
        next(stream)
        if left == "closed":
            stream.close()
        elif left == "raised":
            with pytest.raises(KeyError), closing(stream):
                raise KeyError
        del stream
        gc.collect()
        assert current() == mine

    (call,), (attempt,) = spans.calls, spans.attempts
    assert parent(call) == mine
    assert of(call)["modelmgr.outcome"] == of(attempt)["modelmgr.outcome"] == "aborted"
    assert call.status.is_unset
    assert "error.type" not in of(attempt)


@pytest.mark.parametrize("left", ["closed", "garbage", "cancelled"])
def test_an_abandoned_async_stream_ends_its_spans(
    llm: ManagedBedrockChat, local_aws: LocalAWS, spans: Spans, left: str
) -> None:
    local_aws.script(lambda _: ScriptedReply(text=LONG))

    async def leave() -> None:
        stream: Any = llm.astream("how many pallets?")
        await anext(stream)
        if left == "closed":
            await stream.aclose()
        elif left == "cancelled":
            task = asyncio.ensure_future(anext(stream))
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        del stream
        gc.collect()
        await asyncio.sleep(0.01)

    with work() as mine:
        asyncio.run(leave())

    (call,), (attempt,) = spans.calls, spans.attempts
    assert parent(call) == mine
    assert spans.of_call(call) == [attempt]
    assert of(call)["modelmgr.outcome"] == "aborted"


@pytest.mark.parametrize("mode", ["ainvoke", "astream"])
def test_a_cancelled_call_ends_its_spans(
    llm: ManagedBedrockChat, local_aws: LocalAWS, spans: Spans, mode: str
) -> None:
    local_aws.stall(SONNET, 300)
    before = local_aws.requests(SONNET)

    async def read() -> None:
        async for _ in llm.astream("how many pallets?"):
            pass

    async def cancel() -> None:
        call = llm.ainvoke("how many pallets?") if mode == "ainvoke" else read()
        task: asyncio.Task[Any] = asyncio.create_task(call)
        while local_aws.requests(SONNET) == before:  # noqa: ASYNC110 - the server is in a thread
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with work() as mine:
        asyncio.run(cancel())

    (call,), (attempt,) = spans.calls, spans.attempts
    assert parent(call) == mine
    assert spans.of_call(call) == [attempt]
    assert of(call)["modelmgr.outcome"] == of(attempt)["modelmgr.outcome"] == "aborted"


def test_a_call_that_is_cancelled_before_it_is_sent_is_a_call_without_attempts(
    llm: ManagedBedrockChat, spans: Spans
) -> None:
    async def cancel() -> None:
        task = asyncio.create_task(llm.ainvoke("how many pallets?"))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(cancel())

    assert {of(span)["modelmgr.outcome"] for span in spans.attempts} <= {"aborted", "not_sent"}
    assert {of(span)["modelmgr.outcome"] for span in spans.calls} <= {"aborted"}


def test_a_stream_that_another_thread_reads_keeps_its_parent(
    llm: ManagedBedrockChat, local_aws: LocalAWS, spans: Spans
) -> None:
    local_aws.script(lambda _: ScriptedReply(text=LONG))
    with work() as mine:
        stream = llm.stream("how many pallets?")
        next(stream)
    reader = threading.Thread(target=lambda: list(stream))

    reader.start()
    reader.join()

    (call,) = spans.calls
    assert parent(call) == mine
    assert len(spans.of_call(call)) == 1
    assert of(call)["modelmgr.outcome"] == "answered"


def test_an_attempts_span_ends_with_its_last_byte_and_not_with_its_reader(
    llm: ManagedBedrockChat, spans: Spans
) -> None:
    for _ in llm.stream("how many pallets?"):
        time.sleep(0.1)

    (call,), (attempt,) = spans.calls, spans.attempts
    assert (call.end_time or 0) - (attempt.end_time or 0) > 0.05 * 1e9


def test_a_sampled_out_call_makes_no_spans_and_answers(
    llm: ManagedBedrockChat, local_aws: LocalAWS, spans: Spans
) -> None:
    local_aws.fail(SONNET, "ThrottlingException", times=1)
    unsampled = trace.SpanContext(1, 2, is_remote=True, trace_flags=trace.TraceFlags(0))
    around = trace.use_span(trace.NonRecordingSpan(unsampled))

    with around:
        answer = llm.invoke("how many pallets?")

    assert answer.content
    assert spans.calls == []
