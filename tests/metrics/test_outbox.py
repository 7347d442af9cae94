"""What waits is bounded, leaves oldest first, and in requests that CloudWatch takes."""

from __future__ import annotations

from langchain_modelmgr.metrics.datums import METRICS, Datum, Series, series_of
from langchain_modelmgr.metrics.outbox import MAX_AGE_SECONDS, MAX_REQUEST_BYTES, Outbox


def latency_series(agent: str, model: str) -> Series:
    return series_of(METRICS[2], agent, model)


LATENCY = latency_series("a", "m")


def datum(minute: int = 0, *, values: int = 1, series: Series = LATENCY) -> Datum:
    return Datum(series, minute, tuple(n / 7 for n in range(values)), (1,) * values)


def test_a_request_takes_a_thousand_datums_in_their_order() -> None:
    outbox = Outbox()
    series = [latency_series(f"a{n}", "m") for n in range(1_001)]
    outbox.add(datum(series=one) for one in series)

    first, second, third = outbox.take(), outbox.take(), outbox.take()

    assert [d.series for d in first + second] == series
    assert (len(first), len(second), third) == (1_000, 1, [])


def test_a_request_stays_below_its_bytes() -> None:
    outbox = Outbox()
    outbox.add(datum(values=150, series=latency_series(f"a{n}", "m")) for n in range(900))

    batches = []
    while batch := outbox.take():
        batches.append(batch)

    assert sum(map(len, batches)) == 900
    assert len(batches) > 1
    assert all(sum(d.size for d in batch) < MAX_REQUEST_BYTES for batch in batches)


def test_a_request_holds_at_most_150_values_of_one_metric() -> None:
    outbox = Outbox()
    outbox.add([datum(0, values=100), datum(60, values=50), datum(120, values=1)])

    first, second = outbox.take(), outbox.take()

    assert [d.minute for d in first] == [0, 60]
    assert [d.minute for d in second] == [120]


def test_what_is_put_back_leaves_first() -> None:
    outbox = Outbox()
    outbox.add([datum(0), datum(60)])
    batch = outbox.take()
    outbox.add([datum(120)])

    outbox.put_back(batch)

    assert [d.minute for d in outbox.take()] == [0, 60, 120]


def test_without_room_the_oldest_are_dropped_and_counted() -> None:
    outbox = Outbox(max_bytes=3 * datum().size)

    outbox.add(datum(60 * n) for n in range(5))

    assert [d.minute for d in outbox.take()] == [120, 180, 240]
    assert outbox.dropped == 2


def test_what_is_put_back_counts_as_what_is_new() -> None:
    outbox = Outbox(max_bytes=3 * datum().size)
    outbox.add([datum(0), datum(60), datum(120)])
    for _ in range(5):
        outbox.put_back(outbox.take())
    batch = outbox.take()
    outbox.add([datum(180)])

    outbox.put_back(batch)

    assert [d.minute for d in outbox.take()] == [60, 120, 180]
    assert outbox.dropped == 1


def test_what_is_too_old_for_cloudwatch_is_dropped_and_counted() -> None:
    outbox = Outbox()
    outbox.add([datum(0, values=3), datum(60)])

    outbox.expire(60.0 + MAX_AGE_SECONDS)

    assert [d.minute for d in outbox.take()] == [60]
    assert outbox.dropped == 3
