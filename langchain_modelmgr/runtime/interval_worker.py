"""A thread that works at intervals and on request; callers never wait for it to start."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

from langchain_modelmgr.runtime.forks import AFTER_FORK

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True)
class Clock:
    """The functions that give the time; tests replace them."""

    monotonic: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time
    sleep: Callable[[float], None] = time.sleep


@dataclass(frozen=True, slots=True)
class Order:
    """A request to work now until a deadline; ``done`` is set afterwards."""

    deadline: float
    publish: bool = True
    is_last: bool = False
    done: threading.Event = field(default_factory=threading.Event)

    def half_over(self, clock: Clock) -> Callable[[], bool]:
        """Return a function that says whether the time to ingest is over.

        If data points are to be sent as well, half of the time is reserved for that.
        """
        start = clock.monotonic()
        end = start + (self.deadline - start) / (2 if self.publish else 1)
        return lambda: clock.monotonic() >= end


class Worker:
    """Calls ``work`` on a thread: at every interval, when woken, and on a caller's order.

    Args:
        work: The function to call. Must not raise.
        pause: Returns the seconds until the next call if that is before the end of the interval.
        interval: Seconds between two calls.
        clock: The clock.
    """

    def __init__(
        self,
        work: Callable[[Order | None], None],
        pause: Callable[[], float],
        *,
        interval: float,
        clock: Clock,
    ) -> None:
        self._work = work
        self._pause = pause
        self._interval = interval
        self._clock = clock
        self._orders: SimpleQueue[Order | None] = SimpleQueue()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._woken = False
        AFTER_FORK.watch(self)

    @property
    def is_running(self) -> bool:
        """True if the thread was started."""
        return self._thread is not None

    def start(self) -> None:
        """Start the thread if it isn't running; don't wait if another caller is starting it.

        Raises:
            RuntimeError: No thread can be started because the interpreter is shutting down.
        """
        thread = self._thread
        if thread is not None and thread.is_alive():
            return
        if not self._starting.acquire(blocking=False):
            return
        try:
            thread = threading.Thread(
                target=self._run, args=(self._orders,), name="modelmgr-ledger", daemon=True
            )
            thread.start()
            self._thread = thread
        finally:
            self._starting.release()

    def wake(self) -> None:
        """Have the thread work now. May be called from a finaliser."""
        if not self._woken:
            self._woken = True
            self._orders.put(None)

    def order(self, seconds: float, *, publish: bool = True) -> None:
        """Work now for at most ``seconds`` and wait for the end.

        If no thread can be started, the work is done in the caller's thread.
        """
        order = Order(self._clock.monotonic() + seconds, publish)
        try:
            self.start()
        except RuntimeError:
            self._work(order)
            return
        self._orders.put(order)
        order.done.wait(seconds)

    def stop(self, seconds: float) -> None:
        """Work for the last time, wait for the end and stop the thread; ``start`` restarts it."""
        thread, self._thread = self._thread, None
        orders, self._orders = self._orders, SimpleQueue()
        order = Order(self._clock.monotonic() + seconds, is_last=True)
        if thread is None or not thread.is_alive():
            self._work(order)
            return
        orders.put(order)
        order.done.wait(seconds)

    def reset_after_fork(self) -> None:
        """Discard the parent's thread and orders."""
        self._orders = SimpleQueue()
        self._starting = threading.Lock()
        self._thread = None
        self._woken = False

    def _run(self, orders: SimpleQueue[Order | None]) -> None:
        next_time = self._clock.monotonic() + self._interval
        while True:
            order = self._next(orders, next_time)
            self._woken = False
            try:
                self._work(order)
            finally:
                if order is not None:
                    order.done.set()
            if order is not None and order.is_last:
                return
            next_time = self._clock.monotonic() + self._interval

    def _next(self, orders: SimpleQueue[Order | None], next_time: float) -> Order | None:
        seconds = min(next_time - self._clock.monotonic(), self._pause())
        try:
            return orders.get(timeout=max(seconds, 0.0))
        except Empty:
            return None
