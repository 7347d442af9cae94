"""The local CloudWatch, which is as strict as AWS's, takes what the sink sends and adds it up."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from langchain_modelmgr.metrics import CloudWatchSink, SinkStats, cloudwatch_client, default_sinks
from langchain_modelmgr.runtime.interval_worker import Clock

if TYPE_CHECKING:
    from collections.abc import Iterator

    from langchain_modelmgr.local import LocalAWS
    from tests.usage_records import MakeUsage

NAMESPACE = "supply-chain/Models"
ARN = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc123def456"


@pytest.fixture
def sink(local_aws: LocalAWS, monkeypatch: pytest.MonkeyPatch) -> Iterator[CloudWatchSink]:
    monkeypatch.setenv("AWS_ENDPOINT_URL", local_aws.url)
    made = CloudWatchSink(
        lambda: cloudwatch_client(local_aws.session()), NAMESPACE, clock=Clock(sleep=lambda _: None)
    )
    yield made
    made.close()


def statistic(aws: LocalAWS, usage: Any, name: str, stat: str, **dimensions: str) -> float:
    found = aws.client("cloudwatch").get_metric_data(
        StartTime=usage.timestamp - timedelta(hours=1),
        EndTime=usage.timestamp + timedelta(hours=1),
        MetricDataQueries=[
            {
                "Id": "q",
                "MetricStat": {
                    "Metric": {
                        "Namespace": NAMESPACE,
                        "MetricName": name,
                        "Dimensions": [{"Name": k, "Value": v} for k, v in dimensions.items()],
                    },
                    "Period": 7200,
                    "Stat": stat,
                },
            }
        ],
    )
    return float(sum(found["MetricDataResults"][0]["Values"]))


def test_getmetricdata_shows_the_sums_of_the_five_metrics(
    local_aws: LocalAWS, sink: CloudWatchSink, usage: MakeUsage
) -> None:
    record = usage()
    for number in range(1_000):
        sink.record(usage(latency_ms=100.0 + number / 3, input_tokens=number, output_tokens=7))
    sink.record(usage(outcome="failed", success=False, has_usage=False, cost_usd=None))
    sink.flush()

    def read(name: str, stat: str, **more: str) -> float:
        dimensions = {"Agent": record.agent_name, "Model": record.model_id, **more}
        return statistic(local_aws, record, name, stat, **dimensions)

    assert read("ModelInvocations", "Sum", Success="true") == 1_000
    assert read("ModelInvocations", "Sum", Success="false") == 1
    assert read("InputTokens", "Sum") == pytest.approx(sum(range(1_000)), rel=1e-9)
    assert read("OutputTokens", "Sum") == 7_000
    assert read("ModelCost", "Sum") == pytest.approx(float(1_000 * Decimal("0.00081")), rel=1e-9)
    assert read("ModelLatency", "SampleCount") == 1_000
    assert read("ModelLatency", "Minimum") == 100.0
    assert read("ModelLatency", "Maximum") == 100.0 + 999 / 3


@pytest.mark.parametrize("agent", ["", ":agent", "für Köln", " ", "a\nb", "x" * 3_000, '"\\'])
def test_cloudwatch_takes_every_agents_name_and_sees_no_account(
    local_aws: LocalAWS, sink: CloudWatchSink, usage: MakeUsage, agent: str
) -> None:
    sink.record(usage(agent_name=agent, model_id=ARN))

    assert sink.flush() == SinkStats(recorded=5, sent=5, requests=1)
    assert "123456789012" not in str(local_aws.metrics.datums)


def test_many_agents_in_one_minute_are_few_requests_that_cloudwatch_takes(
    local_aws: LocalAWS, sink: CloudWatchSink, usage: MakeUsage
) -> None:
    for agent in range(300):
        for number in range(10):
            sink.record(usage(agent_name=f"agent{agent}", latency_ms=1 / (number + 3)))

    stats = sink.flush()

    assert (stats.sent, stats.kept, stats.dropped) == (15_000, 0, 0)
    assert local_aws.metrics.sum(NAMESPACE, "ModelInvocations") == 3_000
    assert local_aws.metrics.sum(NAMESPACE, "ModelInvocations", Agent="other") == stats.folded > 0
    assert local_aws.metrics.put_requests <= 3


def test_a_datum_from_the_future_is_dropped_alone(
    local_aws: LocalAWS, sink: CloudWatchSink, usage: MakeUsage
) -> None:
    record = usage()
    sink.record(record)
    sink.record(usage(timestamp=record.timestamp + timedelta(hours=5), has_usage=False))

    stats = sink.flush()

    assert (stats.sent, stats.dropped) == (5, 1)
    assert local_aws.metrics.sum(NAMESPACE, "ModelInvocations") == 1


def test_throttling_and_server_errors_lose_and_double_nothing(
    local_aws: LocalAWS, sink: CloudWatchSink, usage: MakeUsage
) -> None:
    local_aws.metrics.fail("Throttling", times=2)
    local_aws.metrics.fail("InternalServiceFault", times=1)
    sink.record(usage())

    stats = sink.flush()

    assert (stats.sent, stats.kept, stats.requests) == (5, 0, 4)
    assert local_aws.metrics.sum(NAMESPACE, "ModelInvocations") == 1


def test_the_configured_sink_publishes_with_the_managers_session(
    local_aws: LocalAWS, usage: MakeUsage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", local_aws.url)
    (sink,) = default_sinks(
        "auto", NAMESPACE, client=lambda: cloudwatch_client(local_aws.session())
    )

    sink.record(usage())
    sink.flush(60)  # close() would wait for 5 seconds only
    sink.close()

    assert local_aws.metrics.sum(NAMESPACE, "InputTokens", Agent="sql_agent") == 120
