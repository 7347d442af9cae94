"""Async calls without a thread in event loops that are closed early, busy, or not running."""

from __future__ import annotations

import asyncio
import gc
import gzip
import json
import os
import weakref
from typing import TYPE_CHECKING, Any

import pytest

from langchain_modelmgr import ConfigurationManager, ModelManager
from langchain_modelmgr.runtime.aws_settings import BOTO3_VARIABLE
from tests.bedrock.two_ways import Server, http_reply, json_reply
from tests.chain.awaited import AGENT, Threads, awaiting, until, wait_until_ready
from tests.models import SONNET

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from langchain_modelmgr.local import LocalAWS
    from tests.agents import Configure
    from tests.held_replies import HeldReplies

pytestmark = pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning"
)

_X: list[dict[str, Any]] = [{"role": "user", "content": [{"text": "x"}]}]
_REPLY = json.dumps(
    {
        "output": {"message": {"role": "assistant", "content": [{"text": "seven"}]}},
        "stopReason": "end_turn",
        "usage": {"inputTokens": 1, "outputTokens": 1, "totalTokens": 2},
        "metrics": {"latencyMs": 1},
    }
).encode()


@pytest.fixture
def ready(configured: Configure) -> Iterator[tuple[ModelManager, Threads]]:
    with awaiting(configured, max_concurrency=1) as made:
        yield made


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[ModelManager, Threads, Server]]:
    """Give a manager that is ready to send without a thread, and the server that it calls."""
    if os.environ.get(BOTO3_VARIABLE):
        pytest.skip("boto3 sends all requests")
    sink = Threads()
    with Server() as server:
        server.reply = json_reply(_REPLY)
        (tmp_path / "dev.yaml").write_text(
            f"aws: {{region: us-east-1, endpoint_url: '{server.url}'}}\n"
            f"metrics: {{sink: memory}}\nagents: {{a: {AGENT}}}\n"
        )
        with ModelManager(ConfigurationManager("dev", tmp_path), sinks=[sink]) as manager:
            asyncio.run(manager.ainvoke_model("a", _X))
            wait_until_ready(manager, ["Converse"])
            sink.clear()
            sink.names.clear()
            yield manager, sink, server


def test_loops_that_are_closed_without_their_generators_answer(
    ready: tuple[ModelManager, Threads],
) -> None:
    manager, sink = ready
    for _ in range(3):
        loop = asyncio.new_event_loop()
        loop.run_until_complete(manager.chat_model("a").ainvoke("x"))
        loop.close()

    assert [r.outcome for r in sink.records] == ["answered"] * 3
    assert set(sink.names) == {"MainThread"}


def test_a_call_of_a_closed_loop_frees_its_slot_and_is_recorded(
    ready: tuple[ModelManager, Threads], local_aws: LocalAWS
) -> None:
    manager, sink = ready
    llm = manager.chat_model("a")
    local_aws.latency(SONNET, 300)

    async def left() -> weakref.ref[asyncio.Task[Any]]:
        task = asyncio.ensure_future(llm.ainvoke("x"))
        await until(lambda: local_aws.requests() == 3)
        return weakref.ref(task)

    loop = asyncio.new_event_loop()
    task = loop.run_until_complete(left())
    loop.close()
    local_aws.latency(SONNET, 0)
    asyncio.run(llm.ainvoke("x"))

    assert [r.outcome for r in sink.records] == ["aborted", "answered"]
    assert manager.pool.running == ()
    gc.collect()
    assert task() is None, "the call and its connection are kept"


def test_a_call_of_a_closed_loop_may_be_closed_in_another_context(
    ready: tuple[ModelManager, Threads], local_aws: LocalAWS
) -> None:
    """The garbage collector closes coroutines wherever it runs."""
    manager, sink = ready
    local_aws.latency(SONNET, 300)
    tasks: list[Any] = []

    async def left() -> None:
        tasks.append(asyncio.ensure_future(manager.ainvoke_model("a", _X)))
        await until(lambda: local_aws.requests() == 3)

    loop = asyncio.new_event_loop()
    loop.run_until_complete(left())
    loop.close()
    tasks[0].get_coro().close()

    assert [r.outcome for r in sink.records] == ["aborted"]
    assert manager.pool.running == ()


def test_a_call_that_waits_in_a_closed_loop_does_not_break_the_one_before_it(
    ready: tuple[ModelManager, Threads], local_aws: LocalAWS, held: HeldReplies
) -> None:
    manager, sink = ready
    llm = manager.chat_model("a")
    held.hold(SONNET)
    closed, other = asyncio.new_event_loop(), asyncio.new_event_loop()

    async def begin(running: int) -> asyncio.Task[Any]:
        task = asyncio.ensure_future(llm.ainvoke("x"))
        await until(lambda: len(manager.pool.running) == running)
        await until(lambda: local_aws.requests() == 3)
        return task

    first = other.run_until_complete(begin(1))
    waiting = closed.run_until_complete(begin(2))
    closed.close()
    held.release()
    other.run_until_complete(first)
    other.run_until_complete(llm.ainvoke("x"))
    other.run_until_complete(other.shutdown_asyncgens())
    other.close()

    assert not waiting.done()
    assert [r.outcome for r in sink.records] == ["answered"] * 2
    assert manager.pool.running == ()


def test_a_session_that_was_opened_while_another_closes_is_kept(
    configured: Configure, local_aws: LocalAWS, held: HeldReplies
) -> None:
    with awaiting(configured) as (manager, _):
        llm = manager.chat_model("a")
        http: Any = manager.clients.runtime()
        sessions = http._modelmgr_http.for_asyncio._loops

        async def calls() -> None:
            held.hold(SONNET)
            before = asyncio.create_task(llm.ainvoke("x"))
            await until(lambda: local_aws.requests() == 3)
            manager.close()
            local_aws.latency(SONNET, 0)
            await llm.ainvoke("x")
            (kept,) = sessions.values()
            held.release()
            await before
            await asyncio.sleep(0.05)
            gc.collect()
            assert list(sessions.values()) == [kept]

        asyncio.run(calls())


def test_host_names_are_looked_up_while_the_default_executor_is_full(
    served: tuple[ModelManager, Threads, Server], tmp_path: Path
) -> None:
    _, sink, _ = served
    text = (tmp_path / "dev.yaml").read_text().replace("127.0.0.1", "localhost")
    (tmp_path / "host.yaml").write_text(text)
    with ModelManager(ConfigurationManager("host", tmp_path), sinks=[sink]) as manager:
        asyncio.run(manager.ainvoke_model("a", _X))
        wait_until_ready(manager, ["Converse"])
        sink.names.clear()

        async def tools() -> None:
            loop = asyncio.get_running_loop()

            def tool() -> None:
                call = manager.ainvoke_model("a", _X)
                asyncio.run_coroutine_threadsafe(call, loop).result(50)

            await asyncio.gather(*(asyncio.to_thread(tool) for _ in range(40)))

        asyncio.run(tools())

    assert sink.names == ["MainThread"] * 40


def test_connections_that_were_dropped_while_the_loop_was_busy_are_not_used(
    served: tuple[ModelManager, Threads, Server],
) -> None:
    manager, sink, server = served

    async def calls() -> None:
        for _ in range(4):
            await manager.ainvoke_model("a", _X)
            server.drop()

    asyncio.run(calls())

    assert [r.outcome for r in sink.records] == ["answered"] * 4
    assert set(sink.names) == {"MainThread"}


def test_a_compressed_reply_is_read(served: tuple[ModelManager, Threads, Server]) -> None:
    manager, sink, server = served
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    server.reply = http_reply(200, headers, gzip.compress(_REPLY))

    asyncio.run(manager.ainvoke_model("a", _X))

    assert [r.outcome for r in sink.records] == ["answered"]
    assert set(sink.names) == {"MainThread"}
