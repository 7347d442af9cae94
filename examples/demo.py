"""The main job, against a local AWS: an agent that falls back, is checked, and is accounted for.

Run it with ``make demo``. It needs no AWS account, and pays no heed to AWS settings of yours.
"""

from __future__ import annotations

import logging
import re
import sqlite3
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langchain.agents import create_agent
from langchain_core.messages import AIMessageChunk
from langchain_core.tools import tool

from langchain_modelmgr import (
    ConfigurationManager,
    ManagedBedrockChat,
    ModelCompatibilityError,
    ModelManager,
)
from langchain_modelmgr.local import LocalAWS, ScriptedReply

if TYPE_CHECKING:
    from langchain_modelmgr.local import ScriptedRequest

ROOT = Path(__file__).resolve().parent.parent
SONNET = "anthropic.claude-3-5-sonnet-20241022-v2:0"
TITAN = "amazon.titan-text-premier-v1:0"
QUESTION = "How many pallets does each warehouse hold?"
SQL = "SELECT warehouse, SUM(pallets) AS pallets FROM stock GROUP BY warehouse ORDER BY warehouse"


def stock_database(path: Path) -> None:
    """Write the demo's SQLite database."""
    rows = [
        (("Hamburg", "Rotterdam", "Trieste")[i % 3], f"P-{i:03d}", 7 * i % 23) for i in range(90)
    ]
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE stock (warehouse TEXT, product TEXT, pallets INTEGER)")
        db.executemany("INSERT INTO stock VALUES (?, ?, ?)", rows)


def sql_tools(path: Path) -> list[Any]:
    """Return the agent's two tools over a database opened read-only."""

    @tool
    def describe_tables() -> str:
        """Return the SQL that made the tables."""
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as db:
            return "\n".join(row[0] for row in db.execute("SELECT sql FROM sqlite_master"))

    @tool
    def run_sql(query: str) -> str:
        """Run one SQL query and return its rows."""
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as db:
            return "\n".join(" ".join(map(str, row)) for row in db.execute(query))

    return [describe_tables, run_sql]


def scripted_model(request: ScriptedRequest) -> ScriptedReply | None:
    """Play a model that looks at the tables, asks for the rows, and reports what came back."""
    results = request.tool_results
    if not results:
        return ScriptedReply(
            text="Let me look at the tables. ", tool_calls=[("describe_tables", {})]
        )
    if len(results) == 1:
        return ScriptedReply(text="Now the rows. ", tool_calls=[("run_sql", {"query": SQL})])
    counts = re.findall(r"(\w+) (\d+)", results[-1])
    total = sum(int(pallets) for _, pallets in counts)
    listed = ", ".join(f"{warehouse} {pallets}" for warehouse, pallets in counts)
    return ScriptedReply(text=f"{listed}: {total} pallets in all.")


def ask(agent: Any, question: str) -> None:
    """Stream the agent's answer, tool calls and all, then say which models it took."""
    print(f"\nQuestion to sql_agent: {question}\n")
    calls: list[dict[str, Any]] = []
    for chunk, _ in agent.stream({"messages": [("user", question)]}, stream_mode="messages"):
        if isinstance(chunk, AIMessageChunk):
            show(chunk)
            if report := chunk.response_metadata.get("model_manager"):
                calls.append(report)
        else:
            print("\n  <- " + chunk.text.replace("\n", "\n     "))
    print("\n")
    for number, report in enumerate(calls, 1):
        tried = ", ".join(
            f"{a['model_id']}: {a['error'] or 'answered'}" for a in report["attempts"]
        )
        print(f"  call {number}, ${report['cost_usd']}, {report['latency_ms']:.1f} ms: {tried}")


def show(chunk: AIMessageChunk) -> None:
    """Print a chunk's text and what it holds of tool calls."""
    print(chunk.text, end="", flush=True)
    for call in chunk.tool_call_chunks:
        if call["name"]:
            print(f"\n  -> {call['name']}", end=" ")
        print(call["args"] or "", end="")


def refuse_titan(manager: ModelManager, tools: list[Any]) -> None:
    """Bind tools to a model that has none."""
    print(f"\nTools on {TITAN}:")
    try:
        manager.chat_model("sql_agent").bind_tools(tools, model=TITAN)
    except ModelCompatibilityError as error:
        print(f"  refused: {error}")


def show_usage(manager: ModelManager) -> None:
    """Print usage and cost by agent and by model."""
    summary = manager.get_usage_summary()
    print(
        f"\nUsage: {summary['total_invocations']} calls in {summary['attempts']} attempts, "
        f"${summary['total_cost_usd']:.6f}, {summary['average_latency_ms']:.1f} ms on average"
    )
    for what in ("by_agent", "by_model"):
        for name, row in summary[what].items():
            print(
                f"  {name:45} {row['attempts']:2} attempts {row['input_tokens']:6} in "
                f"{row['output_tokens']:5} out  ${row['total_cost_usd']:.6f}"
            )


def show_metrics(aws: LocalAWS, manager: ModelManager) -> None:
    """Flush, and read the five metrics back from CloudWatch with GetMetricData."""
    manager.flush_metrics()
    cloudwatch = aws.client("cloudwatch")
    namespace = manager.config.namespace
    found = cloudwatch.list_metrics(Namespace=namespace)["Metrics"]
    now = datetime.now(UTC)
    reply = cloudwatch.get_metric_data(
        StartTime=now - timedelta(hours=1),
        EndTime=now + timedelta(minutes=5),
        MetricDataQueries=[
            {"Id": f"m{i}", "MetricStat": {"Metric": metric, "Period": 3600, "Stat": "Sum"}}
            for i, metric in enumerate(found)
        ],
    )
    print(f"\nCloudWatch namespace {namespace}, by GetMetricData (Sum):")
    lines = [
        (metric["MetricName"], " ".join(d["Value"] for d in metric["Dimensions"]), result["Values"])
        for metric, result in zip(found, reply["MetricDataResults"], strict=True)
    ]
    for name, dimensions, values in sorted(lines):
        print(f"  {name:17} {dimensions:62} {sum(values):.6g}")


def main() -> None:
    """Run the demo."""
    logging.basicConfig(stream=sys.stdout, format="\n  [%(levelname)s %(message)s]")
    with (
        LocalAWS.running() as aws,
        tempfile.TemporaryDirectory() as folder,
    ):
        aws.script(scripted_model)
        aws.fail(SONNET, "ThrottlingException", times=2)
        print(f"A local AWS serves Bedrock and CloudWatch at {aws.url}.")
        print(f"Two requests to {SONNET} are throttled there.")
        database = Path(folder) / "stock.db"
        stock_database(database)
        tools = sql_tools(database)
        with ModelManager(ConfigurationManager("dev", ROOT / "config")) as manager:
            llm = ManagedBedrockChat(agent_name="sql_agent", manager=manager)
            ask(create_agent(llm, tools=tools), QUESTION)
            refuse_titan(manager, tools)
            show_usage(manager)
            show_metrics(aws, manager)


if __name__ == "__main__":
    main()
