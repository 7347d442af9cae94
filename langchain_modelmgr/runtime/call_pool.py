"""Runs blocking calls and streams for asyncio on threads of our own, never on the loop's."""

from __future__ import annotations

import asyncio
import atexit
import time
import weakref
from contextlib import suppress
from typing import TYPE_CHECKING, Generic, TypeVar, cast

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

MAX_CONCURRENCY = 320
"""Async calls that run at once by default; 256 of them, four fifths, may be of one model."""

EXIT_SECONDS = 1.0
"""Seconds at the interpreter's end for threads that are about to be done."""

_GLANCE_SECONDS = 0.005


class CallPool:
    """A bounded number of calls at once, each on a thread of its own.

    A call has a slot while its thread waits for Bedrock: not while its reader is busy, nor after
    it was cancelled. One model may have a part of the slots (``slots.MODEL_SHARE``).

    Args:
        max_concurrency: Calls that run at once; further ones wait their turn.

    Attributes:
        watchdog: The thread that ends what waits too long.
    """

    def __init__(self, max_concurrency: int) -> None:
        self.max_concurrency = max_concurrency
        self.watchdog = WATCHDOG
        self._slots = Slots(max_concurrency)
        self._running: set[BlockingWork] = set()
        self._used = False
        AFTER_FORK.watch(self)

    def reset_after_fork(self) -> None:
        """Discard what runs: a forked child has none of its parent's threads."""
        self._running = set()

    async def run(self, work: Callable[[], T], attempt: Attempt, model: Hashable) -> T:
        """Run ``work`` on a thread. When the task is cancelled, cancel the attempt at once.

        Args:
            work: Makes the attempt; it blocks.
            attempt: The attempt.
            model: Whose share of the slots it counts to.

        Raises:
            BedrockTimeoutError: No slot came free in time, or no reply came in time.
        """
        call = _BlockingCall(self._slots, attempt, model, self._running.discard, work)
        self._ask(call)
        try:
            return await call.result
        except asyncio.CancelledError:
            call.cancel()
            raise

    async def stream(
        self, source: Callable[[], Generator[T, None, None]], attempt: Attempt, model: Hashable
    ) -> AsyncGenerator[T, None]:
        """Read a blocking iterator on threads and yield its items.

        Items come to the loop in batches, one wake-up a batch. Closing this iterator, or
        cancelling the task that reads it, cancels the attempt.

        Args:
            source: Opens the stream; it blocks.
            attempt: The attempt.
            model: Whose share of the slots it counts to.

        Raises:
            BedrockTimeoutError: No slot came free in time, or the stream was silent too long.
        """
        blocking = BlockingStream(self._slots, attempt, model, self._running.discard, source)
        self._ask(blocking)
        try:
            while batch := await blocking.batch():
                for item in batch:
                    yield item
        finally:
            blocking.leave()

    def close(self) -> None:
        """End the streams that are open and what waits for a slot; calls that run go on."""
        for work in tuple(self._running):
            work.close()

    @property
    def running(self) -> tuple[BlockingWork, ...]:
        """What waits or runs now."""
        return tuple(self._running)

    def _ask(self, work: BlockingWork) -> None:
        if not self._used:
            self._used = True
            _AT_EXIT.remember(self)
        self._running.add(work)
        work.ask()


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
        attempt.meter.is_left = self.result.cancelled

    def cancel(self) -> None:
        """End the call: nobody waits for it any more."""
        self.cancel_attempt()
        if self._abandon() == "waits":
            self._on_done(self)

    def close(self) -> None:
        """End the call if it still waits for its slot."""
        if self._turn.state == "waits":
            self.cancel()
            self._tell(error=self._attempt.closed("the call was ended"))

    def _run(self) -> None:
        try:
            result = self._context.run(self._work) if self._started() else None
        except BaseException as error:  # noqa: BLE001 - it is raised again where it is awaited
            self._done()
            self._tell(error=self._raised(error))
        else:
            self._done()
            self._tell(result)

    def _fail(self, error: BaseException, *, idle: bool = False) -> None:
        if self._abandon() == "waits" or idle:
            self._on_done(self)
        self._tell(error=error)

    def _tell(self, result: T | None = None, error: BaseException | None = None) -> None:
        with suppress(RuntimeError):  # the loop was closed: nobody waits any more
            self._loop.call_soon_threadsafe(self._settle, result, error)

    def _settle(self, result: T | None, error: BaseException | None) -> None:
        if self.result.done():
            return
        if error is None:
            self.result.set_result(cast("T", result))
        else:
            self.result.set_exception(error)


class _AtExit:
    """Ends what still runs when the interpreter ends, before the sinks deliver what is left."""

    def __init__(self) -> None:
        self._pools: weakref.WeakSet[CallPool] = weakref.WeakSet()

    def remember(self, pool: CallPool) -> None:
        """End at exit what runs in a pool."""
        self._pools.add(pool)
        # The last to be registered is the first to be called; a manager's sinks came before.
        atexit.unregister(self._end_all)
        atexit.register(self._end_all)

    def _end_all(self) -> None:
        works = [work for pool in tuple(self._pools) for work in pool.running]
        for work in works:
            work.cancel_attempt()
        # A thread that runs Python while the interpreter ends may crash it: those that were woken
        # by their shut replies get a moment. One that waits for a reply does no harm.
        end = time.monotonic() + EXIT_SECONDS
        while WORKERS.busy > sum(work.is_stuck for work in works) and time.monotonic() < end:
            time.sleep(_GLANCE_SECONDS)


_AT_EXIT = _AtExit()
