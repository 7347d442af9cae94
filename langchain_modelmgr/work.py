"""One attempt as blocking work for asyncio: it waits for a slot and runs on a thread of ours."""

from __future__ import annotations

import contextvars
import time
from typing import TYPE_CHECKING, Protocol

from langchain_modelmgr.bedrock.patience import NO_FREE_SLOT, REPLY_TIMEOUT, nothing
from langchain_modelmgr.errors import BedrockTimeoutError
from langchain_modelmgr.slots import Turn
from langchain_modelmgr.workers import WORKERS

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable
    from typing import Literal

    from langchain_modelmgr.bedrock.meter import Meter
    from langchain_modelmgr.bedrock.patience import Patience
    from langchain_modelmgr.bedrock.watchdog import Watch
    from langchain_modelmgr.slots import Slots

MOST_ABANDONED = 1_000
"""Threads of a process that may wait for replies that nobody awaits any more, beside those with a
slot. Above that a cancelled call keeps its slot until its thread is back."""


class Attempt(Protocol):
    """One attempt, as far as a pool is concerned with it."""

    @property
    def meter(self) -> Meter:
        """What it takes; it decides between cancelled and sent."""

    @property
    def patience(self) -> Patience:
        """How long it may wait."""


class Work:
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
        on_done: Callable[[Work], None],
    ) -> None:
        self._slots = slots
        self._attempt = attempt
        self._turn = Turn(model, self._start)
        self._on_done = on_done
        self._expiry: Watch | None = None
        # The caller's context goes along: tracing and instrumentation read it.
        self._context = contextvars.copy_context()
        attempt.patience.on_end = self._time_is_up

    def ask(self, *, again: bool = False) -> None:
        """Run as soon as there is a slot; fail if there is none in time.

        Args:
            again: It ran before, and gave its slot back for a while.
        """
        patience, asked_at = self._attempt.patience, time.perf_counter()
        if (number := self._slots.take(self._turn, again=again)) is None:
            self._start()
            return

        def expire(_: float) -> None:
            if self._slots.give_up(self._turn, number):
                self._no_slot(time.perf_counter() - asked_at)

        until = min(asked_at + patience.timeout, patience.deadline)
        self._expiry = patience.watchdog.watch(expire, until)

    def close(self) -> None:
        """End it: its manager is closed."""
        raise NotImplementedError

    def cancel_attempt(self) -> None:
        """End the attempt: it is not sent any more, and if it was it is recorded."""
        self._attempt.meter.cancel()

    @property
    def is_stuck(self) -> bool:
        """True while a thread may wait for a reply that nothing public can break."""
        return self._attempt.meter.sent and not self._attempt.meter.is_open

    # -- for the kinds of work

    def _run(self) -> None:
        """Work, on a thread; it must not raise."""
        raise NotImplementedError

    def _fail(self, error: BaseException, *, idle: bool = False) -> None:
        """Raise an error where the work is awaited; ``idle``: no thread is at it, nor will be."""
        raise NotImplementedError

    def _time_is_up(self) -> None:
        """A wait ended the attempt, and its reply was shut; called in the watchdog's thread."""
        # With an open reply the thread that reads it is awake now, and says how it ended. Without
        # one it may still wait for a connection, which nothing public can break.
        if not self._attempt.meter.is_open:
            self._time_out(self._attempt.patience.ended, REPLY_TIMEOUT)

    def _time_out(self, reason: str, code: str, *, idle: bool = False) -> None:
        meter = self._attempt.meter
        meter.may_be_billed = meter.sent
        if meter.finish("failed", BedrockTimeoutError.__name__):
            meter.shut()
            self._fail(BedrockTimeoutError(reason, code=code), idle=idle)

    def _started(self) -> bool:
        """Start the attempt's clocks, which did not run in the queue; False: it was left there."""
        meter = self._attempt.meter
        meter.restart()
        self._attempt.patience.restart()
        return meter.outcome is None and not meter.is_left()

    def _abandon(self) -> Literal["none", "waits", "has"]:
        """Give the slot back though a thread may still be at work; return what it was."""
        if self._turn.state == "has" and WORKERS.busy > self._slots.total + MOST_ABANDONED:
            return "has"
        return self._slots.give_back(self._turn)

    def _done(self) -> None:
        """Give the slot back: the thread is done."""
        self._attempt.patience.on_end = nothing
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
