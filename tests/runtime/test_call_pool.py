"""Blocking work for asyncio, on threads of our own."""

from __future__ import annotations

import asyncio
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from langchain_modelmgr.bedrock.time_budget import TimeBudget
from langchain_modelmgr.errors import BedrockTimeoutError, ModelManagerError
from langchain_modelmgr.runtime.blocking_stream import STREAM_BUFFER
from langchain_modelmgr.runtime.call_pool import CallPool
from langchain_modelmgr.usage.meter import Meter

if TYPE_CHECKING:
    from collections.abc import Generator


@dataclass
class Attempt:
    """An attempt that was sent, and how it ended."""

    meter: Meter
    time_budget: TimeBudget
    ends: list[Meter]

    def timed_out(self, reason: str, code: str) -> Exception:
        return BedrockTimeoutError(reason, code=code)

    def closed(self, reason: str) -> Exception:
        return ModelManagerError(reason)


def attempt(pool: CallPool, timeout: float = 60.0) -> Attempt:
    ends: list[Meter] = []
    meter = Meter("m", ends.append)
    meter.send()
    return Attempt(meter, TimeBudget(timeout, time.perf_counter() + timeout, pool.watchdog), ends)


async def test_work_runs_on_a_thread_of_the_pool() -> None:
    pool = CallPool(2)

    name = await pool.run(lambda: threading.current_thread().name, attempt(pool), "m")

    assert name.startswith("modelmgr")
    pool.close()


async def test_a_cancelled_call_is_notified_at_once_and_not_waited_for() -> None:
    pool, started, release = CallPool(1), threading.Event(), threading.Event()
    tried = attempt(pool)

    def work() -> None:
        started.set()
        release.wait(50)

    task = asyncio.create_task(pool.run(work, tried, "m"))
    await asyncio.to_thread(started.wait, 50)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert [meter.outcome for meter in tried.ends] == ["aborted"]
    release.set()
    pool.close()


async def test_a_stream_keeps_its_order_and_its_end() -> None:
    pool = CallPool(1)

    items = [i async for i in pool.stream(lambda: (i for i in range(1000)), attempt(pool), "m")]

    assert items == list(range(1000))
    pool.close()


async def test_an_empty_stream_ends() -> None:
    def nothing() -> Generator[int, None, None]:
        yield from ()

    pool = CallPool(1)

    items = [i async for i in pool.stream(nothing, attempt(pool), "m")]

    assert items == []
    pool.close()


async def test_an_error_is_raised_after_the_content_before_it() -> None:
    def source() -> Generator[int, None, None]:
        yield 1
        raise LookupError("broken")

    pool, seen = CallPool(1), []

    with pytest.raises(LookupError, match="broken"):
        async for item in pool.stream(source, attempt(pool), "m"):
            seen.append(item)

    assert seen == [1]
    pool.close()


async def test_a_slow_reader_slows_the_stream() -> None:
    pool, made, full = CallPool(1), [], threading.Event()

    def source() -> Generator[int, None, None]:
        for i in range(10 * STREAM_BUFFER):
            made.append(i)
            if i == STREAM_BUFFER:
                full.set()
            yield i

    stream = pool.stream(source, attempt(pool), "m")
    first = await anext(stream)
    await asyncio.to_thread(full.wait, 50)
    ahead = len(made)
    rest = [i async for i in stream]

    assert first == 0
    assert ahead <= 2 * STREAM_BUFFER + 2
    assert len(rest) == 10 * STREAM_BUFFER - 1
    pool.close()


async def test_a_closed_stream_stops_its_thread_and_closes_its_source() -> None:
    pool, closed = CallPool(1), threading.Event()
    tried = attempt(pool)

    def source() -> Generator[int, None, None]:
        try:
            while True:
                yield 1
        finally:
            closed.set()

    stream = pool.stream(source, tried, "m")
    await anext(stream)
    await stream.aclose()

    assert await asyncio.to_thread(closed.wait, 50)
    assert [meter.outcome for meter in tried.ends] == ["aborted"]
    pool.close()


async def test_a_closed_pool_starts_again_on_its_next_use() -> None:
    pool = CallPool(1)
    await pool.run(lambda: None, attempt(pool), "m")
    pool.close()
    pool.close()

    assert await pool.run(lambda: 7, attempt(pool), "m") == 7
    pool.close()
