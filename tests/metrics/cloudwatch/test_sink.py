"""The CloudWatch sink publishes in the background and never blocks or breaks a call."""

from __future__ import annotations

import logging
import os
import threading
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import boto3
import pytest

from langchain_modelmgr.ledger.ledger import WAKE_LINES
from langchain_modelmgr.metrics import (
    CloudWatchSink,
    MetricsSink,
    SinkStats,
    cloudwatch_client,
)

if TYPE_CHECKING:
    from tests.metrics_fixtures import FaultyCloudWatch
    from tests.usage_records import MakeUsage

THROTTLED = "Throttling 400"


def test_it_is_a_sink(sink: CloudWatchSink) -> None:
    assert isinstance(sink, MetricsSink)


def test_a_flush_delivers_what_was_recorded(
    faulty: FaultyCloudWatch, sink: CloudWatchSink, usage: MakeUsage
) -> None:
    for _ in range(1_000):
        sink.record(usage())

    stats = sink.flush()

    assert stats == SinkStats(recorded=5_000, sent=5_000, requests=1)
    assert faulty.sum("ModelInvocations") == 1_000
    assert faulty.sum("InputTokens") == 120_000
    assert faulty.sum("ModelCost") == pytest.approx(float(1_000 * Decimal("0.00081")), rel=1e-12)
    assert faulty.samples() == 5_000


def test_nothing_runs_before_the_first_record(sink: CloudWatchSink) -> None:
    before = threading.active_count()

    stats = sink.flush()
    sink.close()

    assert stats == SinkStats()
    assert threading.active_count() == before


def test_it_publishes_each_interval_of_its_own_accord(
    faulty: FaultyCloudWatch, usage: MakeUsage
) -> None:
    sink = CloudWatchSink(faulty.client, "x/Models", interval_seconds=0.01)

    sink.record(usage())
    faulty.wait_for(lambda: faulty.samples() == 5)
    sink.record(usage())
    faulty.wait_for(lambda: faulty.samples() == 10)

    sink.close()
    assert sink.stats().sent == 10


def test_delivery_starts_early_when_much_is_waiting(
    sink: CloudWatchSink, faulty: FaultyCloudWatch, usage: MakeUsage
) -> None:
    for _ in range(WAKE_LINES // 2):
        sink.record(usage())

    faulty.wait_for(lambda: bool(faulty.data))


def test_undelivered_records_are_kept_for_the_next_flush(
    faulty: FaultyCloudWatch, sink: CloudWatchSink, usage: MakeUsage
) -> None:
    faulty.always = THROTTLED
    sink.record(usage())

    first = sink.flush()
    faulty.always = None
    second = sink.flush()

    assert (first.sent, first.kept) == (0, 5)
    assert (second.sent, second.kept) == (5, 0)


def test_after_a_failure_it_tries_again_of_its_own_accord(
    faulty: FaultyCloudWatch, usage: MakeUsage
) -> None:
    sink = CloudWatchSink(faulty.client, "x/Models", interval_seconds=0.01)
    faulty.faults.append(THROTTLED)

    sink.record(usage())
    faulty.wait_for(lambda: faulty.samples() == 5)

    sink.close()
    assert (sink.stats().sent, sink.stats().ambiguous) == (5, 0)


def test_a_hung_server_delays_neither_a_call_nor_a_flush_with_a_short_timeout(
    faulty: FaultyCloudWatch, usage: MakeUsage
) -> None:
    sink = CloudWatchSink(lambda: faulty.client(read_timeout=60), "x/Models")
    faulty.faults.append("hang")
    sink.record(usage())

    hung = sink.flush(0.05)
    faulty.wait_for(lambda: faulty.requests == 1)  # or the next record would be sent with it
    sink.record(usage())

    assert (hung.sent, hung.kept) == (0, 5)
    assert sink.stats().kept == 10
    faulty.released.set()  # the connection breaks: what was sent has no answer
    assert sink.flush().ambiguous == 5
    sink.close()
    assert sink.stats().sent == 5


def test_at_most_150_values_of_a_metric_and_all_of_them_counted(
    faulty: FaultyCloudWatch, sink: CloudWatchSink, usage: MakeUsage
) -> None:
    latencies = [100 + n / 3 for n in range(5_000)]

    for latency in latencies:
        sink.record(usage(latency_ms=latency))
    sink.flush()

    assert all(len(datum["Values"]) <= 150 for datum in faulty.data)
    assert faulty.sum("ModelLatency") == pytest.approx(sum(latencies), rel=1e-9)
    latency_values = [
        v for d in faulty.data if d["MetricName"] == "ModelLatency" for v in d["Values"]
    ]
    assert (min(latency_values), max(latency_values)) == (latencies[0], latencies[-1])


def test_no_request_is_larger_than_cloudwatch_takes(
    faulty: FaultyCloudWatch, sink: CloudWatchSink, usage: MakeUsage
) -> None:
    for agent in range(160):
        for n in range(200):
            sink.record(
                usage(
                    agent_name="x" * 900 + str(agent),
                    latency_ms=1000 / (n + 7),
                    input_tokens=n * 1_000_003,
                    cost_usd=Decimal(n) / 7,
                )
            )
    sink.flush()

    assert faulty.samples() == 160 * 200 * 5
    assert len(faulty.sizes) > 1
    assert max(faulty.sizes) < 900_000
    assert max(len(body["MetricData"]) for body in faulty.bodies) <= 1_000


def test_an_object_that_is_not_a_record_is_counted_and_does_not_reach_the_caller(
    sink: CloudWatchSink, usage: MakeUsage, caplog: pytest.LogCaptureFixture
) -> None:
    nonsense: Any = object()

    sink.record(nonsense)
    sink.record(nonsense)
    sink.record(usage())

    stats = sink.flush()
    assert (stats.errors, stats.sent) == (2, 5)
    assert [r.getMessage() for r in caplog.records] == [
        "the CloudWatch sink failed: AttributeError"
    ]


def test_a_value_that_is_not_a_number_is_unknown_and_the_rest_is_published(
    sink: CloudWatchSink, usage: MakeUsage
) -> None:
    sink.record(usage(latency_ms=float("inf")))

    stats = sink.flush()

    assert (stats.recorded, stats.sent) == (4, 4)


def test_close_delivers_and_a_later_record_starts_anew(
    faulty: FaultyCloudWatch, sink: CloudWatchSink, usage: MakeUsage
) -> None:
    sink.record(usage())
    sink.flush(30)  # the client is made, which can take as long as close waits
    sink.record(usage())
    sink.close()
    closed = faulty.samples()

    sink.record(usage())
    sink.close()

    assert (closed, faulty.samples()) == (10, 15)


def test_records_that_close_could_not_deliver_are_logged(
    faulty: FaultyCloudWatch,
    sink: CloudWatchSink,
    usage: MakeUsage,
    caplog: pytest.LogCaptureFixture,
) -> None:
    faulty.always = THROTTLED
    sink.record(usage())

    sink.close()

    assert "5 data points could not be delivered to CloudWatch" in caplog.text
    assert sink.stats().kept == 5


def test_a_namespace_of_awss_own_is_refused_when_the_sink_is_made() -> None:
    with pytest.raises(ValueError, match="AWS/ is reserved"):
        CloudWatchSink(lambda: None, "AWS/Models")


def test_the_client_makes_one_attempt_with_short_time_outs() -> None:
    config = cloudwatch_client(boto3.Session(), "eu-west-1").meta.config

    assert config.retries["total_max_attempts"] == 1
    assert (config.connect_timeout, config.read_timeout) == (2, 10)
    assert config.region_name == "eu-west-1"


def test_a_forked_child_drops_what_its_parent_sends(
    sink: CloudWatchSink, usage: MakeUsage, faulty: FaultyCloudWatch
) -> None:
    sink.record(usage())

    if (child := os.fork()) == 0:
        sink.record(usage())
        os._exit(sink.flush().recorded)

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 5
    assert faulty.samples() == 5
    assert sink.flush().recorded == 5
    assert faulty.samples() == 10


def test_a_users_logging_handler_sees_the_library_warn_once_a_minute_only(
    faulty: FaultyCloudWatch,
    sink: CloudWatchSink,
    usage: MakeUsage,
    caplog: pytest.LogCaptureFixture,
) -> None:
    faulty.always = THROTTLED

    with caplog.at_level(logging.WARNING):
        for _ in range(5):
            sink.record(usage())
            sink.flush()

    assert [r.getMessage() for r in caplog.records] == [
        "CloudWatch took no metrics (Throttling): they are kept and sent again later"
    ]
