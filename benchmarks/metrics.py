"""Measures the cost of recording a million attempts in a hundred series, and of alternatives.

    python benchmarks/metrics.py [--records 1000000]

Beside it, in one run, for fewer records: aws-embedded-metrics, Powertools Metrics (both write EMF
lines, here to nowhere), and one PutMetricData a call over the local CloudWatch. All figures are CPU
time, of the thread that works, so that other programs change them little. Then the accuracy of
percentiles on named distributions.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import io
import os
import random
import sys
import tempfile
import time
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3

from langchain_modelmgr.ledger import ledger as ledger_module
from langchain_modelmgr.ledger.attempt_rows import AttemptRow, grouped
from langchain_modelmgr.local import LocalAWS
from langchain_modelmgr.metrics import CloudWatchSink, EMFSink, ledger_for
from langchain_modelmgr.metrics.cloudwatch.aggregate import Rules, aggregate
from langchain_modelmgr.metrics.cloudwatch.cardinality import Places
from langchain_modelmgr.runtime.cloudwatch_client import FixedClient
from langchain_modelmgr.usage.record import ModelUsageMetrics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from langchain_modelmgr.ledger.ledger import Ledger

AGENTS = 20
"""Agents, each with five always-published series: a hundred in all."""

DISTRIBUTIONS: dict[str, Callable[[random.Random], float]] = {
    "lognormal (sigma 0.6)": lambda dice: dice.lognormvariate(7, 0.6),
    "exponential": lambda dice: dice.expovariate(1 / 900),
    "pareto (alpha 3)": lambda dice: 200 * dice.paretovariate(3),
    "uniform": lambda dice: dice.uniform(100, 9_000),
    # 80 of 100 are fast: at 90 of 100 the p90 would lie in the gap, where any value is right.
    "two modes": lambda dice: dice.gauss(300, 30) if dice.random() < 0.8 else dice.gauss(9e3, 900),
}


def records(count: int) -> Iterator[ModelUsageMetrics]:
    dice, now = random.Random(1), datetime.now(UTC)
    kept = [
        ModelUsageMetrics(
            f"agent-{n % AGENTS}",
            "anthropic.claude-sonnet-4-6",
            now,
            dice.randint(200, 6_000),
            dice.randint(10, 900),
            round(dice.lognormvariate(7, 0.6), 3),  # as an attempt is measured
            success=True,
            cost_usd=Decimal(dice.randint(1, 10**6)) / 10**8,
        )
        for n in range(20_000)
    ]
    for n in range(count):
        yield kept[n % len(kept)]


def microseconds(work: Callable[[ModelUsageMetrics], Any], count: int) -> float:
    given = list(records(min(count, 100_000)))
    for usage in given[: count // 100 + 1]:
        work(usage)
    gc.collect()
    gc.freeze()  # the records are the benchmark's own, not to be looked through again and again
    started = time.thread_time()
    done = 0
    while done < count:
        for usage in given[: count - done]:
            work(usage)
        done += len(given)
    return (time.thread_time() - started) / count * 1e6


def ours(aws: LocalAWS, count: int) -> float:
    """Return the cost of an attempt's two lines to the caller; print the cost of the rest."""
    ledger_module.WAKE_LINES = sys.maxsize  # the ledger's thread waits until it is woken
    clients = FixedClient(boto3.Session, None)
    sink = CloudWatchSink(clients, "bench/Models", interval_seconds=3_600)
    with tempfile.TemporaryDirectory() as folder:
        ledger = ledger_for([sink], Path(folder))
        ledger.ingest()  # the files are open
        took = microseconds(lambda usage: two_lines(ledger, usage), count)
        started = time.process_time()  # only the ledger's thread runs
        ledger.ingest(600)
        moved = (time.process_time() - started) / count * 1e6
        started = time.process_time()
        stats = sink.flush(60)
        sent = (time.process_time() - started) / count * 1e6
        ledger.close()
    print(f"microseconds of CPU a record: {took:.1f} for the caller (two lines)")
    print(f"in the background: {moved:.1f} for attempts, totals and data points")
    print(f"sending, with the local server's part: {sent:.1f}")
    print(
        f"{stats.recorded:,} data points -> {len(aws.metrics.datums)} datums in {stats.requests} "
        f"requests; dropped {stats.dropped}, ambiguous {stats.ambiguous}"
    )
    return took


def two_lines(ledger: Ledger, usage: ModelUsageMetrics) -> None:
    ledger.attempt_ended(ledger.attempt_started(ledger.start_of(usage)), usage)


def powertools(count: int) -> float:
    from aws_lambda_powertools.metrics import MetricUnit, single_metric

    def work(usage: ModelUsageMetrics) -> None:
        for name, unit, value in _five(usage):
            with single_metric(
                name=name, unit=getattr(MetricUnit, unit), value=value, namespace="bench"
            ) as metric:
                metric.add_dimension(name="Agent", value=usage.agent_name)
                metric.add_dimension(name="Model", value=usage.model_id)

    with contextlib.redirect_stdout(io.StringIO()):
        return microseconds(work, count)


def embedded_metrics(count: int) -> float:
    from aws_embedded_metrics.config import get_config
    from aws_embedded_metrics.logger.metrics_context import MetricsContext
    from aws_embedded_metrics.sinks.stdout_sink import StdoutSink

    get_config().namespace = "bench"
    sink = StdoutSink()

    def work(usage: ModelUsageMetrics) -> None:
        context = MetricsContext.empty()
        context.put_dimensions({"Agent": usage.agent_name, "Model": usage.model_id})
        for name, unit, value in _five(usage):
            context.put_metric(name, value, unit if unit != "NoUnit" else "None")
        sink.accept(context)

    with contextlib.redirect_stdout(io.StringIO()):
        return microseconds(work, count)


def one_put_a_call(aws: LocalAWS, count: int) -> float:
    client = aws.client("cloudwatch")

    def work(usage: ModelUsageMetrics) -> None:
        dimensions = [
            {"Name": "Agent", "Value": usage.agent_name},
            {"Name": "Model", "Value": usage.model_id},
        ]
        data = [
            {"MetricName": n, "Value": v, "Unit": "None", "Dimensions": dimensions}
            for n, _, v in _five(usage)
        ]
        client.put_metric_data(Namespace="bench/Put", MetricData=data)

    return microseconds(work, count)


def _five(usage: ModelUsageMetrics) -> list[tuple[str, str, float]]:
    return [
        ("ModelInvocations", "Count", 1),
        ("ModelLatency", "Milliseconds", usage.latency_ms or 0.0),
        ("InputTokens", "Count", usage.input_tokens),
        ("OutputTokens", "Count", usage.output_tokens),
        ("ModelCost", "NoUnit", float(usage.cost_usd or 0)),
    ]


def emf(count: int) -> float:
    return microseconds(EMFSink("bench/Models", stream=io.StringIO()).record, count)


def accuracy() -> None:
    print("\npercentiles of 100,000 values in 150: off by, in per cent")
    print(f"{'distribution':24} {'p50':>6} {'p90':>6} {'p99':>6} {'p99.9':>6}")
    for name, draw in DISTRIBUTIONS.items():
        dice, now = random.Random(3), datetime.now(UTC)
        values = [max(draw(dice), 0.0) for _ in range(100_000)]
        rows = [
            AttemptRow.of(ModelUsageMetrics("a", "m", now, 1, 1, value, success=True))
            for value in values
        ]
        datums, _ = aggregate({1: (Rules.of(max_series=1_000), grouped(rows))}, Places())
        (datum,) = [d for d in datums if d.name == "ModelLatency"]
        exact = sorted(values)
        cells = []
        for rank in (0.5, 0.9, 0.99, 0.999):
            seen, found = 0, datum.values[-1]
            for value, count in zip(datum.values, datum.counts, strict=True):
                seen += count
                if seen > rank * len(exact):
                    found = value
                    break
            wanted = exact[int(rank * len(exact))]
            cells.append(f"{abs(found - wanted) / wanted * 100:6.2f}")
        print(f"{name:24} {' '.join(cells)}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=1_000_000)
    given = parser.parse_args()
    with LocalAWS.running() as aws:
        own = ours(aws, given.records)
        fewer = max(given.records // 50, 100)
        print(f"\nmicroseconds a record, and times ours ({fewer:,} records each)")
        others: list[tuple[str, Callable[[], float]]] = [
            ("our EMF sink, to a buffer", lambda: emf(fewer)),
            ("aws-embedded-metrics", lambda: embedded_metrics(fewer)),
            ("Powertools Metrics", lambda: powertools(fewer)),
            ("one PutMetricData a call", lambda: one_put_a_call(aws, max(fewer // 20, 50))),
        ]
        for name, run in others:
            try:
                took = run()
            except ImportError as error:
                print(f"{name:28} not installed: pip install '.[bench]' ({error.name})")
                continue
            print(f"{name:28} {took:9.1f} us  {took / own:8.1f}x")
    accuracy()
    return 0


if __name__ == "__main__":
    os.environ.setdefault("POWERTOOLS_METRICS_NAMESPACE", "bench")
    sys.exit(main())
