"""Runs blocking calls and streams for asyncio on threads of our own, never on the loop's."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Generic, TypeVar

from langchain_modelmgr.bedrock.watchdog import Watchdog

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator
    from concurrent.futures import Future

T = TypeVar("T")

STREAM_BUFFER = 64
"""Items of one stream that wait for a slow reader; then its thread waits too."""


class CallPool:
    """A bounded pool of threads, started on first use.

    Args:
        max_concurrency: Calls that run at once; further ones wait their turn.

    Attributes:
        watchdog: The thread that ends what waits too long.
    """

    def __init__(self, max_concurrency: int) -> None:
        self.max_concurrency = max_concurrency
        self.watchdog = Watchdog()
        self.reset()

    def reset(self) -> None:
        """Forget the threads: a forked child has none of its parent's."""
        self._executor: ThreadPoolExecutor | None = None
        self._lock = threading.Lock()
        self.watchdog.reset()

    async def run(self, work: Callable[[], T], on_cancel: Callable[[], None]) -> T:
        """Run ``work`` on a thread; on cancellation call ``on_cancel`` and don't wait for it."""
        future = self._submit(work)
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            on_cancel()
            raise

    async def stream(
        self, source: Callable[[], Generator[T, None, None]], on_cancel: Callable[[], None]
    ) -> AsyncGenerator[T, None]:
        """Pump a blocking iterator on one thread and yield its items.

        Items come to the loop in batches, one wake-up a batch. Closing this iterator, or
        cancelling the task that reads it, calls ``on_cancel`` and stops the thread.
        """
        pump: _Pump[T] = _Pump(asyncio.get_running_loop())
        future = self._submit(lambda: pump.run(source))
        future.add_done_callback(lambda _: pump.end())
        try:
            while batch := await pump.batch():
                for item in batch:
                    yield item
            future.result()
        finally:
            if not future.done():
                pump.stop()
                on_cancel()

    def close(self) -> None:
        """Take no more work; what runs is left to end."""
        with self._lock:
            if self._executor is not None:
                self._executor.shutdown(wait=False)
                self._executor = None

    def _submit(self, work: Callable[[], T]) -> Future[T]:
        with self._lock:
            if self._executor is None:
                self._executor = ThreadPoolExecutor(self.max_concurrency, "modelmgr")
            # The caller's context goes along: tracing and instrumentation read it.
            return self._executor.submit(contextvars.copy_context().run, work)


class _Pump(Generic[T]):
    """One stream between its thread and the loop: a bounded buffer and two wake-ups."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._items: deque[T] = deque()
        self._room = threading.Condition()
        self._ready = asyncio.Event()
        self._woken = False
        self._stopped = False
        self._ended = False

    def run(self, source: Callable[[], Generator[T, None, None]]) -> None:
        """Fill the buffer; in the thread."""
        with contextlib.closing(source()) as items:
            for item in items:
                if not self._put(item):
                    return

    async def batch(self) -> list[T]:
        """Return what has come, waiting for something; empty at the end."""
        while True:
            with self._room:
                self._woken = False
                items = list(self._items)
                self._items.clear()
                self._room.notify()
                if items or self._ended:
                    return items
            await self._ready.wait()
            self._ready.clear()

    def stop(self) -> None:
        """The reader has gone."""
        with self._room:
            self._stopped = True
            self._room.notify()

    def end(self) -> None:
        """The thread has gone: nothing more will come."""
        with self._room:
            self._ended = True
        self._wake()

    def _put(self, item: T) -> bool:
        with self._room:
            self._room.wait_for(lambda: self._stopped or len(self._items) < STREAM_BUFFER)
            if self._stopped:
                return False
            self._items.append(item)
            if self._woken:
                return True
            self._woken = True
        self._wake()
        return True

    def _wake(self) -> None:
        with contextlib.suppress(RuntimeError):  # the loop was closed: nobody reads any more
            self._loop.call_soon_threadsafe(self._ready.set)
