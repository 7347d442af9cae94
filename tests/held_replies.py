"""Fixtures: replies that a test holds and releases, and time-outs that pass when a test says so.

What a test must wait for is an event, so that it does not depend on the speed of the machine.
"""

from __future__ import annotations

import asyncio
import threading
import time
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest

from langchain_modelmgr.bedrock.time_budget import TimeBudget
from langchain_modelmgr.chain.call import Call
from langchain_modelmgr.local import bedrock, replies

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from langchain_modelmgr.local import LocalAWS

HELD = 3_600.0
"""Seconds of a latency or a stall that ends when the test releases it."""

Happened: TypeAlias = "Callable[[Any, Any], bool]"
"""Takes the limits of an attempt and its meter, and returns whether the attempt ends now."""

PATIENCE = 50.0
"""Seconds that a test waits at most for what must happen."""


class HeldReplies:
    """Replies of the local AWS that wait until they are released.

    Attributes:
        waiting: Number of replies that have reached the point where they are held.
    """

    def __init__(self, aws: LocalAWS) -> None:
        self.waiting = 0
        self._aws = aws
        self._released = threading.Event()

    def hold(self, model_id: str | None, *, after: int | None = None) -> None:
        """Hold the replies of a model, or its next stream after some of its content."""
        self._released.clear()
        if after is None:
            self._aws.latency(model_id, HELD)
        else:
            self._aws.stall(model_id, HELD, at="stream", after=after)

    def release(self) -> None:
        """Let the replies that are held and all later ones go on."""
        self._aws.clear_faults()
        self._released.set()

    async def sleep(self, seconds: float) -> None:
        """Sleep in the local AWS."""
        if seconds != HELD:
            await asyncio.sleep(seconds)
            return
        released = self._released
        self.waiting += 1
        while not released.is_set():  # noqa: ASYNC110 - the test is in another thread
            await asyncio.sleep(0.005)


@pytest.fixture
def held(local_aws: LocalAWS, monkeypatch: pytest.MonkeyPatch) -> Iterator[HeldReplies]:
    """Give replies that are held until the test releases them, at its end at the latest."""
    made = HeldReplies(local_aws)
    for module in (bedrock, replies):
        monkeypatch.setattr(module, "asyncio", SimpleNamespace(sleep=made.sleep))
    yield made
    made._released.set()


class TimeOuts:
    """Time-outs of some models; attempts on all others have the time-out of their agent.

    Attributes:
        budgets: The limits of all attempts, the last one last.
    """

    def __init__(self) -> None:
        self.budgets: list[TimeBudget] = []
        self._made: dict[str, Callable[..., Any]] = {}

    def after(self, model_id: str, seconds: float, *, of_socket: bool = False) -> None:
        """End attempts on a model when it is silent for so long.

        Args:
            model_id: The model.
            seconds: Its time-out.
            of_socket: Never end the wait for a reply by the watchdog, which is a little later.
        """
        kind = _OfSocket if of_socket else TimeBudget
        self._made[model_id] = lambda _, __, *given: kind(seconds, *given)

    def when(self, model_id: str, happened: Happened) -> None:
        """End attempts on a model as if their time-out had passed, once something has happened."""
        self._made[model_id] = partial(_Triggered, happened)

    def deadline_when(self, model_id: str, happened: Happened) -> None:
        """Let the deadline of a call of a model pass once something has happened."""
        self._made[model_id] = partial(_Deadline, happened)

    def when_received(
        self, aws: LocalAWS, model_id: str, *, contents: int = 0, deadline: bool = False
    ) -> None:
        """Let the time-out or the deadline pass when an attempt and its contents have come.

        Args:
            aws: The server that receives the attempt's request.
            model_id: The attempt's model.
            contents: Number of events with content that the attempt must have received.
            deadline: True for the call's deadline, False for the attempt's time-out.
        """

        def made(*given: Any) -> TimeBudget:
            before = aws.requests(model_id)
            kind = _Deadline if deadline else _Triggered
            return kind(
                lambda limits, _: aws.requests(model_id) > before and limits.contents >= contents,
                *given,
            )

        self._made[model_id] = made

    def remove(self, model_id: str) -> None:
        """Give later attempts on a model the time-out of their agent again."""
        self._made.pop(model_id, None)

    def slow_events(self, model_id: str, seconds: float) -> None:
        """Count so many seconds for each event of a model's streams that is waited for."""
        self._made[model_id] = lambda _, *given: _Slow(seconds, *given)

    def of(self, call: Any) -> TimeBudget:
        """Return the limits of a call's next attempt."""
        given = (call._request.timeout, call._deadline, call._rules.watchdog)
        made_by: Callable[..., TimeBudget] = self._made.get(call.candidate.model_id, _plain)
        made = made_by(call, *given)
        self.budgets.append(made)
        return made


def _plain(_: Any, *given: Any) -> TimeBudget:
    return TimeBudget(*given)


class _OfSocket(TimeBudget):
    """Leaves silence before a reply to the time-out of its socket."""

    def _later(self) -> float:
        return 0.0 if self._replied else PATIENCE


class _Slow(TimeBudget):
    """Counts more seconds than pass."""

    def __init__(self, seconds: float, *given: Any) -> None:
        self._seconds = seconds
        super().__init__(*given)

    def stop_waiting(self) -> None:
        waited = self._waiting_since is not None
        super().stop_waiting()
        self._waited += self._seconds * waited

    def _next_look(self, since: float) -> float:
        return min(super()._next_look(since), time.perf_counter() + 0.005)


class _Triggered(TimeBudget):
    """Ends an attempt when something has happened.

    Attributes:
        contents: Number of events with content that were received.
    """

    def __init__(self, happened: Happened, call: Any, *given: Any) -> None:
        self._happened = happened
        self._call = call
        self.contents = 0
        super().__init__(*given)

    def content_came(self) -> None:
        super().content_came()
        self.contents += 1

    def _look(self, now: float) -> float | None:
        if not self.ended and self._happened(self, self._call._meter):
            return self._trigger(now)
        return super()._look(now)

    def _trigger(self, _: float) -> float | None:
        self._end(f"no content for {self.timeout:g} s")
        self.on_end()
        return None

    def _next_look(self, since: float) -> float:
        return min(super()._next_look(since), time.perf_counter() + 0.005)


class _Deadline(_Triggered):
    """Lets the deadline pass when something has happened."""

    def _trigger(self, now: float) -> float | None:
        self.deadline = self._call._deadline = now - PATIENCE
        return super(_Triggered, self)._look(now)


@pytest.fixture
def time_outs(monkeypatch: pytest.MonkeyPatch) -> TimeOuts:
    """Give the time-outs of single models."""
    made = TimeOuts()

    def new_time_budget(call: Call) -> TimeBudget:
        return made.of(call)

    monkeypatch.setattr(Call, "_new_time_budget", new_time_budget)
    return made
