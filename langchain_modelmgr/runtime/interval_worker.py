"""A thread that works at intervals and on orders, from whose start no caller has to wait."""

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
    """Time, to be replaced in tests."""

    monotonic: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time
    sleep: Callable[[float], None] = time.sleep


@dataclass(frozen=True, slots=True)
class Order:
    """An order to work now, until a deadline, and to say when that is done."""

    deadline: float
    publish: bool = True
    is_last: bool = False
    done: threading.Event = field(default_factory=threading.Event)

    def half_over(self, clock: Clock) -> Callable[[], bool]:
        """Return what tells whether the time to ingest is up: half of it is for sending."""
        start = clock.monotonic()
        end = start + (self.deadline - start) / (2 if self.publish else 1)
        return lambda: clock.monotonic() >= end


class Worker:
    """Runs ``work`` every interval, when it is woken, and on orders, which a caller waits for.

    Args:
        work: What is done. It must not raise.
        pause: Seconds until ``work`` makes sense again, if that is before the interval's end.
        interval: Seconds between two times.
        clock: Time.
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
        """True while there is a thread."""
        return self._thread is not None

    def start(self) -> None:
        """Start the thread if it isn't running. Whoever comes second needn't wait.

        Raises:
            RuntimeError: No thread can be started while the interpreter ends.
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
        """Let it work now. May be called from a finaliser."""
        if not self._woken:
            self._woken = True
            self._orders.put(None)

    def order(self, seconds: float, *, publish: bool = True) -> None:
        """Let it work for as long at most, and wait for it; without a thread, work here."""
        order = Order(self._clock.monotonic() + seconds, publish)
        try:
            self.start()
        except RuntimeError:
            self._work(order)
            return
        self._orders.put(order)
        order.done.wait(seconds)

    def stop(self, seconds: float) -> None:
        """Let it work for the last time, and wait for it. A later ``start`` begins anew."""
        thread, self._thread = self._thread, None
        orders, self._orders = self._orders, SimpleQueue()
        order = Order(self._clock.monotonic() + seconds, is_last=True)
        if thread is None or not thread.is_alive():
            self._work(order)
            return
        orders.put(order)
        order.done.wait(seconds)

    def reset_after_fork(self) -> None:
        """Forget the parent's thread."""
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
