"""``modelmgr usage``: what attempts took and cost, from the ledger or from CloudWatch."""

from __future__ import annotations

import csv
import sys
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any

import typer

from langchain_modelmgr.cli.options import AsJson, ConfigDir, Environment, read_config
from langchain_modelmgr.cli.output import note, print_json, print_table, say
from langchain_modelmgr.cli.usage_report import UsageReport, cell
from langchain_modelmgr.cli.values import exact
from langchain_modelmgr.errors import ConfigurationError, ModelManagerError

if TYPE_CHECKING:
    from langchain_modelmgr.config import ConfigurationManager

EXAMPLE = "Example: `modelmgr usage --since yesterday --by agent,metadata.tenant`"

_FIGURES = {
    "calls": "CALLS",
    "attempts": "ATTEMPTS",
    "input_tokens": "TOKENS IN",
    "output_tokens": "TOKENS OUT",
    "unpriced": "UNPRICED",
    "cost_usd": "USD",
    "estimated_wasted_cost_usd": "WASTED",
    "latency_p95_ms": "P95 MS",
}
_OPTIONAL = ("P95 MS", "ATTEMPTS", "WASTED", "TOKENS OUT", "TOKENS IN", "CALLS")
"""Headings that are left out in a narrow terminal, in this order."""


def usage(
    since: Annotated[
        str,
        typer.Option(
            metavar="TIME",
            help="7d, 24h, today, yesterday, 2026-11, a date, or a date with a time.",
        ),
    ] = "7d",
    by: Annotated[
        str,
        typer.Option(
            metavar="LIST",
            help="Columns: agent, model, day; from the ledger only: hour, outcome, "
            "metadata.KEY, ...",
        ),
    ] = "agent,model",
    as_csv: Annotated[
        bool, typer.Option("--csv", metavar="", help="Print CSV, with all figures.")
    ] = False,
    cloudwatch: Annotated[
        bool,
        typer.Option(
            "--cloudwatch", metavar="", help="Read CloudWatch, which has all machines of a fleet."
        ),
    ] = False,
    environment: Environment = None,
    config_dir: ConfigDir = None,
    as_json: AsJson = False,
) -> None:
    """Show what calls took and cost, by agent and model, with the shares of waste and fallbacks.

    The figures are from the ledger, which has the processes of this machine that share its folder.
    The first line says where they are from.
    """
    config = read_config(environment, config_dir)
    columns = [name.strip() for name in by.split(",") if name.strip()]
    try:
        report = (_from_cloudwatch if cloudwatch else _from_ledger)(config, since, columns)
    except ValueError as error:
        raise ConfigurationError(str(error)) from error
    if as_json:
        print_json(report.as_dict())
    elif as_csv:
        note(report.source)
        _print_csv(report)
    else:
        _print(report)


def _from_ledger(config: ConfigurationManager, since: str, by: list[str]) -> UsageReport:
    from langchain_modelmgr.manager import ModelManager

    with ModelManager(config, sinks=[], ledger=config.ledger.where) as manager:
        folder = manager.ledger.folder
        if folder is None:
            raise ValueError("the ledger is off, or in memory: use --cloudwatch")
        table = manager.usage(since, by=by)
        outcomes = manager.usage(since, by=("outcome", "is_fallback"))
    answered = [row for row in outcomes if row["outcome"] == "answered"]
    return UsageReport(
        source=f"from the ledger in {folder}, environment {config.environment}",
        since=table.since,
        until=table.until,
        by=table.by,
        rows=table.rows,
        totals=table.totals,
        answers=sum(row["attempts"] for row in answered),
        fallbacks=sum(row["attempts"] for row in answered if row["is_fallback"]),
    )


def _from_cloudwatch(config: ConfigurationManager, since: str, by: list[str]) -> UsageReport:
    from botocore.exceptions import BotoCoreError, ClientError

    from langchain_modelmgr.cli.cloudwatch_usage import checked, usage_from_cloudwatch

    checked(since, by)
    note(f"reading CloudWatch, namespace {config.namespace} ...")
    try:
        return usage_from_cloudwatch(config, since, by)
    except (BotoCoreError, ClientError) as error:
        raise ModelManagerError(
            f"CloudWatch can't be read: {error}\n"
            "it takes cloudwatch:ListMetrics and cloudwatch:GetMetricData"
        ) from error


def _print(report: UsageReport) -> None:
    say(report.source)
    say(f"{report.since:%Y-%m-%d %H:%M} to {report.until:%Y-%m-%d %H:%M} UTC\n")
    if not report.rows:
        say("nothing was recorded in this time")
        return
    figures = [name for name in _FIGURES if name in report.totals]
    if not report.totals["unpriced"]:
        figures.remove("unpriced")
    headings = [*(name.upper() for name in report.by), *(_FIGURES[name] for name in figures)]
    rows = [[cell(row[name]) for name in (*report.by, *figures)] for row in report.rows]
    if len(rows) > 1:
        label = ["total", *[""] * (len(report.by) - 1)] if report.by else []
        rows.append([*label, *(cell(report.totals[name]) for name in figures)])
    print_table(headings, rows, right=[*_FIGURES.values()], optional=_OPTIONAL)
    say()
    for line in report.shares():
        say(line)


def _print_csv(report: UsageReport) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    names = [*report.by, *report.totals]
    writer.writerow(names)
    for row in report.rows:
        writer.writerow(_plain(row[name]) for name in names)


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return exact(value)
    return "" if value is None else value
