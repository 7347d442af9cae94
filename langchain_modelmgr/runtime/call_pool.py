"""CallPool: runs blocking calls and streams for asyncio, on its own threads."""

from __future__ import annotations

import asyncio
import atexit
import time
import weakref
from contextlib import suppress
from typing import TYPE_CHECKING, Generic, TypeVar, cast

from langchain_modelmgr.runtime.awaited_work import AwaitedStream, AwaitedWork
from langchain_modelmgr.runtime.blocking_stream import BlockingStream
from langchain_modelmgr.runtime.blocking_work import BlockingWork
from langchain_modelmgr.runtime.forks import AFTER_FORK
from langchain_modelmgr.runtime.slots import Slots
from langchain_modelmgr.runtime.watchdog import WATCHDOG
from langchain_modelmgr.runtime.workers import WORKERS

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator, Hashable

    from langchain_modelmgr.runtime.blocking_work import Attempt

T = TypeVar("T")
A = TypeVar("A", bound=AwaitedWork)

MAX_CONCURRENCY = 320
"""Default number of concurrent async calls; one model may have four fifths of them, 256."""

EXIT_SECONDS = 1.0
"""Seconds that the interpreter's exit waits for threads that are about to finish."""

_POLL_SECONDS = 0.005


class CallPool:
    """Runs a limited number of concurrent calls, each on a thread of its own.

    A call has a slot only while its thread waits for Bedrock: not while its reader is busy, and
    not after it was cancelled. One model may have only a part of the slots
    (``slots.MODEL_SHARE``).

    Args:
        max_concurrency: Largest number of concurrent calls; further calls wait for a slot.

    Attributes:
        watchdog: The thread that ends attempts that wait too long.
    """

    def __init__(self, max_concurrency: int) -> None:
        self.max_concurrency = max_concurrency
        self.watchdog = WATCHDOG
        self._slots = Slots(max_concurrency)
        self._running: set[BlockingWork] = set()
        self._loops: weakref.WeakSet[asyncio.AbstractEventLoop] = weakref.WeakSet()
        self._used = False
        AFTER_FORK.watch(self)

    def reset_after_fork(self) -> None:
        """Discard running calls: a forked child has none of its parent's threads."""
        self._running = set()

    async def run(self, work: Callable[[], T], attempt: Attempt, model: Hashable) -> T:
        """Run ``work`` on a thread; if the task is cancelled, cancel the attempt at once.

        Args:
            work: Makes the attempt; it blocks.
            attempt: The attempt.
            model: The model that the slot is counted against.

        Raises:
            BedrockTimeoutError: No slot was free in time, or no reply arrived in time.
        """
        call = _BlockingCall(self._slots, attempt, model, self._running.discard, work)
        self._submit(call)
        try:
            return await call.result
        except asyncio.CancelledError:
            call.cancel()
            raise

    def slot(self, attempt: Attempt, model: Hashable) -> AwaitedWork:
        """Return a context manager in which the current task makes an attempt, under a slot.

        Args:
            attempt: The attempt.
            model: The model that the slot is counted against.
        """
        return self._awaited(AwaitedWork(self._slots, attempt, model, self._running.discard))

    def stream_slot(self, attempt: Attempt, model: Hashable) -> AwaitedStream:
        """Return a context manager in which the current task reads a stream, under a slot.

        Args:
            attempt: The attempt.
            model: The model that the slot is counted against.
        """
        return self._awaited(AwaitedStream(self._slots, attempt, model, self._running.discard))

    def _awaited(self, work: A) -> A:
        self._loops.add(asyncio.get_running_loop())
        self._remember(work)
        return work

    async def stream(
        self, source: Callable[[], Generator[T, None, None]], attempt: Attempt, model: Hashable
    ) -> AsyncGenerator[T, None]:
        """Read a blocking iterator on threads and yield its items.

        Items reach the event loop in batches, with one wake-up per batch. Closing this iterator,
        or cancelling the task that reads it, cancels the attempt.

        Args:
            source: Opens the stream; it blocks.
            attempt: The attempt.
            model: The model that the slot is counted against.

        Raises:
            BedrockTimeoutError: No slot was free in time, or the stream was silent too long.
        """
        blocking = BlockingStream(self._slots, attempt, model, self._running.discard, source)
        self._submit(blocking)
        try:
            while batch := await blocking.batch():
                for item in batch:
                    yield item
        finally:
            blocking.leave()

    def close(self) -> None:
        """End open streams and calls that wait for a slot; running calls continue."""
        # Those that wait first: they would get the slots that ended streams give back.
        for work in sorted(self._running, key=lambda each: not each.waits):
            work.close()

    @property
    def running(self) -> tuple[BlockingWork, ...]:
        """The calls and streams that wait or run."""
        return tuple(self._running)

    def _submit(self, work: BlockingWork) -> None:
        self._remember(work)
        work.request_slot()

    def _remember(self, work: BlockingWork) -> None:
        self._end_with_closed_loops()
        if not self._used:
            self._used = True
            _AT_EXIT.remember(self)
        self._running.add(work)

    def _end_with_closed_loops(self) -> None:
        """Free the slots of awaited calls whose loop was closed before they ended."""
        if closed := [loop for loop in self._loops if loop.is_closed()]:
            self._loops.difference_update(closed)
            for work in tuple(self._running):
                if isinstance(work, AwaitedWork):
                    work.end_with_loop()


class _BlockingCall(BlockingWork, Generic[T]):
    """One call and its result."""

    def __init__(
        self,
        slots: Slots,
        attempt: Attempt,
        model: Hashable,
        on_done: Callable[[BlockingWork], None],
        work: Callable[[], T],
    ) -> None:
        super().__init__(slots, attempt, model, on_done)
        self._loop = asyncio.get_running_loop()
        self._work = work
        self.result: asyncio.Future[T] = self._loop.create_future()
        attempt.meter.is_abandoned = self.result.cancelled

    def cancel(self) -> None:
        """End the call because its task was cancelled."""
        self.cancel_attempt()
        if self._abandon() == "waits":
            self._on_done(self)

    def close(self) -> None:
        """End the call if it still waits for its slot."""
        if self._slot.state == "waits":
            self.cancel()
            self._deliver(error=self._attempt.closed("the call was ended"))

    def _run(self) -> None:
        try:
            result = self._context.run(self._work) if self._started() else None
        except BaseException as error:  # noqa: BLE001 - it is raised again where it is awaited
            self._done()
            self._deliver(error=self._raised(error))
        else:
            self._done()
            self._deliver(result)

    def _fail(self, error: BaseException, *, idle: bool = False) -> None:
        if self._abandon() == "waits" or idle:
            self._on_done(self)
        self._deliver(error=error)

    def _deliver(self, result: T | None = None, error: BaseException | None = None) -> None:
        with suppress(RuntimeError):  # the loop was closed: no task waits any more
            self._loop.call_soon_threadsafe(self._settle, result, error)

    def _settle(self, result: T | None, error: BaseException | None) -> None:
        if self.result.done():
            return
        if error is None:
            self.result.set_result(cast("T", result))
        else:
            self.result.set_exception(error)


class _AtExit:
    """Cancels running calls when the interpreter exits, before the sinks are flushed."""

    def __init__(self) -> None:
        self._pools: weakref.WeakSet[CallPool] = weakref.WeakSet()

    def remember(self, pool: CallPool) -> None:
        """Cancel a pool's calls at exit."""
        self._pools.add(pool)
        # Handlers run in reverse order of registration; a manager's sinks were registered before.
        atexit.unregister(self._end_all)
        atexit.register(self._end_all)

    def _end_all(self) -> None:
        works = [work for pool in tuple(self._pools) for work in pool.running]
        for work in works:
            work.cancel_attempt()
        # A thread that runs Python code during finalization may crash the interpreter: give the
        # threads that their shut replies woke time to finish. A thread that waits for a reply is
        # harmless.
        end = time.monotonic() + EXIT_SECONDS
        while WORKERS.busy > sum(work.is_stuck for work in works) and time.monotonic() < end:
            time.sleep(_POLL_SECONDS)


_AT_EXIT = _AtExit()
