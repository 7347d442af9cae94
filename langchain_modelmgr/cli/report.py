"""``modelmgr report``: a month's usage and cost as one HTML file."""

from __future__ import annotations

import datetime as dt
import os
from pathlib import Path
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
        if manager.ledger.folder is None:
            raise ConfigurationError("the ledger is off, or in memory: there is nothing to report")
        found = month_report(manager, chosen)
    if as_json:
        print_json(found.as_dict())
        return
    from langchain_modelmgr.report.page import page_of

    path = Path(output or f"{chosen}.html")
    _write(path, page_of(found))
    agents = f"{len(found.agents)} agent{'' if len(found.agents) == 1 else 's'}"
    note(f"{agents}, environment {config.environment}, {chosen}")
    say(str(path))


def _write(path: Path, text: str) -> None:
    """Write a file whole, or leave what is there; a device or pipe is written to directly."""
    new = None
    try:
        if path.exists() and not path.is_file():
            path.write_text(text, encoding="utf-8")
            return
        path = path.resolve()
        new = path.with_name(f"{path.name}.{os.getpid()}.new")
        with new.open("x", encoding="utf-8") as file:
            file.write(text)
        new.replace(path)
    except OSError as error:
        if new is not None and not isinstance(error, FileExistsError):
            new.unlink(missing_ok=True)
        raise ConfigurationError(f"{path} can't be written: {error.strerror}") from error
