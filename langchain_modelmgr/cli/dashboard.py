"""``modelmgr dashboard``: prints a CloudFormation template with a dashboard and alarms."""

from __future__ import annotations

from typing import TYPE_CHECKING

from langchain_modelmgr.cli.options import (
    AsJson,
    ConfigDir,
    Environment,
    EnvironmentArgument,
    read_config,
)
from langchain_modelmgr.cli.output import note, print_json

if TYPE_CHECKING:
    from collections.abc import Sequence

EXAMPLE = "Example: `modelmgr dashboard prod > monitoring.json`"


def dashboard(
    name: EnvironmentArgument = None,
    environment: Environment = None,
    config_dir: ConfigDir = None,
    as_json: AsJson = False,  # noqa: ARG001 - it always is
) -> None:
    """Print a CloudFormation template with a dashboard and alarms.

    It covers the agents and models of the configuration. Standard error shows its monthly price.
    """
    from langchain_modelmgr.dashboard import template_of

    config = read_config(name or environment, config_dir)
    template = template_of(config)
    print_json(template)
    _print_cost(template["Metadata"]["MonthlyCostUSD"], config.metrics.extra)


def _print_cost(bill: dict[str, str], extra: Sequence[str]) -> None:
    from langchain_modelmgr.dashboard.alarms import COST_EXTRAS

    parts = ", ".join(f"{name} {usd}" for name, usd in bill.items() if name != "total")
    note(f"about {bill['total']} USD a month: {parts}")
    if unseen := [name for name in COST_EXTRAS if name not in extra]:
        note(
            f"the alarms on cost do not see what is not published: add {', '.join(unseen)} to "
            "metrics.extra"
        )
