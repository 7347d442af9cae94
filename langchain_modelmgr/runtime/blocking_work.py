"""One attempt as blocking work for asyncio: it waits for a slot and runs on a thread of ours."""

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
"""Threads of a process that may wait for replies that nobody awaits any more, beside those with a
slot. Above that a cancelled call keeps its slot until its thread is back."""


REPLY_TIMEOUT = "ReplyTimeout"
"""An error's code: the reply trickled, or outlived the call's deadline."""

NO_FREE_SLOT = "NoFreeSlot"
"""An error's code: too many calls were running, and nothing was sent."""


class Meter(Protocol):
    """What an attempt takes, and whether it was cancelled or sent."""

    outcome: Any
    may_be_billed: bool
    is_left: Callable[[], bool]

    @property
    def sent(self) -> bool:
        """True once the request has left."""

    @property
    def is_open(self) -> bool:
        """True while its reply can be shut."""

    def restart(self) -> None:
        """Start the clock anew."""

    def cancel(self) -> None:
        """Cancel the attempt: if it was not sent yet, it is not sent any more."""

    def finish(self, outcome: Literal["failed"], error: str) -> bool:
        """Record the end of the attempt; return False if it has ended before."""

    def shut(self) -> None:
        """Shut the open reply."""


class TimeBudget(Protocol):
    """How long an attempt may wait."""

    timeout: float
    deadline: float
    watchdog: Watchdog
    ended: str
    on_end: Callable[[], None]

    def restart(self) -> None:
        """Start the clock anew."""


class Attempt(Protocol):
    """One attempt, as a pool sees it."""

    @property
    def meter(self) -> Meter:
        """What it takes; it decides between cancelled and sent."""

    @property
    def time_budget(self) -> TimeBudget:
        """How long it may wait."""

    def timed_out(self, reason: str, code: str) -> Exception:
        """Return the error for an attempt that waited too long."""

    def closed(self, reason: str) -> Exception:
        """Return the error for an attempt that is ended because its pool is closed."""


class BlockingWork:
    """One attempt on its way through a pool.

    Args:
        slots: Where it gets its slot.
        attempt: The attempt.
        model: Whose share of the slots it counts to.
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
        self._turn = SlotRequest(model, self._start)
        self._on_done = on_done
        self._expiry: Watch | None = None
        self._is_cancelled = False
        # The caller's context goes along: tracing and instrumentation read it.
        self._context = contextvars.copy_context()
        attempt.time_budget.on_end = self._time_is_up

    def ask(self, *, again: bool = False) -> None:
        """Run as soon as there is a slot; fail if there is none in time.

        Args:
            again: It ran before, and gave its slot back for a while.
        """
        time_budget, asked_at = self._attempt.time_budget, time.perf_counter()
        if (number := self._slots.take(self._turn, again=again)) is None:
            self._start()
            return

        def expire(_: float) -> None:
            if self._slots.give_up(self._turn, number):
                self._no_slot(time.perf_counter() - asked_at)

        until = min(asked_at + time_budget.timeout, time_budget.deadline)
        self._expiry = time_budget.watchdog.watch(expire, until)

    def close(self) -> None:
        """End it: its manager is closed."""
        raise NotImplementedError

    def cancel_attempt(self) -> None:
        """End the attempt: it is not sent any more, and if it was it is recorded."""
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
        """True while a thread may wait for a reply that nothing public can break."""
        return self._attempt.meter.sent and not self._attempt.meter.is_open

    # -- for the kinds of work

    def _run(self) -> None:
        """BlockingWork, on a thread; it must not raise."""
        raise NotImplementedError

    def _fail(self, error: BaseException, *, idle: bool = False) -> None:
        """Raise an error where the work is awaited; ``idle``: no thread is at it, nor will be."""
        raise NotImplementedError

    def _time_is_up(self) -> None:
        """A wait ended the attempt, and its reply was shut; called in the watchdog's thread."""
        # With an open reply the thread that reads it is awake now, and says how it ended. Without
        # one it may still wait for a connection, which nothing public can break.
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
        """Start the attempt's clocks, which did not run in the queue; False: it was left there."""
        meter = self._attempt.meter
        meter.restart()
        self._attempt.time_budget.restart()
        return meter.outcome is None and not meter.is_left()

    def _abandon(self) -> Literal["none", "waits", "has"]:
        """Give the slot back though a thread may still be at work; return what it was."""
        if self._turn.state == "has" and WORKERS.busy > self._slots.total + MOST_ABANDONED:
            return "has"
        return self._slots.give_back(self._turn)

    def _done(self) -> None:
        """Give the slot back: the thread is done."""
        self._attempt.time_budget.on_end = nothing
        self._slots.give_back(self._turn)
        self._on_done(self)

    # -- the queue

    def _start(self) -> None:
        if self._expiry is not None:
            self._expiry.cancel()
        try:
            WORKERS.run(self._run)
        except RuntimeError as error:  # the system starts no more threads
            self._slots.give_back(self._turn)
            self._attempt.meter.finish("failed", type(error).__name__)
            self._fail(error, idle=True)

    def _no_slot(self, waited: float) -> None:
        taken = self._slots.taken(self._turn.model)
        reason = (
            f"no free slot for {waited:.1f} s: {taken} of {self._slots.total} (max_concurrency) "
            "are taken by calls of this model"
        )
        self._time_out(reason, NO_FREE_SLOT, idle=True)
