"""``modelmgr report``: a month's usage and cost as one HTML file."""

from __future__ import annotations

import datetime as dt
import os
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Annotated

import typer

from langchain_modelmgr.cli.options import AsJson, ConfigDir, Environment, read_config
from langchain_modelmgr.cli.output import note, print_json, say
from langchain_modelmgr.errors import ConfigurationError

EXAMPLE = "Example: `modelmgr report --month 2026-11 -o november.html -e prod`"


def report(
    month: Annotated[
        str | None,
        typer.Option(metavar="MONTH", help="Such as 2026-11, in UTC. Default: this month."),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option("--output", "-o", metavar="FILE", help="Default: MONTH.html."),
    ] = None,
    environment: Environment = None,
    config_dir: ConfigDir = None,
    as_json: AsJson = False,
) -> None:
    """Write a month's usage and cost, from the ledger, as one HTML file that loads nothing.

    Spend by day and agent, fallbacks, waste, prompt cache, latency, budgets, prices, retiring
    models. With `--json` the figures are printed instead.
    """
    from langchain_modelmgr.manager import ModelManager
    from langchain_modelmgr.report import month_report

    config = read_config(environment, config_dir)
    chosen = month or f"{dt.datetime.now(dt.UTC):%Y-%m}"
    with ModelManager(config, sinks=[], ledger=config.ledger.where) as manager:
        found = month_report(manager, chosen)
    if as_json:
        print_json(found.as_dict())
        return
    from langchain_modelmgr.report.page import page_of

    path = Path(output or f"{chosen}.html")
    _write(path, page_of(found))
    note(f"{len(found.agents)} agents, environment {config.environment}, {chosen}")
    say(str(path))


def _write(path: Path, text: str) -> None:
    """Write a file, or nothing at all."""
    try:
        with NamedTemporaryFile("w", encoding="utf-8", dir=path.parent, delete=False) as file:
            file.write(text)
        os.replace(file.name, path)  # noqa: PTH105 - the same as Path.replace
    except OSError as error:
        raise ConfigurationError(f"{path} can't be written: {error.strerror}") from error
