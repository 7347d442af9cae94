"""The sinks in docs/metrics.md work."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from langchain_modelmgr.metrics import CloudWatchSink, MetricsSink, SinkGroup
from tests.support import ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from tests.usage_records import MakeUsage

DOC = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")


def block_with(text: str) -> str:
    blocks = [part.split("```", 1)[0] for part in DOC.split("```python\n")[1:]]
    (found,) = [block for block in blocks if text in block]
    return found


def run(block: str) -> dict[str, Any]:
    names: dict[str, Any] = {}
    exec(compile(block, "docs/metrics.md", "exec"), names)  # noqa: S102 - our own docs
    return names


def test_the_sink_of_the_docs_writes_a_line_an_attempt(usage: MakeUsage, tmp_path: Path) -> None:
    sink = run(block_with("class JsonLines"))["JsonLines"](tmp_path / "usage.jsonl")
    group = SinkGroup([sink])

    group.record(usage())
    group.record(usage(agent_name="inventory_optimizer"))
    group.close()

    lines = (tmp_path / "usage.jsonl").read_text().splitlines()
    assert isinstance(sink, MetricsSink)
    assert [json.loads(line)["agent_name"] for line in lines] == [
        "sql_agent",
        "inventory_optimizer",
    ]
    assert json.loads(lines[0])["cost_usd"] == "0.00081"
    assert group.sink_errors == 0


def test_the_cloudwatch_sink_of_the_docs_can_be_made() -> None:
    sink = run(block_with("sink = CloudWatchSink"))["sink"]

    assert isinstance(sink, CloudWatchSink)
    assert sink.namespace == "supply-chain/Models"


def test_the_opentelemetry_sink_of_the_docs_records_under_its_names(usage: MakeUsage) -> None:
    reader = InMemoryMetricReader()
    sink = run(block_with("class OpenTelemetrySink"))["OpenTelemetrySink"](
        MeterProvider(metric_readers=[reader])
    )
    group = SinkGroup([sink])

    group.record(usage(cache_read_tokens=30))
    group.record(usage(outcome="failed", error_message="BedrockTimeoutError", has_usage=False))

    data: Any = reader.get_metrics_data()
    found = {m.name: m for m in data.resource_metrics[0].scope_metrics[0].metrics}
    assert (group.sink_errors, isinstance(sink, MetricsSink)) == (0, True)
    assert found.keys() == {"gen_ai.client.operation.duration", "gen_ai.client.token.usage"}
    points = found["gen_ai.client.operation.duration"].data.data_points
    assert [point.sum for point in points] == [0.8125, 0.8125]
    assert {point.attributes.get("error.type") for point in points} == {None, "BedrockTimeoutError"}
    assert all(p.attributes["gen_ai.provider.name"] == "aws.bedrock" for p in points)
    tokens = found["gen_ai.client.token.usage"].data.data_points
    assert {p.attributes["gen_ai.token.type"]: p.sum for p in tokens} == {
        "input": 150,
        "output": 30,
    }
