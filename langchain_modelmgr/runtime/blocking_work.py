"""BlockingWork: one attempt of an async call, which waits for a slot and runs on a thread."""

from __future__ import annotations

import contextvars
import time
from typing import TYPE_CHECKING, Any, Protocol

from langchain_modelmgr.runtime.slots import SlotRequest
from langchain_modelmgr.runtime.watchdog import nothing
from langchain_modelmgr.runtime.workers import WORKERS

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable
    from typing import Literal

    from langchain_modelmgr.runtime.slots import Slots
    from langchain_modelmgr.runtime.watchdog import Watch, Watchdog

MOST_ABANDONED = 1_000
"""Threads that may wait for replies of cancelled calls, in addition to those that have a slot.
Above this number a cancelled call keeps its slot until its thread returns."""


REPLY_TIMEOUT = "ReplyTimeout"
"""Error code: the reply was too slow, or exceeded the call's deadline."""

NO_FREE_SLOT = "NoFreeSlot"
"""Error code: too many calls were running, and nothing was sent."""


class Meter(Protocol):
    """Measures an attempt, and decides whether it was cancelled before it was sent."""

    outcome: Any
    may_be_billed: bool
    is_abandoned: Callable[[], bool]

    @property
    def sent(self) -> bool:
        """True once the request was sent."""

    @property
    def is_open(self) -> bool:
        """True while the connection of the reply can be closed."""

    def restart(self) -> None:
        """Restart the clock."""

    def cancel(self) -> None:
        """Cancel the attempt; a request that was not sent yet is never sent."""

    def finish(self, outcome: Literal["failed"], error: str) -> bool:
        """Record the end of the attempt; return False if it had already ended."""

    def shut(self) -> None:
        """Close the connection of the open reply."""


class TimeBudget(Protocol):
    """How long an attempt may wait."""

    timeout: float
    deadline: float
    watchdog: Watchdog
    ended: str
    on_end: Callable[[], None]

    def restart(self) -> None:
        """Restart the clock."""

    def end(self) -> None:
        """Stop watching the attempt."""


class Attempt(Protocol):
    """The parts of an attempt that a pool uses."""

    @property
    def meter(self) -> Meter:
        """The meter of the attempt."""

    @property
    def time_budget(self) -> TimeBudget:
        """How long the attempt may wait."""

    def timed_out(self, reason: str, code: str) -> Exception:
        """Return the error for an attempt that waited too long."""

    def closed(self, reason: str) -> Exception:
        """Return the error for an attempt that ended because its pool was closed."""


class BlockingWork:
    """One attempt that waits for a slot of a pool and then runs on a thread.

    Args:
        slots: The slots of the pool.
        attempt: The attempt.
        model: The model that the slot is counted against.
        on_done: Called, in any thread, when nothing is left to do.
    """

    def __init__(
        self,
        slots: Slots,
        attempt: Attempt,
        model: Hashable,
        on_done: Callable[[BlockingWork], None],
    ) -> None:
        self._slots = slots
        self._attempt = attempt
        self._slot = SlotRequest(model, self._start)
        self._on_done = on_done
        self._expiry: Watch | None = None
        self._is_cancelled = False
        # The work runs in the caller's context, which tracing and instrumentation read.
        self._context = contextvars.copy_context()
        attempt.time_budget.on_end = self._time_is_up

    @property
    def waits(self) -> bool:
        """True while it waits for a slot."""
        return self._slot.state == "waits"

    def request_slot(self, *, again: bool = False) -> None:
        """Run as soon as a slot is free; fail if none is free in time.

        Args:
            again: The work ran before and released its slot for a while.
        """
        time_budget, start = self._attempt.time_budget, time.perf_counter()
        if (number := self._slots.take(self._slot, again=again)) is None:
            self._start()
            return

        def expire(_: float) -> None:
            if self._slots.give_up(self._slot, number):
                self._no_slot(time.perf_counter() - start)

        until = min(start + time_budget.timeout, time_budget.deadline)
        self._expiry = time_budget.watchdog.watch(expire, until)

    def close(self) -> None:
        """End the work because its manager is closed."""
        raise NotImplementedError

    def cancel_attempt(self) -> None:
        """Cancel the attempt: an unsent request is never sent, a sent one is recorded."""
        self._is_cancelled = True
        self._attempt.meter.cancel()

    def _raised(self, error: BaseException) -> BaseException:
        """Return the error to raise for what the work raised.

        A cancelled attempt breaks in its socket. That must not look like a failure of its model,
        after which the next one is called.
        """
        return self._attempt.closed("the call was ended") if self._is_cancelled else error

    @property
    def is_stuck(self) -> bool:
        """True while a thread may wait for a reply that no public API can interrupt."""
        return self._attempt.meter.sent and not self._attempt.meter.is_open

    # -- for subclasses

    def _run(self) -> None:
        """Do the work, on a thread. Must not raise."""
        raise NotImplementedError

    def _fail(self, error: BaseException, *, idle: bool = False) -> None:
        """Raise an error where the work is awaited.

        Args:
            error: The error.
            idle: No thread runs the work or will run it.
        """
        raise NotImplementedError

    def _time_is_up(self) -> None:
        """Handle the end of the time budget. Called in the watchdog's thread."""
        # An open reply was shut: the thread that reads it wakes up and reports how it ended.
        # Without one the thread may still wait for a connection, which no public API can interrupt.
        if not self._attempt.meter.is_open:
            self._time_out(self._attempt.time_budget.ended, REPLY_TIMEOUT)

    def _time_out(self, reason: str, code: str, *, idle: bool = False) -> None:
        meter = self._attempt.meter
        meter.may_be_billed = meter.sent
        error = self._attempt.timed_out(reason, code)
        if meter.finish("failed", type(error).__name__):
            meter.shut()
            self._fail(error, idle=idle)

    def _started(self) -> bool:
        """Start the attempt's clocks; return False if it was abandoned while in the queue."""
        meter = self._attempt.meter
        meter.restart()
        self._attempt.time_budget.restart()
        return meter.outcome is None and not meter.is_abandoned()

    def _abandon(self) -> Literal["none", "waits", "has"]:
        """Release the slot although a thread may still work; return the slot's previous state."""
        if self._slot.state == "has" and WORKERS.busy > self._slots.total + MOST_ABANDONED:
            return "has"
        return self._slots.give_back(self._slot)

    def _done(self) -> None:
        """Release the slot at the end of the thread's work."""
        self._slots.give_back(self._slot)
        # What refers back to this object would keep it, and its request, until garbage collection.
        self._attempt.time_budget.on_end = self._slot.on_granted = nothing
        self._attempt.meter.is_abandoned = _never
        self._on_done(self)

    # -- the queue

    def _start(self) -> None:
        if self._expiry is not None:
            self._expiry.cancel()
        try:
            WORKERS.run(self._run)
        except RuntimeError as error:  # no more threads can be started
            self._slots.give_back(self._slot)
            self._attempt.meter.finish("failed", type(error).__name__)
            self._fail(error, idle=True)

    def _no_slot(self, waited: float) -> None:
        taken = self._slots.taken(self._slot.model)
        reason = (
            f"no free slot for {waited:.1f} s: {taken} of {self._slots.total} (max_concurrency) "
            "are taken by calls of this model"
        )
        self._time_out(reason, NO_FREE_SLOT, idle=True)


def _never() -> bool:
    return False
