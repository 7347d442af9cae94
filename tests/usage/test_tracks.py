"""What a task costs, whichever threads, executors and contexts make its calls."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from fastapi import Depends, FastAPI
from langchain_core.runnables import RunnableLambda

from langchain_modelmgr import ManagedBedrockChat, ModelManager, UsageCallbackHandler
from tests.models import HAIKU, SONNET

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from langchain_modelmgr.local import LocalAWS
    from langchain_modelmgr.usage.tracks import UsageTrack
    from tests.agents import Configure


@pytest.fixture
def manager(configured: Configure) -> ModelManager:
    return ModelManager(configured(f"a: {{model: '{SONNET}', fallbacks: ['{HAIKU}']}}"))


@pytest.fixture
def llm(manager: ModelManager) -> ManagedBedrockChat:
    return manager.chat_model("a")


def in_thread(function: Callable[[], Any]) -> None:
    thread = threading.Thread(target=function)
    thread.start()
    thread.join()


def in_executor(function: Callable[[], Any]) -> None:
    with ThreadPoolExecutor(1) as pool:
        pool.submit(function).result()


def in_loops_executor(function: Callable[[], Any]) -> None:
    async def run() -> None:
        await asyncio.get_running_loop().run_in_executor(None, function)

    asyncio.run(run())


# -- bound functions


@pytest.mark.parametrize("run", [in_thread, in_executor, in_loops_executor])
def test_a_bound_function_counts_in_any_thread(
    manager: ModelManager, llm: ManagedBedrockChat, run: Callable[[Callable[[], Any]], None]
) -> None:
    with manager.track() as usage:
        run(usage.bind(lambda: llm.invoke("x")))
        run(lambda: llm.invoke("x"))
        llm.invoke("x")

    assert usage.calls == 2
    assert manager.get_usage_summary()["total_invocations"] == 3


def test_a_bound_function_counts_after_its_block_too(
    manager: ModelManager, llm: ManagedBedrockChat
) -> None:
    with ThreadPoolExecutor(1) as pool:
        with manager.track() as usage:
            futures = [pool.submit(usage.bind(llm.invoke), "x") for _ in range(5)]
        llm.invoke("x")
        for future in futures:
            future.result()

    assert usage.calls == 5


def test_every_kind_of_function_can_be_bound(
    manager: ModelManager, llm: ManagedBedrockChat
) -> None:
    async def ask(prompt: str) -> Any:
        return await llm.ainvoke(prompt)

    async def chunks(prompt: str) -> AsyncIterator[Any]:
        async for chunk in llm.astream(prompt):
            yield chunk

    class Asking:
        def __call__(self) -> Any:
            return llm.invoke("x")

    def run(usage: UsageTrack) -> None:
        usage.bind(functools.partial(llm.invoke, "x"))()
        usage.bind(Asking())()
        list(usage.bind(llm.stream)("x"))
        asyncio.run(usage.bind(ask)("x"))
        partial: Callable[[], Any] = functools.partial(ask, "x")
        asyncio.run(usage.bind(partial)())

        async def read() -> int:
            return len([c async for c in usage.bind(chunks)("x")])

        assert asyncio.run(read()) > 1
        chain: RunnableLambda[str, Any] = RunnableLambda(lambda _: llm.invoke("x"))
        usage.bind(chain.invoke)("x")

    with manager.track() as usage:
        in_thread(lambda: run(usage))

    assert usage.calls == 7
    assert asyncio.iscoroutinefunction(usage.bind(ask))
    assert usage.bind(ask).__name__ == "ask"


def test_a_bound_stream_counts_its_own_call_only(
    manager: ModelManager, llm: ManagedBedrockChat
) -> None:
    usage = manager.track()

    stream: Any = usage.bind(llm.stream)("x")
    next(stream)
    llm.invoke("between two chunks")
    stream.close()

    assert usage.calls == 1
    assert usage.as_dict()["aborted"] == 1


def test_a_bound_and_active_track_counts_once(
    manager: ModelManager, llm: ManagedBedrockChat
) -> None:
    with manager.track("t") as usage, manager.track() as other:
        usage.bind(usage.bind(llm.invoke))("x", {"metadata": {"modelmgr_task": "t"}})

    assert (usage.calls, other.calls) == (1, 1)


# -- by metadata


@pytest.mark.parametrize("run", [in_thread, in_executor, in_loops_executor])
def test_calls_of_a_task_count_in_any_thread(
    manager: ModelManager, llm: ManagedBedrockChat, run: Callable[[Callable[[], Any]], None]
) -> None:
    task: Any = {"metadata": {"modelmgr_task": "t-42"}}
    other: Any = {"metadata": {"modelmgr_task": "t-43"}}

    with manager.track("t-42") as usage, manager.track("t-42") as second:
        run(lambda: llm.invoke("x", task))
        run(lambda: list(llm.stream("x", task)))
        run(lambda: llm.batch(["x", "y"], task))
        run(lambda: llm.invoke("x", other))
        run(lambda: llm.invoke("x"))
    run(lambda: llm.invoke("x", task))

    assert usage.calls == second.calls == 4


async def test_a_task_named_by_a_chain_counts_its_models(
    manager: ModelManager, llm: ManagedBedrockChat
) -> None:
    chain = RunnableLambda(lambda text: text) | llm.bind(stop=["E"])
    usage = manager.track("7")

    async def run() -> None:
        await chain.ainvoke("x", {"metadata": {"modelmgr_task": 7}})

    with usage:
        await asyncio.to_thread(lambda: asyncio.run(run()))

    assert usage.calls == 1


def test_a_plain_models_calls_count_for_their_task(
    manager: ModelManager, local_aws: LocalAWS
) -> None:
    from langchain_aws import ChatBedrockConverse

    plain = ChatBedrockConverse(
        model_id=SONNET,
        client=manager.clients.runtime(),
        bedrock_client=manager.clients.control(),
        callbacks=[UsageCallbackHandler(manager, "plain")],
    )

    with manager.track("t") as usage:
        in_thread(lambda: plain.invoke("x", {"metadata": {"modelmgr_task": "t"}}))

    assert usage.calls == 1


# -- entered here, left there


def test_a_track_may_be_left_in_another_context(
    manager: ModelManager, llm: ManagedBedrockChat
) -> None:
    entered, left = contextvars.copy_context(), contextvars.copy_context()
    usage = manager.track()

    entered.run(usage.__enter__)
    entered.run(llm.invoke, "x")
    llm.invoke("x")
    left.run(usage.__exit__, None, None, None)
    entered.run(llm.invoke, "x")

    assert usage.calls == 1


def test_a_track_may_be_entered_and_left_in_different_threads(
    manager: ModelManager, llm: ManagedBedrockChat
) -> None:
    usage = manager.track("t")

    in_thread(usage.__enter__)
    in_thread(lambda: llm.invoke("x", {"metadata": {"modelmgr_task": "t"}}))
    in_thread(lambda: usage.__exit__(None, None, None))

    assert usage.calls == 1


def test_tracks_may_be_left_in_any_order(manager: ModelManager, llm: ManagedBedrockChat) -> None:
    first, second = manager.track(), manager.track()

    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    llm.invoke("x")
    second.__exit__(None, None, None)
    llm.invoke("x")

    assert (first.calls, second.calls) == (0, 1)


def test_a_track_is_entered_once_at_a_time(manager: ModelManager, llm: ManagedBedrockChat) -> None:
    usage = manager.track()

    for _ in range(2):
        with usage:
            llm.invoke("x")
    with usage, pytest.raises(RuntimeError, match="already entered"):
        usage.__enter__()

    assert usage.calls == 2


def test_an_error_inside_a_block_is_raised_as_it_is(manager: ModelManager) -> None:
    with pytest.raises(ZeroDivisionError), manager.track():
        _ = 1 / 0


async def test_tasks_begun_inside_count_also_after_the_block(
    manager: ModelManager, llm: ManagedBedrockChat
) -> None:
    with manager.track() as usage:
        tasks = [asyncio.create_task(llm.ainvoke("x")) for _ in range(3)]
    await asyncio.gather(*tasks)
    await llm.ainvoke("x")

    assert usage.calls == 3


@pytest.fixture
async def usage_of_test(manager: ModelManager) -> AsyncIterator[UsageTrack]:
    with manager.track("test") as usage:
        yield usage


async def test_an_async_fixture_may_track(
    usage_of_test: UsageTrack, llm: ManagedBedrockChat
) -> None:
    await llm.ainvoke("x", {"metadata": {"modelmgr_task": "test"}})

    assert usage_of_test.calls == 1


async def test_a_fastapi_dependency_may_track(
    manager: ModelManager, llm: ManagedBedrockChat
) -> None:
    tracked: list[UsageTrack] = []

    async def by_coroutine() -> AsyncIterator[UsageTrack]:
        with manager.track() as usage:
            tracked.append(usage)
            yield usage

    def by_thread() -> Iterator[UsageTrack]:
        with manager.track() as usage:
            tracked.append(usage)
            yield usage

    app = FastAPI()

    async def awaiting(usage: Any = Depends(by_coroutine)) -> int:  # noqa: B008
        await llm.ainvoke("x")
        return int(usage.calls)

    def blocking(usage: Any = Depends(by_thread)) -> int:  # noqa: B008
        usage.bind(llm.invoke)("x")
        return int(usage.calls)

    app.get("/awaiting")(awaiting)
    app.get("/blocking")(blocking)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        shown = [(await client.get(path)).json() for path in ("/awaiting", "/blocking")]
    await llm.ainvoke("x")

    assert shown == [1, 1]
    assert [usage.calls for usage in tracked] == [1, 1]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_tracks_its_own_calls(
    manager: ModelManager, llm: ManagedBedrockChat
) -> None:
    read, write = os.pipe()

    with manager.track() as usage:
        llm.invoke("x")
        child = os.fork()
        if child == 0:
            try:
                llm.invoke("x")
                llm.invoke("x")
                os.write(write, str(usage.calls).encode())
            finally:
                os._exit(0)
        os.waitpid(child, 0)

    assert os.read(read, 9) == b"2"
    assert usage.calls == 1
