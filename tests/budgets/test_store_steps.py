"""What every store of budgets does: reserve, settle, expire, reset."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from langchain_modelmgr.budgets.memory_store import MemoryStore
from langchain_modelmgr.budgets.sqlite_store import SqliteStore
from langchain_modelmgr.budgets.store import Claim, Figures, Refusal, Reservation
from langchain_modelmgr.budgets.windows import calendar
from tests.budgets.clock import SetClock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DAY = calendar("day")


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture(params=["memory", "SQLite"])
def store(request: pytest.FixtureRequest, tmp_path: Path, clock: SetClock) -> Iterator[Any]:
    made: Any = (
        MemoryStore(clock)
        if request.param == "memory"
        else SqliteStore(tmp_path / "state" / "budgets.db", clock)
    )
    yield made
    made.close()


def claim(amount: int, limit: int = 100, budget: str = "b", key: str = "") -> Claim:
    return Claim(budget, key, DAY, limit, amount)


def reserve(store: Any, *claims: Claim, seconds: float = 60.0) -> Reservation | Refusal:
    found: Reservation | Refusal = store.reserve(
        claims, seconds=seconds, deadline=time.monotonic() + 30
    )
    return found


def reserved(store: Any, *claims: Claim, seconds: float = 60.0) -> str:
    made = reserve(store, *claims, seconds=seconds)
    assert isinstance(made, Reservation)
    return made.id


def figures(store: Any, budget: str = "b", key: str | None = None) -> list[tuple[int, int, int]]:
    return [(f.spent, f.held, f.uncertain) for f in store.figures(budget, DAY, key=key)]


def test_a_reservation_holds_its_amount_until_it_is_settled(store: Any) -> None:
    one = reserved(store, claim(60))

    assert figures(store) == [(0, 60, 0)]
    store.settle(one, [25])
    assert figures(store) == [(25, 0, 0)]


def test_what_exceeds_the_limit_is_refused_in_all_budgets(store: Any) -> None:
    reserved(store, claim(60))

    refused = reserve(store, claim(10, budget="other"), claim(41))

    assert isinstance(refused, Refusal)
    assert [(f.budget, f.held) for f in refused.figures] == [("other", 0), ("b", 60)]
    assert figures(store, "other") == []
    assert isinstance(reserve(store, claim(40)), Reservation)


def test_a_higher_limit_applies_at_once(store: Any) -> None:
    reserved(store, claim(100))

    assert isinstance(reserve(store, claim(1)), Refusal)
    assert isinstance(reserve(store, claim(1, limit=101)), Reservation)


def test_a_settlement_of_unknown_usage_charges_what_was_reserved(store: Any) -> None:
    store.settle(reserved(store, claim(60)), [None])

    assert figures(store) == [(60, 0, 60)]


def test_a_second_settlement_changes_nothing(store: Any) -> None:
    one = reserved(store, claim(60))
    store.settle(one, [20])

    store.settle(one, [50])
    store.settle("of nobody", [50])

    assert figures(store) == [(20, 0, 0)]


def test_an_expired_reservation_is_charged_and_a_late_settlement_replaces_the_charge(
    store: Any, clock: SetClock
) -> None:
    one = reserved(store, claim(60), seconds=30)

    clock.now += 30
    assert figures(store) == [(60, 0, 60)]
    store.settle(one, [7])
    assert figures(store) == [(7, 0, 0)]


def test_a_late_settlement_counts_in_the_window_of_its_reservation(
    store: Any, clock: SetClock
) -> None:
    before = clock.now
    one = reserved(store, claim(60))
    clock.now += 86_400

    store.settle(one, [7])

    assert figures(store) == []
    clock.now = before
    assert figures(store) == [(7, 0, 0)]


def test_a_reset_keeps_what_is_held_and_is_not_undone_by_a_late_settlement(
    store: Any, clock: SetClock
) -> None:
    late = reserved(store, claim(30), seconds=10)
    clock.now += 10
    reserved(store, claim(20))
    assert figures(store) == [(30, 20, 30)]

    store.reset("b")
    store.settle(late, [5])

    assert figures(store) == [(0, 20, 0)]


def test_a_reset_of_one_key_leaves_the_others(store: Any) -> None:
    for key in ("acme", "umbra"):
        store.settle(reserved(store, claim(30, key=key)), [30])

    store.reset("b", key="acme")

    assert figures(store, key="acme") == [(0, 0, 0)]
    assert figures(store, key="umbra") == [(30, 0, 0)]
    assert [f.key for f in store.figures("b", DAY)] == ["acme", "umbra"]


def test_spending_without_a_reservation_is_added_whatever_the_limit(store: Any) -> None:
    store.add([claim(250)])

    assert figures(store) == [(250, 0, 0)]
    assert isinstance(reserve(store, claim(0)), Refusal)


def test_counters_of_an_ended_window_go_after_35_days(store: Any, clock: SetClock) -> None:
    begun = clock.now
    store.settle(reserved(store, claim(30)), [30])

    clock.now = begun + 37 * 86_400
    reserved(store, claim(1))

    clock.now = begun
    assert figures(store) == []


def test_a_tasks_budget_goes_30_days_after_its_last_use(store: Any, clock: SetClock) -> None:
    total = calendar("total")
    claim = Claim("task/t", "", total, 100, 30)
    store.settle(reserved(store, claim), [30])
    clock.now += 29 * 86_400
    store.settle(reserved(store, claim), [30])
    clock.now += 29 * 86_400
    assert store.figures("task/t", total)[0].spent == 60

    clock.now += 2 * 86_400
    reserved(store, claim._replace(budget="b"))

    assert store.figures("task/t", total) == []


def test_figures_tell_the_window(store: Any, clock: SetClock) -> None:
    reserved(store, claim(60))

    start, end = DAY.window(int(clock.now * 1000))
    assert store.figures("b", DAY) == [Figures("b", "", start, end, 0, 60, 0)]
