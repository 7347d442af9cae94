"""Async calls without a thread: their sockets, threads, event loops, and what ends them."""

from __future__ import annotations

import asyncio
import os
import threading
from typing import TYPE_CHECKING, Any

import pytest

from langchain_modelmgr import ModelManager, ModelManagerError
from langchain_modelmgr.errors import BedrockTimeoutError
from tests.chain.awaited import AGENT, awaiting, until, wait
from tests.models import SONNET

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator

    from langchain_modelmgr.local import LocalAWS
    from tests.agents import Configure
    from tests.chain.awaited import Threads
    from tests.held_replies import HeldReplies, TimeOuts

MODES = ["unary", "stream"]


@pytest.fixture
def ready(configured: Configure) -> Iterator[tuple[ModelManager, Threads]]:
    with awaiting(configured) as made:
        yield made


def call(llm: Any, mode: str) -> Coroutine[Any, Any, Any]:
    async def read() -> None:
        async for _ in llm.astream("x"):
            pass

    return llm.ainvoke("x") if mode == "unary" else read()


def workers() -> int:
    return sum(thread.name.startswith("modelmgr-") for thread in threading.enumerate())


def sockets(url: str) -> int:
    """Return how many connections of this process to a local server are open."""
    port = f":{int(url.rpartition(':')[2]):04X}"
    with open("/proc/self/net/tcp") as lines:  # noqa: PTH123
        rows = [line.split() for line in lines][1:]
    return sum(row[2].endswith(port) and row[3] == "01" for row in rows)


needs_proc = pytest.mark.skipif(not os.path.exists("/proc/self/net/tcp"), reason="Linux only")  # noqa: PTH110


@pytest.mark.parametrize("mode", MODES)
def test_calls_that_wait_use_no_threads(
    ready: tuple[ModelManager, Threads], local_aws: LocalAWS, held: HeldReplies, mode: str
) -> None:
    manager, sink = ready
    llm = manager.chat_model("a")
    held.hold(SONNET)
    before = workers()

    async def many() -> int:
        calls = [asyncio.ensure_future(call(llm, mode)) for _ in range(120)]
        await until(lambda: local_aws.requests() >= 122)
        during = workers()
        held.release()
        await asyncio.gather(*calls)
        return during

    assert asyncio.run(many()) <= before
    assert len(sink.records) == 120
    assert set(sink.names) == {"MainThread"}


@needs_proc
@pytest.mark.parametrize("mode", MODES)
def test_cancelled_calls_free_their_sockets_and_are_recorded_once(
    ready: tuple[ModelManager, Threads], local_aws: LocalAWS, mode: str
) -> None:
    manager, sink = ready
    llm = manager.chat_model("a")
    local_aws.latency(SONNET, 300)

    async def cancelled() -> None:
        calls = [asyncio.ensure_future(call(llm, mode)) for _ in range(200)]
        await until(lambda: local_aws.requests() == 202)
        assert sockets(local_aws.url) >= 200
        for one in calls:
            one.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        await until(lambda: sockets(local_aws.url) < 10)

    asyncio.run(cancelled())

    assert [r.outcome for r in sink.records] == ["aborted"] * 200
    assert manager.pool.running == ()
    assert manager.pool._slots._free == manager.pool.max_concurrency


@pytest.mark.parametrize("mode", MODES)
def test_a_call_that_is_cancelled_before_the_wire_is_not_sent(
    configured: Configure, local_aws: LocalAWS, held: HeldReplies, mode: str
) -> None:
    with awaiting(configured, max_concurrency=1) as (manager, sink):
        llm = manager.chat_model("a")
        held.hold(SONNET)

        async def cancelled() -> None:
            first = asyncio.create_task(call(llm, mode))
            await until(lambda: local_aws.requests() == 3)
            waiting = [asyncio.create_task(call(llm, mode)) for _ in range(20)]
            for one in waiting:
                await asyncio.sleep(0)
                one.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
            held.release()
            await first
            await call(llm, mode)

        asyncio.run(cancelled())

        assert local_aws.requests() == 4
        assert [r.outcome for r in sink.records] == ["answered"] * 2
        assert manager.pool.running == ()


@pytest.mark.parametrize("mode", MODES)
def test_a_silent_reply_ends_at_the_deadline_of_its_call(
    configured: Configure, local_aws: LocalAWS, time_outs: TimeOuts, mode: str
) -> None:
    agent = f"{AGENT[:-1]}, deadline_seconds: 60}}"
    with awaiting(configured, f"a: {AGENT}\nb: {agent}") as (manager, sink):
        time_outs.when_received(local_aws, SONNET, deadline=True)
        local_aws.latency(SONNET, 300)

        with pytest.raises(BedrockTimeoutError):
            asyncio.run(call(manager.chat_model("b"), mode))

        assert [r.outcome for r in sink.records] == ["failed"]
        assert sink.names == ["MainThread"]


@pytest.mark.parametrize("mode", MODES)
def test_a_call_without_a_free_slot_fails_in_time(
    configured: Configure, local_aws: LocalAWS, mode: str
) -> None:
    agent = f"{AGENT[:-1]}, timeout_seconds: 1}}"
    with awaiting(configured, f"a: {AGENT}\nb: {agent}", max_concurrency=1) as (manager, _):
        local_aws.latency(SONNET, 300)

        async def two() -> None:
            first = asyncio.create_task(call(manager.chat_model("a"), mode))
            await until(lambda: local_aws.requests() == 3)
            with pytest.raises(BedrockTimeoutError, match="no free slot"):
                await call(manager.chat_model("b"), mode)
            first.cancel()
            await asyncio.gather(first, return_exceptions=True)

        asyncio.run(two())

        assert local_aws.requests() == 3


@pytest.mark.parametrize("mode", MODES)
def test_calls_that_wait_for_a_slot_end_when_the_manager_is_closed(
    configured: Configure, local_aws: LocalAWS, held: HeldReplies, mode: str
) -> None:
    with awaiting(configured, max_concurrency=1) as (manager, sink):
        held.hold(SONNET)
        llm = manager.chat_model("a")

        async def closed() -> Any:
            calls = [asyncio.create_task(call(llm, mode)) for _ in range(40)]
            await until(lambda: local_aws.requests() == 3)
            await asyncio.to_thread(manager.close)
            held.release()
            return await asyncio.gather(*calls, return_exceptions=True)

        _, *waited = asyncio.run(closed())

        assert all(isinstance(error, ModelManagerError) for error in waited)
        assert all("its ModelManager was closed" in str(error) for error in waited)
        assert local_aws.requests() == 3
        assert len(sink.records) == 1


@needs_proc
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("ending", ["the loop ends", "the manager is closed"])
def test_connections_end_with_their_loop_and_their_manager(
    ready: tuple[ModelManager, Threads], local_aws: LocalAWS, mode: str, ending: str
) -> None:
    manager, _ = ready
    llm = manager.chat_model("a")
    manager.clients.runtime().close()  # of the synchronous path

    async def calls() -> None:
        await asyncio.gather(*(call(llm, mode) for _ in range(3)))
        assert sockets(local_aws.url) >= 1
        if ending == "the manager is closed":
            manager.close()
            await until(lambda: sockets(local_aws.url) == 0)

    asyncio.run(calls())

    wait(lambda: sockets(local_aws.url) == 0)
    http: Any = manager.clients.runtime()
    assert http._modelmgr_http.for_asyncio._loops == {}


@pytest.mark.parametrize("mode", MODES)
def test_event_loops_in_several_threads_have_connections_of_their_own(
    ready: tuple[ModelManager, Threads], mode: str
) -> None:
    manager, sink = ready
    llm = manager.chat_model("a")

    def run() -> None:
        async def calls() -> None:
            for _ in range(3):
                await asyncio.gather(*(call(llm, mode) for _ in range(5)))

        asyncio.run(calls())

    threads = [threading.Thread(target=run, name=f"loop-{i}") for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [r.outcome for r in sink.records] == ["answered"] * 45
    assert set(sink.names) == {"loop-0", "loop-1", "loop-2"}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_leaves_its_parents_connections_alone(
    ready: tuple[ModelManager, Threads], local_aws: LocalAWS, mode: str
) -> None:
    manager, _ = ready
    llm = manager.chat_model("a")

    async def parent() -> None:
        await call(llm, mode)
        child = os.fork()
        if child == 0:
            _in_child(llm, mode)
        _, status = await asyncio.to_thread(os.waitpid, child, 0)
        assert os.waitstatus_to_exitcode(status) == 0
        await call(llm, mode)

    asyncio.run(parent())

    assert local_aws.requests() == 2 + 3


def _in_child(llm: Any, mode: str) -> None:
    status = 1
    try:
        # The child of a coroutine runs inside the parent's loop: a thread has none.
        thread = threading.Thread(target=lambda: asyncio.run(call(llm, mode)))
        thread.start()
        thread.join(50)
        status = int(thread.is_alive())
    finally:
        os._exit(status)


@pytest.mark.parametrize("mode", MODES)
def test_a_kept_connection_that_the_server_closed_is_not_noticed(
    ready: tuple[ModelManager, Threads], local_aws: LocalAWS, mode: str
) -> None:
    manager, sink = ready
    local_aws.reset(SONNET)

    asyncio.run(call(manager.chat_model("a"), mode))

    assert [r.outcome for r in sink.records] == ["failed", "answered"]
    assert local_aws.requests() == 4  # each attempt once: the policy repeats, not the transport
