"""AwaitedWork: one attempt of an async call or stream that its own task makes, without a thread."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol, Self

from langchain_modelmgr.runtime.blocking_work import BlockingWork
from langchain_modelmgr.runtime.watchdog import nothing

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable
    from types import TracebackType

    from langchain_modelmgr.runtime.blocking_work import Attempt
    from langchain_modelmgr.runtime.slots import Slots


PARK_SECONDS = 0.2
"""Seconds that a stream keeps its slot while its reader is busy."""


class AwaitedWork(BlockingWork):
    """An asynchronous context manager that has a slot of a pool while its body runs.

    Args:
        slots: The slots of the pool.
        attempt: The attempt.
        model: The model that the slot is counted against.
        on_done: Called when nothing is left to do.
    """

    def __init__(
        self,
        slots: Slots,
        attempt: Attempt,
        model: Hashable,
        on_done: Callable[[BlockingWork], None],
    ) -> None:
        super().__init__(slots, attempt, model, on_done)
        # A request can be interrupted at any time: the task itself reports how it ended.
        attempt.time_budget.on_end = nothing
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._granted: asyncio.Future[None]

    async def __aenter__(self) -> Self:
        """Wait for a slot.

        Raises:
            BedrockTimeoutError: No slot was free in time.
            ModelManagerError: The manager was closed.
        """
        try:
            await self._get_slot()
        except asyncio.CancelledError:
            self.cancel_attempt()
            self._done()
            raise
        except BaseException:
            self._done()
            raise
        self._started()
        return self

    async def _get_slot(self, *, again: bool = False) -> None:
        self._granted = self._loop.create_future()
        self.request_slot(again=again)
        await self._granted

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._done()
        if isinstance(error, Exception) and (other := self._raised(error)) is not error:
            raise other

    def close(self) -> None:
        """End the call if it still waits for its slot."""
        if self._slot.state == "waits":
            self.cancel_attempt()
            self._slots.give_back(self._slot)
            self._fail(self._attempt.closed("the call was ended"))

    def end_with_loop(self) -> None:
        """End the call if its loop was closed: its task will never run again."""
        if self._loop.is_closed():
            self.cancel_attempt()
            self._attempt.time_budget.end()  # its watch would keep the connection until it is due
            self._done()

    def _fail(self, error: BaseException, *, idle: bool = False) -> None:  # noqa: ARG002
        self._wake(error)

    def _start(self) -> None:
        if self._expiry is not None:
            self._expiry.cancel()
        self._wake(None)

    def _wake(self, error: BaseException | None) -> None:
        try:
            if threading.get_ident() == self._thread:
                self._settle(error)
            else:
                self._loop.call_soon_threadsafe(self._settle, error)
        except RuntimeError:  # the loop was closed: no task waits any more
            self._done()

    def _settle(self, error: BaseException | None) -> None:
        if self._granted.done():
            return
        if error is None:
            self._granted.set_result(None)
        else:
            self._granted.set_exception(error)


class Receiver(Protocol):
    """A stream that is received step by step."""

    @property
    def is_whole(self) -> bool:
        """True once nothing is waited for any more."""

    async def receive(self) -> bool:
        """Wait for more; return False after the end."""


class AwaitedStream(AwaitedWork):
    """An asynchronous context manager in which a task reads a stream, under a slot of a pool.

    A stream whose reader is busy for ``PARK_SECONDS`` is *parked*: it gives up its slot until its
    reader continues.

    Args:
        slots: The slots of the pool.
        attempt: The attempt.
        model: The model that the slot is counted against.
        on_done: Called when nothing is left to do.

    Attributes:
        on_timeout: Records the attempt when its time is up while its reader is busy.
    """

    def __init__(
        self,
        slots: Slots,
        attempt: Attempt,
        model: Hashable,
        on_done: Callable[[BlockingWork], None],
    ) -> None:
        super().__init__(slots, attempt, model, on_done)
        attempt.time_budget.on_end = self._time_is_up
        self.on_timeout: Callable[[], None] = nothing
        self._stream: Receiver | None = None
        self._is_receiving = False
        self._is_over = False
        self._steps = self._steps_seen = 0
        self._timer: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> Self:
        """Wait for a slot.

        Raises:
            BedrockTimeoutError: No slot was free in time.
            ModelManagerError: The manager was closed.
        """
        await super().__aenter__()
        self._timer = self._loop.call_later(PARK_SECONDS, self._look)
        return self

    async def receive(self, stream: Receiver) -> bool:
        """Receive more of the stream, under a slot; return False after its end.

        Raises:
            BedrockTimeoutError: No slot was free in time.
            ModelManagerError: The manager was closed.
        """
        self._stream = stream
        may_wait = not stream.is_whole and not self._attempt.time_budget.ended
        if may_wait and not self._is_cancelled and self._slot.state == "none":
            await self._get_slot(again=True)
        if self._is_cancelled:
            raise self._attempt.closed("the stream was ended")
        self._is_receiving = True
        try:
            return await stream.receive()
        finally:
            self._is_receiving = False
            self._steps += 1

    def close(self) -> None:
        """End the stream with an error for its reader, because the manager is closed."""
        self.cancel_attempt()
        if self._slots.give_back(self._slot) == "waits":
            self._fail(self._attempt.closed("the stream was ended"))

    def _look(self) -> None:
        """Park the stream if its reader has been busy since the last look."""
        if self._is_over:
            return
        is_unread = not self._is_receiving and self._steps == self._steps_seen
        if is_unread and self._slot.state == "has":
            self._slots.give_back(self._slot)
        self._steps_seen = self._steps
        self._timer = self._loop.call_later(PARK_SECONDS, self._look)

    def _time_is_up(self) -> None:
        with suppress(RuntimeError):  # the loop was closed
            self._loop.call_soon_threadsafe(self._end_unread)

    def _end_unread(self) -> None:
        """Record a stream whose time is up while its reader is busy, and free its slot."""
        if self._is_over or self._is_receiving or (self._stream and self._stream.is_whole):
            return
        self.on_timeout()
        if self._slots.give_back(self._slot) == "waits":
            self._settle(None)  # receiving continues, and fails at once

    def _done(self) -> None:
        self._is_over = True
        self._stream, self.on_timeout = None, nothing
        if self._timer is not None and threading.get_ident() == self._thread:
            self._timer.cancel()
        super()._done()
