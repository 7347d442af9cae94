"""Reads a blocking stream on a thread for asyncio; uses no thread while the reader is busy."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Generic, TypeVar

from langchain_modelmgr.runtime.blocking_work import BlockingWork
from langchain_modelmgr.runtime.workers import WORKERS

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Hashable

    from langchain_modelmgr.runtime.blocking_work import Attempt
    from langchain_modelmgr.runtime.slots import Slots

T = TypeVar("T")

STREAM_BUFFER = 64
"""Largest number of items buffered for a slow reader; then reading pauses until it catches up."""


class BlockingStream(BlockingWork, Generic[T]):
    """One stream that a thread reads and an asyncio task consumes.

    A thread fills the buffer. When the buffer is full the stream is *parked*: its thread and its
    slot are released, and once the reader has emptied the buffer a thread resumes the stream.

    Args:
        slots: The slots of the pool.
        attempt: The attempt.
        model: The model that the slot is counted against.
        on_done: Called when nothing is left to do.
        source: Opens the stream; called on a thread.
    """

    def __init__(
        self,
        slots: Slots,
        attempt: Attempt,
        model: Hashable,
        on_done: Callable[[BlockingWork], None],
        source: Callable[[], Generator[T, None, None]],
    ) -> None:
        super().__init__(slots, attempt, model, on_done)
        self._loop = asyncio.get_running_loop()
        self._source = source
        self._stream: Generator[T, None, None] | None = None
        self._lock = threading.Lock()
        self._items: list[T] = []
        self._waiter: asyncio.Future[None] | None = None
        self._has_wakeup = False
        self._woken = False
        self._parked = False
        self._stopped = False
        self._ended = False
        self._error: BaseException | None = None
        attempt.meter.is_abandoned = self._is_abandoned

    # -- called by the reader

    async def batch(self) -> list[T]:
        """Wait for items and return all that are buffered; empty at the end of the stream."""
        while True:
            with self._lock:
                self._woken = False
                items, self._items = self._items, []
                parked, self._parked = self._parked, False
                ended = self._ended
            if parked:
                self.request_slot(again=True)
            if items:
                return items
            if ended:
                if self._error is not None:
                    raise self._error
                return items
            await self._wakeup()

    async def _wakeup(self) -> None:
        """Wait until ``_wake`` has been called since the buffer was last read."""
        if not self._has_wakeup:
            self._waiter = self._loop.create_future()
            await self._waiter
        self._has_wakeup = False

    def _wake_reader(self) -> None:
        """Wake the reader. Called in the event loop."""
        self._has_wakeup = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _is_abandoned(self) -> bool:
        return self._waiter is not None and self._waiter.cancelled()

    def leave(self) -> None:
        """End the stream because its reader stopped reading; does nothing if it has ended."""
        if not self._ended:
            self.cancel_attempt()
            self._stop(None)

    def close(self) -> None:
        """End the stream with an error for its reader, because the manager is closed."""
        self.cancel_attempt()
        self._stop(self._attempt.closed("the stream was ended"))

    # -- called by the thread

    def _run(self) -> None:
        try:
            while self._context.run(self._fill):
                if not self._is_full():
                    continue
                self._slots.give_back(self._slot)
                if self._may_park():
                    return
        except BaseException as error:  # noqa: BLE001 - it is raised again where it is awaited
            self._end(self._raised(error))
        else:
            self._end(None)

    def _fill(self) -> bool:
        """Read until the buffer is full; return False at the end of the stream."""
        if self._stream is None:
            if not self._started():
                return False
            self._stream = self._source()
        if self._stopped:
            self._stream.close()
            return False
        for item in self._stream:
            if not self._put(item):
                self._stream.close()
                return False
            if len(self._items) >= STREAM_BUFFER:
                return True
        return False

    def _put(self, item: T) -> bool:
        with self._lock:
            if self._stopped:
                return False
            self._items.append(item)
            if self._woken:
                return True
            self._woken = True
        self._wake()
        return True

    def _is_full(self) -> bool:
        """Return whether to park the stream; past its deadline it is read to its end instead."""
        return len(self._items) >= STREAM_BUFFER and not self._attempt.time_budget.ended

    def _may_park(self) -> bool:
        """Park the stream or resume it; return whether this thread is done with it."""
        with self._lock:
            if self._stopped or self._attempt.time_budget.ended:
                return False  # the rest does not block, and needs no slot
            if self._items:
                self._parked = True
                return True
        self.request_slot(again=True)  # the reader emptied the buffer in the meantime
        return True

    def _end(self, error: BaseException | None) -> None:
        with self._lock:
            if not self._ended:
                self._ended, self._error = True, error
        self._done()
        self._wake()

    def _wake(self) -> None:
        try:
            self._loop.call_soon_threadsafe(self._wake_reader)
        except RuntimeError:  # the loop was closed: there is no reader any more
            self.leave()

    # -- called by any thread

    def _fail(self, error: BaseException, *, idle: bool = False) -> None:
        self._stop(error, idle=idle)

    def _time_is_up(self) -> None:
        with self._lock:
            idle, self._parked = self._parked, False
        if idle or self._slots.give_up(self._slot, self._slot.number):
            self._start_without_slot()  # reading resumes, and fails at once
        else:
            super()._time_is_up()

    def _stop(self, error: BaseException | None, *, idle: bool = False) -> None:
        with self._lock:
            if self._ended:
                return
            self._stopped = self._ended = True
            self._error = error
            idle |= self._parked
            self._parked = False
        if self._abandon() == "waits" or idle:
            self._on_done(self)
            if self._stream is not None:
                self._start_without_slot()
        if error is not None:
            self._wake()

    def _start_without_slot(self) -> None:
        with suppress(RuntimeError):  # no more threads can start; the reply is already shut
            WORKERS.run(self._run)
