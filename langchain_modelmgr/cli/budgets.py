"""``modelmgr budgets``: what is spent of each budget."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from langchain_modelmgr.cli.options import (
    AsJson,
    ConfigDir,
    Environment,
    EnvironmentArgument,
    read_config,
)
from langchain_modelmgr.cli.output import note, print_json, print_table, say

if TYPE_CHECKING:
    from langchain_modelmgr.budgets import BudgetStatus

EXAMPLE = "Example: `modelmgr budgets prod --reset tenants --key acme`"

_COLUMNS = ("BUDGET", "KEY", "SPENT", "HELD", "LIMIT", "UNIT", "USED", "RESETS")
_NUMBERS = ("SPENT", "HELD", "LIMIT", "USED")


def budgets(
    name: EnvironmentArgument = None,
    reset: Annotated[
        str | None, typer.Option(metavar="BUDGET", help="Set what is spent of a budget to 0.")
    ] = None,
    key: Annotated[
        str | None, typer.Option(metavar="VALUE", help="With --reset: only this value of by.")
    ] = None,
    environment: Environment = None,
    config_dir: ConfigDir = None,
    as_json: AsJson = False,
) -> None:
    """Show what is spent of each budget in its current window, by key.

    What calls hold that have not ended is not part of what is spent, and a reset leaves it.
    """
    from langchain_modelmgr.manager import ModelManager

    if key is not None and reset is None:
        raise typer.BadParameter("--key needs --reset")
    config = read_config(name or environment, config_dir)
    with ModelManager(config, sinks=[]) as manager:
        if reset is not None:
            manager.reset_budget(reset, key)
        found = manager.budget_status()
    if as_json:
        where = {"environment": config.environment, "config_dir": str(config.config_dir)}
        print_json({**where, "budgets": [asdict(status) for status in found]})
        return
    if not found:
        say(f"environment {config.environment} has no budgets, or nothing was spent")
        return
    print_table(_COLUMNS, [_row(status) for status in found], right=_NUMBERS)
    if config.budgets.state == "memory":
        note("state: memory: other processes have figures of their own")


def _row(status: BudgetStatus) -> tuple[str, ...]:
    used = 100 * (status.spent + status.held) / status.limit
    resets = "never" if status.resets_at is None else f"{status.resets_at:%Y-%m-%d %H:%M} UTC"
    return (
        status.name,
        status.key or "",
        f"{status.spent:,}",
        f"{status.held:,}",
        f"{status.limit:,}",
        status.unit.upper() if status.unit == "usd" else status.unit,
        f"{used:.0f} %",
        resets,
    )
