"""A sink that breaks reaches neither the caller nor the other sinks."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from langchain_modelmgr.metrics import (
    CloudWatchSink,
    MemorySink,
    MetricsSink,
    SinkGroup,
    default_sinks,
)
from langchain_modelmgr.runtime.rate_limited_log import RateLimitedLog

if TYPE_CHECKING:
    from langchain_modelmgr.usage.record import ModelUsageMetrics
    from tests.metrics_fixtures import FakeClock
    from tests.usage_records import MakeUsage


class BrokenSink:
    def record(self, usage: ModelUsageMetrics) -> None:
        raise ZeroDivisionError(usage.agent_name)

    def flush(self, timeout: float | None = None) -> None:
        raise TimeoutError(timeout)

    def close(self) -> None:
        raise OSError


class SlowSink(MemorySink):
    def __init__(self) -> None:
        super().__init__()
        self.timeouts: list[float | None] = []

    def flush(self, timeout: float | None = None) -> None:
        self.timeouts.append(timeout)


def test_the_memory_sink_keeps_the_last_records(usage: MakeUsage) -> None:
    sink = MemorySink(maxlen=2)
    records = [usage(input_tokens=n) for n in range(3)]

    for record in records:
        sink.record(record)
    sink.flush()
    sink.close()

    assert sink.records == tuple(records[1:])


def test_the_memory_sink_forgets_on_demand_and_in_a_forked_child(usage: MakeUsage) -> None:
    sink = MemorySink()

    sink.record(usage())
    sink.reset_after_fork()

    assert sink.records == ()


def test_a_users_own_sink_need_only_have_three_methods() -> None:
    assert isinstance(BrokenSink(), MetricsSink)
    assert isinstance(MemorySink(), MetricsSink)
    assert not isinstance(object(), MetricsSink)


def test_a_broken_sink_is_counted_and_the_others_get_everything(
    usage: MakeUsage, caplog: pytest.LogCaptureFixture
) -> None:
    memory = MemorySink()
    group = SinkGroup([BrokenSink(), memory])

    group.record(usage())
    group.record(usage())
    results = group.flush(1.0)
    group.close()

    assert len(memory.records) == 2
    assert results == (None, None)
    assert group.sink_errors == 4
    assert [r.getMessage() for r in caplog.records] == [
        "the metrics sink BrokenSink failed: ZeroDivisionError"
    ]


def test_all_sinks_share_the_time_of_a_flush() -> None:
    sink = SlowSink()

    SinkGroup([sink]).flush(5.0)
    SinkGroup([sink]).flush(-1.0)
    SinkGroup([sink]).flush()

    first, second, third = sink.timeouts
    assert first is not None
    assert 0 < first <= 5.0
    assert (second, third) == (0.0, None)


def test_a_second_group_leaves_a_shared_sink_as_it_is(usage: MakeUsage) -> None:
    broken, memory = BrokenSink(), MemorySink()
    cloudwatch = CloudWatchSink(lambda: None, "x/Models")
    first = SinkGroup([broken, memory, cloudwatch])
    for _ in range(10):
        first.record(usage())

    second = SinkGroup([broken, memory, cloudwatch])

    assert len(memory.records) == 10
    assert cloudwatch.stats().recorded == first.stats().kept == 50
    assert (first.sink_errors, second.sink_errors) == (10, 0)


def test_a_forked_child_has_a_group_without_the_parents_errors(usage: MakeUsage) -> None:
    memory = MemorySink()
    group = SinkGroup([BrokenSink(), memory])
    group.record(usage())

    group.reset_after_fork()

    assert group.sink_errors == 0
    assert memory.records == ()


def test_at_most_one_warning_a_minute_and_the_next_counts_the_rest(
    fake_clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    log = RateLimitedLog(logging.getLogger("test"), fake_clock.clock().monotonic)

    shown = [log.warning("sink %s failed", name) for name in "abc"]
    fake_clock.pass_time(60)
    log.warning("sink %s failed", "d")

    assert shown == [True, False, False]
    assert [r.getMessage() for r in caplog.records] == [
        "sink a failed",
        "sink d failed (2 earlier warnings suppressed)",
    ]


def test_the_configured_name_says_which_sinks_there_are() -> None:
    def no_client() -> None:
        pytest.fail("a client is made on first use only")

    kinds = {
        name: [type(sink) for sink in default_sinks(name, "x/Models", client=no_client)]
        for name in ("auto", "cloudwatch", "memory", "none")
    }

    assert kinds == {
        "auto": [CloudWatchSink],
        "cloudwatch": [CloudWatchSink],
        "memory": [MemorySink],
        "none": [],
    }
