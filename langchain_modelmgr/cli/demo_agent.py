"""An agent with tools on a local AWS: a throttled model, its fallback, the cost, the metrics.

Run it with ``modelmgr demo``. It needs no AWS account and ignores your AWS settings.
"""

from __future__ import annotations

import logging
import re
import sqlite3
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langchain.agents import create_agent
from langchain_core.messages import AIMessageChunk
from langchain_core.tools import tool
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from langchain_modelmgr import (
    ConfigurationManager,
    ManagedBedrockChat,
    ModelCompatibilityError,
    ModelManager,
    ModelManagerError,
)
from langchain_modelmgr.local import LocalAWS, ScriptedReply

if TYPE_CHECKING:
    from langchain_modelmgr.local import ScriptedRequest

FOLDER = Path(__file__).resolve().parent
"""The folder of demo.yaml."""

WIDTH = 100
SONNET = "us.anthropic.claude-sonnet-5-5"
R1 = "us.deepseek.r1-v1:0"
QUESTION = "How many pallets does each warehouse hold?"
SQL = "SELECT warehouse, SUM(pallets) FROM stock GROUP BY warehouse"
THROTTLES = 2
CALLS = 3
"""Calls that the agent needs for its answer: one for each of two tools, and one for the answer."""

REASONS = {"BedrockRateLimitError": "throttled"}


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
    """Play a model that reads the tables, queries them, and reports the rows."""
    if not request.tools:
        return None
    results = request.tool_results
    if not results:
        return ScriptedReply(
            text="Let me look at the tables.", tool_calls=[("describe_tables", {})]
        )
    if len(results) == 1:
        return ScriptedReply(text="Now the rows.", tool_calls=[("run_sql", {"query": SQL})])
    counts = re.findall(r"(\w+) (\d+)", results[-1])
    total = sum(int(pallets) for _, pallets in counts)
    listed = ", ".join(f"{warehouse} {pallets}" for warehouse, pallets in counts)
    return ScriptedReply(text=f"{listed}: {total} pallets in all.")


def short_name(manager: ModelManager, model_id: str) -> str:
    """Return a model's name without its provider's: ``Sonnet 5.5``."""
    known = manager.get_model_config(model_id)
    return (known.name if known and known.name else model_id).removeprefix("Claude ")


def config() -> ConfigurationManager:
    """Read demo.yaml."""
    return ConfigurationManager("demo", FOLDER)


def new_console() -> Console:
    """Return a console for standard output of at most 100 columns, in colour on a terminal."""
    console = Console(highlight=False, soft_wrap=True)
    console.width = min(WIDTH, console.width) if console.is_terminal else WIDTH
    return console


def warm_up(aws: LocalAWS) -> None:
    """Load libraries, build clients and open connections, so that later calls are not slowed."""
    with ModelManager(config(), sinks=[]) as manager:
        llm = manager.chat_model("sql_agent")
        for model in manager.check_chains():
            list(llm.stream("Hello", model=model.model_id))
    aws.clear_faults()


def ask(console: Console, agent: Any, question: str) -> list[dict[str, Any]]:
    """Stream the agent's answer with its tool calls.

    Returns:
        What ``response_metadata["model_manager"]`` says of each call.
    """
    console.print(Text.assemble(("Question  ", "bold"), question), "")
    calls: list[dict[str, Any]] = []
    for chunk, _ in agent.stream({"messages": [("user", question)]}, stream_mode="messages"):
        if isinstance(chunk, AIMessageChunk):
            show(console, chunk)
            if report := chunk.response_metadata.get("model_manager"):
                calls.append(report)
        else:
            console.print(f"\n    <- {', '.join(chunk.text.splitlines())}", style="dim")
    console.print("")
    return calls


def show(console: Console, chunk: AIMessageChunk) -> None:
    """Print the text and the tool calls of a chunk."""
    if chunk.text:
        console.print(chunk.text, end="")
    for call in chunk.tool_call_chunks:
        if call["name"]:
            console.print(f"\n    -> {call['name']} ", end="", style="cyan")
        console.print(call["args"] or "", end="", style="cyan")


def show_calls(console: Console, manager: ModelManager, calls: list[dict[str, Any]]) -> None:
    """Print one line per call: the models tried, their outcomes and latencies, and the cost."""
    console.print("\nIts calls", style="bold", end="")
    console.print(": every model tried, milliseconds on this machine, USD", style="dim")
    for number, report in enumerate(calls, 1):
        line = Text(f"  {number}  ")
        for attempt in report["attempts"]:
            failed = attempt["error"]
            line.append(" -> " if line.plain.count("ms") else "")
            line.append(short_name(manager, attempt["model_id"]))
            line.append(
                f" {REASONS.get(failed, failed) if failed else 'answered'}",
                style="red" if failed else "green",
            )
            line.append(f" {attempt['latency_ms']:.0f} ms")
        line.append(f"  ${report['cost_usd']}", style="bold")
        console.print(line)


def without_fallback(console: Console, aws: LocalAWS) -> None:
    """Send as many calls under the same throttles, without fallback and retries."""
    aws.fail(SONNET, "ThrottlingException", times=THROTTLES)
    failed = 0
    with ModelManager(config(), sinks=[]) as manager:
        llm = manager.chat_model("sql_agent", use_fallback=False, max_retries=0)
        for _ in range(CALLS):
            try:
                llm.invoke("Hello")
            except ModelManagerError:
                failed += 1
    console.print(
        Text.assemble(
            "\n",
            ("Without a fallback", "bold"),
            " (the same throttles, no retries): ",
            (f"{failed} of {CALLS} calls failed", "red"),
            ".",
        )
    )


def refuse_tools(console: Console, manager: ModelManager, tools: list[Any]) -> None:
    """Show the error of binding tools to a model that does not support them."""
    console.print("\nChecked before anything is sent", style="bold", end="")
    console.print(f": tools on {short_name(manager, R1)}", style="dim")
    try:
        manager.chat_model("sql_agent").bind_tools(tools, model=R1)
    except ModelCompatibilityError as error:
        console.print(f"  {type(error).__name__}:", style="red")
        console.print(f"  {str(error).replace(' (', chr(10) + '  (')}")


def show_usage(console: Console, manager: ModelManager) -> None:
    """Print the tokens and the cost of each model, from the usage summary."""
    summary = manager.get_usage_summary()
    console.print(
        Text.assemble(
            "\n",
            ("The bill", "bold"),
            f": {summary['calls']} calls in {summary['attempts']} attempts, ",
            (f"${summary['total_cost_usd']:.6f}", "bold"),
        )
    )
    table = Table("Model", box=SIMPLE_HEAD, padding=(0, 1))
    for heading in ("Attempts", "Input tokens", "Output tokens", "USD"):
        table.add_column(heading, justify="right")
    for model_id, row in summary["by_model"].items():
        counts = (str(row[key]) for key in ("attempts", "input_tokens", "output_tokens"))
        cost = f"{row['total_cost_usd']:.6f}"
        table.add_row(short_name(manager, model_id), *counts, cost)
    console.print(table)


def show_metrics(console: Console, aws: LocalAWS, manager: ModelManager) -> None:
    """Flush, and read the five metrics back from CloudWatch with GetMetricData."""
    manager.flush_metrics()
    cloudwatch = aws.client("cloudwatch")
    found = cloudwatch.list_metrics(Namespace=manager.config.namespace)["Metrics"]
    now = datetime.now(UTC)
    reply = cloudwatch.get_metric_data(
        StartTime=now - timedelta(hours=1),
        EndTime=now + timedelta(minutes=5),
        MetricDataQueries=[
            {"Id": f"m{i}", "MetricStat": {"Metric": metric, "Period": 3600, "Stat": stat(metric)}}
            for i, metric in enumerate(found)
        ],
    )
    console.print("What your dashboards and alarms get", style="bold", end="")
    where = f"CloudWatch, namespace {manager.config.namespace}, agent sql_agent, one hour"
    console.print(f": {where}", style="dim")
    rows = [
        metric_row(manager, metric, sum(result["Values"]))
        for metric, result in zip(found, reply["MetricDataResults"], strict=True)
    ]
    table = Table(box=SIMPLE_HEAD, padding=(0, 1))
    for heading in ("Metric", "Model", "Success", "Statistic"):
        table.add_column(heading, no_wrap=True)
    table.add_column("Value", justify="right")
    table.add_column("Unit")
    for row in sorted(rows):
        table.add_row(*row)
    console.print(table)


def stat(metric: dict[str, Any]) -> str:
    """Return the useful statistic of this metric."""
    return "Average" if metric["MetricName"] == "ModelLatency" else "Sum"


def metric_row(manager: ModelManager, metric: dict[str, Any], value: float) -> tuple[str, ...]:
    """Return one metric's row: name, model, success, statistic, value and unit."""
    name = metric["MetricName"]
    dimensions = {d["Name"]: d["Value"] for d in metric["Dimensions"]}
    unit, shown = {
        "ModelLatency": ("milliseconds", f"{value:.0f}"),
        "ModelCost": ("USD", f"{value:.6f}"),
        "ModelInvocations": ("attempts", f"{value:.0f}"),
    }.get(name, ("tokens", f"{value:.0f}"))
    model = short_name(manager, dimensions["Model"])
    return name, model, dimensions.get("Success", ""), stat(metric), shown, unit


def show_next(console: Console) -> None:
    """Print what to do next."""
    console.print("What to do next", style="bold")
    for what, where in (
        ("An application of five agents, on this local AWS", "make example"),
        ("Your own agent, an outage, the bill, in ten minutes", "docs/tutorial.md"),
        ("The same on real Bedrock, a few tokens a model", "verify_model_manager.py --aws"),
    ):
        console.print(f"  {what:52} ", end="")
        console.print(where, style="cyan")


def main(console: Console | None = None) -> None:
    """Run the demo.

    Args:
        console: Where it is printed; by default standard output, at most 100 columns wide.
    """
    console = console or new_console()
    # One line a call says what these warnings say: model, error, fallback.
    logging.getLogger("langchain_modelmgr").setLevel(logging.ERROR)
    with LocalAWS() as aws, aws.environment(), tempfile.TemporaryDirectory() as folder:
        aws.script(scripted_model)
        warm_up(aws)
        aws.fail(SONNET, "ThrottlingException", times=THROTTLES)
        database = Path(folder) / "stock.db"
        stock_database(database)
        tools = sql_tools(database)
        with ModelManager(config()) as manager:
            console.print(
                "\nAn agent on a local AWS: Bedrock and CloudWatch on this machine, no account.\n"
                "sql_agent runs on Sonnet 5.5 and falls back to Haiku 5.5. "
                f"Sonnet is throttled {THROTTLES} times.\n"
            )
            llm = ManagedBedrockChat(agent_name="sql_agent", manager=manager)
            calls = ask(console, create_agent(llm, tools=tools), QUESTION)
            show_calls(console, manager, calls)
            without_fallback(console, aws)
            refuse_tools(console, manager, tools)
            show_usage(console, manager)
            show_metrics(console, aws, manager)
            show_next(console)


if __name__ == "__main__":
    main()
