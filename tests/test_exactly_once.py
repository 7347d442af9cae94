"""One call is one run, one set of tokens, one text: inside LCEL and LangGraph too."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from typing import TYPE_CHECKING, Any, TypedDict

import pytest
from langchain_core.callbacks import AsyncCallbackHandler, get_usage_metadata_callback
from langchain_core.messages import AIMessageChunk, HumanMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.tracers.base import BaseTracer
from langgraph.graph import END, START, StateGraph

from langchain_modelmgr import ManagedBedrockChat
from langchain_modelmgr.local import ScriptedReply
from tests.models import HAIKU, SONNET

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from langchain_core.tracers.schemas import Run

    from langchain_modelmgr import ConfigurationManager
    from langchain_modelmgr.local import LocalAWS

TEXT = "Thirty pallets stand in Hamburg and twelve in Trieste."
USAGE = {"inputTokens": 21, "outputTokens": 13, "totalTokens": 34}


class Events(AsyncCallbackHandler):
    """Counts what a run tells."""

    def __init__(self) -> None:
        self.seen: Counter[str] = Counter()
        self.text = ""

    async def on_chat_model_start(self, *_: Any, **__: Any) -> None:
        self.seen["start"] += 1

    async def on_llm_new_token(self, token: Any, *, chunk: Any = None, **_: Any) -> None:
        self.text += chunk.text if chunk else ""

    async def on_llm_end(self, *_: Any, **__: Any) -> None:
        self.seen["end"] += 1

    async def on_llm_error(self, *_: Any, **__: Any) -> None:
        self.seen["error"] += 1


class Runs(BaseTracer):
    """Keeps every traced run of a chat model."""

    def __init__(self) -> None:
        super().__init__()
        self.models: list[Run] = []

    def _persist_run(self, run: Run) -> None:
        stack = [run]
        while stack:
            run = stack.pop()
            stack.extend(run.child_runs)
            if run.run_type in ("llm", "chat_model"):
                self.models.append(run)


class State(TypedDict):
    messages: list[Any]


@pytest.fixture(params=["healthy", "throttled"])
def llm(
    request: pytest.FixtureRequest,
    local_aws: LocalAWS,
    configured: Callable[..., ConfigurationManager],
) -> Iterator[ManagedBedrockChat]:
    local_aws.script(lambda _: ScriptedReply(text=TEXT, usage=USAGE))
    if request.param == "throttled":
        local_aws.fail(SONNET, "ThrottlingException", times=1000)
    config = configured(f"sql_agent: {{model: '{SONNET}', fallbacks: ['{HAIKU}']}}")
    model = ManagedBedrockChat(agent_name="sql_agent", config=config)
    yield model
    summary = model.model_manager.get_usage_summary()
    assert summary["total_invocations"] == 1
    assert summary["attempts"] == (2 if request.param == "throttled" else 1)
    assert (summary["input_tokens"], summary["output_tokens"]) == (21, 13)


def _graph(llm: ManagedBedrockChat) -> Any:
    def node(state: State) -> State:
        return {"messages": [llm.invoke(state["messages"])]}

    async def anode(state: State) -> State:
        return {"messages": [await llm.ainvoke(state["messages"])]}

    graph = StateGraph(State)
    graph.add_node("plain", _both(node, anode))
    graph.add_edge(START, "plain")
    graph.add_edge("plain", END)
    return graph.compile()


def _both(sync: Any, asynchronous: Any) -> Any:
    from langchain_core.runnables import RunnableLambda

    return RunnableLambda(sync, afunc=asynchronous)


def _chain(llm: ManagedBedrockChat) -> Any:
    return ChatPromptTemplate.from_messages([("user", "{q}")]) | llm | StrOutputParser()


def _tokens(usage: Any) -> tuple[int, int]:
    return (
        sum(u["input_tokens"] for u in usage.usage_metadata.values()),
        sum(u["output_tokens"] for u in usage.usage_metadata.values()),
    )


async def _settled(events: Events, runs: Runs) -> None:
    """Wait until both handlers have seen the end: it follows the output, in the producer's task."""
    async with asyncio.timeout(50):
        while not (events.seen["end"] and runs.models):  # noqa: ASYNC110 - LangChain offers no event for it
            await asyncio.sleep(0.01)


@contextlib.contextmanager
def _once() -> Iterator[Any]:
    events, runs = Events(), Runs()
    with get_usage_metadata_callback() as usage:
        yield {"callbacks": [events, runs]}
    assert events.seen == {"start": 1, "end": 1}
    assert len(runs.models) == 1
    assert _tokens(usage) == (21, 13)
    assert events.text in ("", TEXT)


@pytest.mark.parametrize("where", ["alone", "lcel"])
def test_invoke_is_one_run(llm: ManagedBedrockChat, where: str) -> None:
    runnable: Any = llm if where == "alone" else _chain(llm)
    with _once() as config:
        reply = runnable.invoke({"q": "how many?"} if where == "lcel" else "how many?", config)

    assert (reply if where == "lcel" else reply.text) == TEXT


@pytest.mark.parametrize("where", ["alone", "lcel"])
async def test_ainvoke_is_one_run(llm: ManagedBedrockChat, where: str) -> None:
    runnable: Any = llm if where == "alone" else _chain(llm)
    with _once() as config:
        reply = await runnable.ainvoke(
            {"q": "how many?"} if where == "lcel" else "how many?", config
        )

    assert (reply if where == "lcel" else reply.text) == TEXT


@pytest.mark.parametrize("where", ["alone", "lcel"])
def test_stream_is_one_run(llm: ManagedBedrockChat, where: str) -> None:
    runnable: Any = llm if where == "alone" else _chain(llm)
    with _once() as config:
        chunks = list(runnable.stream({"q": "x"} if where == "lcel" else "x", config))

    assert "".join(c if isinstance(c, str) else c.text for c in chunks) == TEXT
    assert len(chunks) > 3


@pytest.mark.parametrize("where", ["alone", "lcel"])
async def test_astream_is_one_run(llm: ManagedBedrockChat, where: str) -> None:
    runnable: Any = llm if where == "alone" else _chain(llm)
    with _once() as config:
        chunks = [c async for c in runnable.astream({"q": "x"} if where == "lcel" else "x", config)]

    assert "".join(c if isinstance(c, str) else c.text for c in chunks) == TEXT
    assert len(chunks) > 3


@pytest.mark.parametrize("where", ["alone", "lcel"])
async def test_astream_events_v2_reports_one_run(llm: ManagedBedrockChat, where: str) -> None:
    runnable: Any = llm if where == "alone" else _chain(llm)
    with _once() as config:
        events = [
            e
            async for e in runnable.astream_events(
                {"q": "x"} if where == "lcel" else "x", config, version="v2"
            )
        ]

    names = Counter(e["event"] for e in events)
    text = "".join(e["data"]["chunk"].text for e in events if e["event"] == "on_chat_model_stream")
    assert (names["on_chat_model_start"], names["on_chat_model_end"]) == (1, 1)
    assert text == TEXT


@pytest.mark.filterwarnings("ignore:.*in beta")
async def test_astream_events_v3_reports_one_run(llm: ManagedBedrockChat) -> None:
    with _once() as config:
        stream = await llm.astream_events("x", config, version="v3")
        message = await stream.output
        await _settled(*config["callbacks"])

    assert message.text == TEXT


@pytest.mark.filterwarnings("ignore:.*in beta")
def test_stream_events_v3_reports_one_run(llm: ManagedBedrockChat) -> None:
    with _once() as config:
        stream = llm.stream_events("x", config, version="v3")
        message = stream.output

    assert message.text == TEXT


def test_langgraph_invoke_is_one_run(llm: ManagedBedrockChat) -> None:
    with _once() as config:
        state = _graph(llm).invoke({"messages": [HumanMessage("x")]}, config)

    assert state["messages"][-1].text == TEXT


def test_langgraph_streams_each_text_once(llm: ManagedBedrockChat) -> None:
    with _once() as config:
        chunks = [
            chunk
            for chunk, _ in _graph(llm).stream(
                {"messages": [HumanMessage("x")]}, config, stream_mode="messages"
            )
            if isinstance(chunk, AIMessageChunk)
        ]

    assert "".join(c.text for c in chunks) == TEXT
    assert sum("model_manager" in c.response_metadata for c in chunks) == 1


async def test_langgraph_streams_each_text_once_async(llm: ManagedBedrockChat) -> None:
    with _once() as config:
        chunks = [
            chunk
            async for chunk, _ in _graph(llm).astream(
                {"messages": [HumanMessage("x")]}, config, stream_mode="messages"
            )
            if isinstance(chunk, AIMessageChunk)
        ]

    assert "".join(c.text for c in chunks) == TEXT
    assert sum("model_manager" in c.response_metadata for c in chunks) == 1
