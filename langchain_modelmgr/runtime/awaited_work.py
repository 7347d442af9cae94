"""AwaitedWork: one attempt of an async call that its own task makes, without a thread."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

from langchain_modelmgr.runtime.blocking_work import BlockingWork
from langchain_modelmgr.runtime.watchdog import nothing

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable
    from types import TracebackType

    from langchain_modelmgr.runtime.blocking_work import Attempt
    from langchain_modelmgr.runtime.slots import Slots


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
        self._granted: asyncio.Future[None] = self._loop.create_future()

    async def __aenter__(self) -> None:
        """Wait for a slot.

        Raises:
            BedrockTimeoutError: No slot was free in time.
            ModelManagerError: The manager was closed.
        """
        self.request_slot()
        try:
            await self._granted
        except asyncio.CancelledError:
            self.cancel_attempt()
            self._done()
            raise
        except BaseException:
            self._done()
            raise
        self._started()

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
