"""Many attempts become few datums, and no count and no cent is lost on the way."""

from __future__ import annotations

import math
import random
import threading
import time
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal, localcontext
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_modelmgr.metrics.aggregate import MAX_VALUES_HELD, Aggregator
from langchain_modelmgr.metrics.bins import merge, publishable
from langchain_modelmgr.metrics.datums import MAX_VALUES, Datum

if TYPE_CHECKING:
    from tests.metrics.conftest import MakeUsage

NOW = datetime(2026, 11, 23, 10, 30, 10, tzinfo=UTC)
LATENCIES = st.floats(min_value=0, max_value=1e9)
PRICES = st.decimals(min_value=0, max_value=1000, places=9)


def by_name(datums: list[Datum]) -> dict[str, Datum]:
    return {datum.series.name: datum for datum in datums}


def total(datum: Datum) -> float:
    return math.fsum(v * c for v, c in zip(datum.values, datum.counts, strict=True))


def test_equal_values_of_a_minute_are_one_value_with_a_count(usage: MakeUsage) -> None:
    aggregator = Aggregator()

    for tokens in (10, 20, 10):
        aggregator.add(usage(input_tokens=tokens, timestamp=NOW))

    datum = by_name(aggregator.drain())["InputTokens"]
    assert (datum.values, datum.counts) == ((10, 20), (2, 1))
    assert datum.minute == NOW.replace(second=0).timestamp()


def test_each_minute_has_its_own_datum(usage: MakeUsage) -> None:
    aggregator = Aggregator()

    aggregator.add(usage(timestamp=NOW))
    aggregator.add(usage(timestamp=NOW + timedelta(minutes=1)))

    minutes = {datum.minute for datum in aggregator.drain()}
    assert max(minutes) - min(minutes) == 60


def test_a_minute_ends_where_the_next_begins(usage: MakeUsage) -> None:
    aggregator = Aggregator()
    begins = NOW.replace(second=0)
    ends = begins + timedelta(minutes=1)

    for stamp in (NOW, begins, ends - timedelta(microseconds=1), ends, begins):
        aggregator.add(usage(timestamp=stamp))

    found = {d.minute: d.samples for d in aggregator.drain() if d.series.name == "ModelLatency"}
    assert found == {begins.timestamp(): 4, ends.timestamp(): 1}


@pytest.mark.parametrize("zone", ["Asia/Kolkata", "UTC"])
def test_a_timestamp_without_a_zone_is_utc_and_others_are_turned_to_it(
    usage: MakeUsage, monkeypatch: pytest.MonkeyPatch, zone: str
) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        aggregator = Aggregator()
        for stamp in (NOW.replace(tzinfo=None), NOW.astimezone(timezone(timedelta(hours=5)))):
            aggregator.add(usage(timestamp=stamp))
        minutes = {datum.minute for datum in aggregator.drain()}
    finally:
        monkeypatch.undo()
        time.tzset()

    assert minutes == {NOW.replace(second=0).timestamp()}


def test_what_is_held_in_memory_is_bounded_whatever_comes(usage: MakeUsage) -> None:
    aggregator = Aggregator()
    values = [float(value) for value in range(1, 5_001)]

    for value in values:
        aggregator.add(usage(latency_ms=value))
    assert _distinct(aggregator) <= 2_000
    for agent in range(150):  # many series: each may hold its share alone
        aggregator.add(usage(agent_name=f"agent-{agent}"))
    for value in values:
        aggregator.add(usage(agent_name="last", latency_ms=value))

    assert _distinct(aggregator, last=True) <= MAX_VALUES_HELD // aggregator.cells < 700
    latencies = [d for d in aggregator.drain() if d.series.name == "ModelLatency"]
    assert sum(d.samples for d in latencies) == 150 + 2 * len(values)
    assert latencies[-1].values[0] == values[0]
    assert latencies[-1].values[-1] == values[-1]
    assert total(latencies[-1]) == pytest.approx(sum(values), rel=1e-9)


def _distinct(aggregator: Aggregator, *, last: bool = False) -> int:
    by_metric = list(aggregator._cells.values())[-1 if last else 0]
    return max(len(cell) for cell in by_metric.values())


def test_an_answer_from_the_cache_is_not_counted(usage: MakeUsage) -> None:
    aggregator = Aggregator()

    aggregator.add(usage(outcome="cached"))

    assert (aggregator.recorded, aggregator.drain()) == (0, [])


def test_draining_takes_everything_out(usage: MakeUsage) -> None:
    aggregator = Aggregator()
    aggregator.add(usage())

    first, second = aggregator.drain(), aggregator.drain()

    assert (len(first), second, aggregator.cells) == (5, [], 0)
    assert aggregator.recorded == 5


@given(st.lists(st.tuples(LATENCIES, PRICES), min_size=1, max_size=2000))
def test_any_sequence_keeps_count_sum_minimum_and_maximum(
    usage: MakeUsage, attempts: list[tuple[float, Decimal]]
) -> None:
    aggregator = Aggregator()

    for latency, cost in attempts:
        aggregator.add(usage(latency_ms=latency, cost_usd=cost))

    datums = by_name(aggregator.drain())
    for name, values in (
        ("ModelLatency", [latency for latency, _ in attempts]),
        ("ModelCost", [float(cost) for _, cost in attempts]),
    ):
        datum = datums[name]
        assert len(datum.values) <= MAX_VALUES
        assert datum.samples == len(values)
        # A number too small for CloudWatch is 0 for it.
        assert datum.values[0] == pytest.approx(min(values), abs=1e-100)
        assert datum.values[-1] == pytest.approx(max(values), abs=1e-100)
        assert total(datum) == pytest.approx(math.fsum(values), rel=1e-9, abs=1e-100)


@given(
    st.one_of(
        st.dictionaries(LATENCIES, st.integers(1, 10**6), min_size=1, max_size=600),
        st.dictionaries(PRICES, st.integers(1, 10**6), min_size=1, max_size=600),
    ),
    st.integers(3, 2 * MAX_VALUES),
)
def test_compacting_again_and_again_keeps_count_sum_minimum_and_maximum(
    cell: dict[float | Decimal, int], limit: int
) -> None:
    exact = sum((Decimal(value) * count for value, count in cell.items()), Decimal(0))

    twice = publishable(merge(merge(cell, limit + 50), limit))

    assert len(twice) <= min(limit, MAX_VALUES)
    assert sum(twice.values()) == sum(cell.values())
    assert (min(twice), max(twice)) == (min(cell), max(cell))
    kept = sum((Decimal(value) * count for value, count in twice.items()), Decimal(0))
    is_money = isinstance(next(iter(cell)), Decimal)
    assert {type(value) for value in twice} == {type(value) for value in cell}
    assert abs(kept - exact) <= exact * Decimal("1e-24" if is_money else "1e-9")


def _distributions() -> dict[str, list[float]]:
    dice = random.Random(11)
    size = range(20_000)
    return {
        "lognormal": [dice.lognormvariate(7, 0.6) for _ in size],
        "exponential": [dice.expovariate(1 / 900) for _ in size],
        "pareto": [200 * dice.paretovariate(3) for _ in size],
        "uniform": [dice.uniform(100, 9_000) for _ in size],
        "two modes": [
            dice.gauss(300, 30) if dice.random() < 0.8 else dice.gauss(9e3, 900) for _ in size
        ],
    }


@pytest.mark.parametrize("name", list(_distributions()))
def test_percentiles_survive_all_that_is_merged(usage: MakeUsage, name: str) -> None:
    """In memory and for the wire: p99 within 1 %, p99.9 within 2 %."""
    values = _distributions()[name]
    aggregator = Aggregator()
    aggregator._share = 1_000  # as with some hundred series
    for value in values:
        aggregator.add(usage(latency_ms=value))
    datum = by_name(aggregator.drain())["ModelLatency"]

    assert len(datum.values) <= MAX_VALUES
    exact = sorted(values)
    for rank, bound in ((0.5, 0.04), (0.99, 0.01), (0.999, 0.02)):
        assert _percentile(datum, rank) == pytest.approx(exact[int(rank * len(exact))], rel=bound)


def _percentile(datum: Datum, rank: float) -> float:
    wanted, seen = rank * datum.samples, 0
    for value, count in zip(datum.values, datum.counts, strict=True):
        seen += count
        if seen > wanted:
            return value
    return datum.values[-1]


def test_a_roll_up_adds_all_agents_of_a_model_up(usage: MakeUsage) -> None:
    aggregator = Aggregator(extra=["rollup"])
    for agent, latency in (("a", 100.0), ("b", 100.0), ("b", 200.0)):
        aggregator.add(usage(agent_name=agent, latency_ms=latency))

    datums = aggregator.drain()

    rolled = [d for d in datums if "Agent" not in dict(d.series.dimensions)]
    (latency_of_all,) = [d for d in rolled if d.series.name == "ModelLatency"]
    assert (latency_of_all.values, latency_of_all.counts) == ((100.0, 200.0), (2, 1))
    assert len(rolled) == 5
    assert sum(d.samples for d in rolled) == sum(d.samples for d in datums) / 2


def test_money_does_not_depend_on_the_applications_decimal_context(usage: MakeUsage) -> None:
    aggregator = Aggregator()
    costs = [Decimal(n) / 10**9 for n in range(1, 1001)]

    with localcontext(prec=2):
        for cost in costs:
            aggregator.add(usage(cost_usd=cost))

    assert total(by_name(aggregator.drain())["ModelCost"]) == pytest.approx(0.0005005, rel=1e-12)


def test_agents_beyond_the_cap_are_counted_as_other(usage: MakeUsage) -> None:
    aggregator = Aggregator(max_series=18)

    for name in ("a", "b", "c", "d", "a"):
        aggregator.add(usage(agent_name=name))

    datums = aggregator.drain()
    calls = {
        dict(d.series.dimensions)["Agent"]: d.samples
        for d in datums
        if d.series.name == "ModelInvocations"
    }
    assert calls == {"a": 2, "b": 1, "other": 2}
    assert {dict(d.series.dimensions)["Model"] for d in datums if "other" in str(d.series)} == {
        "other"
    }
    assert aggregator.folded == 2
    assert aggregator.recorded == 25


def test_minutes_beyond_the_cap_are_refused_and_counted(usage: MakeUsage) -> None:
    aggregator = Aggregator(max_cells=7)

    for minute in range(3):
        aggregator.add(usage(timestamp=NOW - timedelta(minutes=minute)))

    assert aggregator.cells == 7
    assert (aggregator.recorded, aggregator.refused) == (7, 8)


def test_a_value_that_is_no_number_is_refused_and_the_rest_counted(usage: MakeUsage) -> None:
    aggregator = Aggregator()

    aggregator.add(usage(latency_ms=float("nan"), cost_usd=Decimal("NaN")))

    assert (aggregator.recorded, aggregator.refused) == (3, 2)
    assert by_name(aggregator.drain()).keys() == {"ModelInvocations", "InputTokens", "OutputTokens"}


def test_sixteen_threads_lose_nothing(usage: MakeUsage) -> None:
    aggregator = Aggregator()
    record = usage()
    start = threading.Barrier(17)
    drained: list[Datum] = []

    def add() -> None:
        start.wait()
        for _ in range(500):
            aggregator.add(record)

    threads = [threading.Thread(target=add) for _ in range(16)]
    for thread in threads:
        thread.start()
    start.wait()
    while any(thread.is_alive() for thread in threads):
        drained += aggregator.drain()
    drained += aggregator.drain()

    assert sum(datum.samples for datum in drained) == 16 * 500 * 5 == aggregator.recorded
