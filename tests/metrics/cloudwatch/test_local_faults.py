"""The whole way, over the local CloudWatch, with everything that can go wrong on it."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from botocore.config import Config

from langchain_modelmgr import ConfigurationManager, ModelManager
from langchain_modelmgr.metrics import CloudWatchSink, MemorySink, SinkGroup, cloudwatch_client
from langchain_modelmgr.metrics.series import EXTRAS
from tests.models import HAIKU, SONNET
from tests.usage_records import NOW

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from langchain_modelmgr.local import LocalAWS
    from tests.held_replies import TimeOuts
    from tests.metrics_fixtures import FakeClock
    from tests.usage_records import MakeUsage

NAMESPACE = "x/Models"


def _sink(aws: LocalAWS, **changes: Any) -> CloudWatchSink:
    return CloudWatchSink(lambda: aws.client("cloudwatch"), NAMESPACE, **changes)


def _statistic(aws: LocalAWS, name: str, stat: str, **dimensions: str) -> float:
    now = datetime.now(UTC)
    reply = aws.client("cloudwatch").get_metric_data(
        StartTime=now - timedelta(hours=2),
        EndTime=now + timedelta(hours=1),
        MetricDataQueries=[
            {
                "Id": "q",
                "MetricStat": {
                    "Metric": {
                        "Namespace": NAMESPACE,
                        "MetricName": name,
                        "Dimensions": [{"Name": n, "Value": v} for n, v in dimensions.items()],
                    },
                    "Period": 7200,
                    "Stat": stat,
                },
            }
        ],
    )
    return float(sum(reply["MetricDataResults"][0]["Values"]))


def test_half_of_the_requests_throttled_lose_nothing(local_aws: LocalAWS, usage: MakeUsage) -> None:
    local_aws.metrics.throttle(0.5, seed=1)
    sink = _sink(local_aws)

    for n in range(30):
        sink.record(usage(agent_name=f"a{n}"))
        sink.flush()
    local_aws.metrics.throttle(0)
    stats = sink.flush()

    assert (stats.kept, stats.dropped, stats.ambiguous) == (0, 0, 0)
    assert local_aws.metrics.sum(NAMESPACE, "ModelInvocations") == 30


def test_an_outage_of_ten_minutes_and_its_end_in_getmetricdata(
    local_aws: LocalAWS, usage: MakeUsage, fake_clock: FakeClock
) -> None:
    sink = _sink(local_aws, clock=fake_clock.clock())
    local_aws.metrics.fail("ServiceUnavailable", times=1_000)
    start = NOW - timedelta(minutes=10)  # by the sink's clock, which the fake one is
    for minute in range(10):
        sink.record(usage(timestamp=start + timedelta(minutes=minute)))
        sink._ledger._work(None)
        fake_clock.pass_time(60)
    assert sink.stats().kept == 50
    assert sink.stats().oldest_age_seconds == 20 * 60 + NOW.second
    local_aws.metrics.clear_faults()
    fake_clock.pass_time(600)

    sink._ledger._work(None)

    model = usage().model_id
    assert sink.stats().kept == 0
    assert _statistic(local_aws, "ModelLatency", "Sum", Agent="sql_agent", Model=model) == 8125.0


@pytest.mark.parametrize(("policy", "doubled"), [("drop", 1), ("resend", 2)])
def test_a_reset_after_the_body_was_sent_follows_the_policy(
    local_aws: LocalAWS, usage: MakeUsage, policy: Any, doubled: int
) -> None:
    local_aws.metrics.reset(1)
    sink = _sink(local_aws, on_ambiguous=policy)
    sink.record(usage())
    sink.flush()

    stats = sink.flush()

    assert (stats.kept, stats.ambiguous + stats.resent) == (0, 5)
    assert local_aws.metrics.sum(NAMESPACE, "ModelInvocations") == doubled


def test_a_poisoned_datum_is_isolated(local_aws: LocalAWS, usage: MakeUsage) -> None:
    local_aws.metrics.poison("a3")
    sink = _sink(local_aws)
    for n in range(8):
        sink.record(usage(agent_name=f"a{n}"))

    stats = sink.flush()

    assert (stats.sent, stats.dropped) == (35, 5)
    assert local_aws.metrics.sum(NAMESPACE, "ModelInvocations") == 7


def test_a_hung_server_is_ambiguous_and_the_rest_is_kept(
    local_aws: LocalAWS, usage: MakeUsage
) -> None:
    local_aws.metrics.hang(300)
    client = local_aws.session().client(
        "cloudwatch",
        endpoint_url=local_aws.url,
        config=Config(read_timeout=0.2, retries={"total_max_attempts": 1}),
    )
    sink = CloudWatchSink(lambda: client, NAMESPACE)
    sink.record(usage())

    stats = sink.flush(50)

    assert (stats.ambiguous, stats.kept) == (5, 0)


def test_a_refusal_names_namespace_region_and_missing_permission(
    local_aws: LocalAWS, usage: MakeUsage, caplog: pytest.LogCaptureFixture
) -> None:
    local_aws.metrics.fail("AccessDenied", 1)
    sink = _sink(local_aws)
    sink.record(usage())

    stats = sink.flush()

    (warning,) = [r.message for r in caplog.records if r.levelno == logging.WARNING]
    assert f"namespace {NAMESPACE} in us-east-1" in warning
    assert "AccessDenied: the role lacks cloudwatch:PutMetricData" in warning
    assert stats.kept == 5


def test_percentiles_come_back(local_aws: LocalAWS, usage: MakeUsage) -> None:
    sink = _sink(local_aws)
    now = datetime.now(UTC)
    for n in range(1, 1_001):
        sink.record(usage(latency_ms=float(n), timestamp=now))
    sink.flush()

    found = {
        stat: _statistic(local_aws, "ModelLatency", stat, Agent="sql_agent", Model=usage().model_id)
        for stat in ("p50", "p99", "p99.9", "Minimum", "Maximum", "SampleCount")
    }

    assert found["p50"] == pytest.approx(500, rel=0.03)
    assert found["p99"] == pytest.approx(990, rel=0.01)
    assert found["p99.9"] == pytest.approx(999, rel=0.02)
    assert (found["Minimum"], found["Maximum"], found["SampleCount"]) == (1, 1000, 1000)
    with pytest.raises(Exception, match="statistic p101 is not served"):
        _statistic(local_aws, "ModelLatency", "p101")


def test_the_first_publication_logs_where_and_what_it_costs_once(
    local_aws: LocalAWS, usage: MakeUsage, caplog: pytest.LogCaptureFixture
) -> None:
    sink = _sink(local_aws)

    with caplog.at_level(logging.INFO):
        for n in range(3):
            sink.record(usage(agent_name=f"a{n}"))
            sink.flush()

    report = [r.message for r in caplog.records if "metrics go to" in r.message]
    assert report == [
        "metrics go to namespace x/Models in us-east-1: 5 custom metrics so far, "
        "about 1.50 USD a month"
    ]


# -- with models on top


@pytest.fixture
def reached(local_aws: LocalAWS, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", local_aws.url)


@pytest.mark.usefixtures("reached")
def test_opt_in_metrics_are_published_with_a_roll_up(
    local_aws: LocalAWS, tmp_path: Path, time_outs: TimeOuts
) -> None:
    text = (
        f"aws: {{region: us-east-1, endpoint_url: {local_aws.url}}}\n"
        f"metrics: {{sink: cloudwatch, extra: [{', '.join(EXTRAS)}]}}\n"
        f"project_prefix: x\nagents:\n"
        f"  a: {{model: '{SONNET}', fallbacks: ['{HAIKU}'], timeout_seconds: 60}}\n"
        f"  b: {{model: acme.unheard-of, fallbacks: []}}\n"
    )
    (tmp_path / "extra.yaml").write_text(text)
    manager = ModelManager(ConfigurationManager("extra", tmp_path))
    local_aws.fail(SONNET, "ThrottlingException")
    list(manager.chat_model("a").stream("x"))
    local_aws.stall(SONNET, 300)
    time_outs.when_received(local_aws, SONNET)
    manager.chat_model("a").invoke("x" * 400)
    manager.chat_model("b").invoke("x")

    stats = manager.flush_metrics()

    metrics = local_aws.metrics
    assert metrics.sum(NAMESPACE, "Throttles", Agent="a", Model=SONNET) == 1
    assert metrics.sum(NAMESPACE, "Fallbacks", Agent="a", Model=HAIKU) == 2
    assert metrics.sum(NAMESPACE, "TimeToFirstToken", Agent="a", Model=HAIKU) > 0
    assert metrics.sum(NAMESPACE, "UnpricedAttempts", Agent="b") == 1
    assert metrics.sum(NAMESPACE, "WastedCost", Agent="a") == pytest.approx(100 * 0.003 / 1000)
    everywhere = metrics.sum(NAMESPACE, "ModelInvocations")
    by_agent = sum(metrics.sum(NAMESPACE, "ModelInvocations", Agent=agent) for agent in "ab")
    assert everywhere == 2 * by_agent == 10
    assert (stats.kept, stats.sent) == (0, stats.recorded)
    report = manager.get_usage_summary()["metrics"]
    assert report["sent"] == stats.sent
    assert report.keys() >= {"kept", "dropped", "ambiguous", "oldest_age_seconds"}


@pytest.mark.parametrize("trouble", ["dead", "slow", "failing"])
def test_a_sink_in_trouble_neither_changes_nor_delays_calls(
    configured: Callable[..., ConfigurationManager],
    local_aws: LocalAWS,
    trouble: str,
) -> None:
    url = "http://127.0.0.1:9" if trouble == "dead" else local_aws.url
    local_aws.metrics.hang(300 if trouble == "slow" else 0)
    if trouble == "failing":
        local_aws.metrics.fail("InternalServiceFault", times=1_000)
    config = configured(f"a: {{model: '{SONNET}'}}")
    client = local_aws.session().client("cloudwatch", endpoint_url=url)
    troubled = CloudWatchSink(lambda: client, NAMESPACE, interval_seconds=0.01)
    with_it, without = ModelManager(config, sinks=[troubled]), ModelManager(config, sinks=[])

    replies = [m.chat_model("a").invoke("Hello") for m in (with_it, without) for _ in range(20)]

    assert len({r.text for r in replies}) == 1
    latencies = [r.response_metadata["model_manager"]["latency_ms"] for r in replies]
    # Not a bound on time, but on waiting: a call that waited for the sink would take 60 s.
    assert max(latencies) < 50_000
    assert with_it.get_usage_summary()["total_invocations"] == 20
    local_aws.metrics.hang(0)


def test_a_sink_without_stats_is_reported_as_unknown() -> None:
    class Own:
        def record(self, usage: Any) -> None: ...

        def flush(self, timeout: float | None = None) -> None: ...

        def close(self) -> None: ...

    group = SinkGroup([Own(), MemorySink()])

    assert group.stats().recorded == 0


def test_the_client_of_the_sink_is_the_sinks(local_aws: LocalAWS) -> None:
    client = cloudwatch_client(local_aws.session(), "eu-west-1")

    assert client.meta.region_name == "eu-west-1"
