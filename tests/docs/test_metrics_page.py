"""The sinks in docs/metrics.md work."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

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
