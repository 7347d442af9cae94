"""``python -m langchain_modelmgr.dashboard``: prints the template, or the IAM policy."""

from __future__ import annotations

import argparse
import json
import re
import sys
from typing import TYPE_CHECKING

from langchain_modelmgr.config import ConfigurationManager
from langchain_modelmgr.dashboard import iam_policy, template_of
from langchain_modelmgr.dashboard.alarms import COST_EXTRAS
from langchain_modelmgr.errors import ConfigurationError
from langchain_modelmgr.runtime.console import run

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m langchain_modelmgr.dashboard",
        description="Print a CloudFormation template with a dashboard and alarms.",
    )
    parser.add_argument("environment", nargs="?", help="<environment>.yaml; MODELMGR_ENV, dev")
    parser.add_argument("--config-dir", help="the folder of the YAML; MODELMGR_CONFIG_DIR, config")
    parser.add_argument("--iam", action="store_true", help="print the least IAM policy instead")
    parser.add_argument("--region", help="with --iam: the region that models are called in")
    parser.add_argument("--account", default="*", help="with --iam: the account id")
    given = parser.parse_args(arguments)
    if not re.fullmatch(r"[0-9]{12}|\*", given.account):
        parser.error("--account must be an AWS account id, of 12 digits")
    try:
        config = ConfigurationManager(given.environment, given.config_dir)
        made = iam_policy(config, given.region, given.account) if given.iam else template_of(config)
    except ConfigurationError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    sys.stdout.write(json.dumps(made, indent=2) + "\n")
    if not given.iam:
        _print_cost(made["Metadata"]["MonthlyCostUSD"], config.metrics.extra)
    return 0


def _print_cost(bill: dict[str, str], extra: Sequence[str]) -> None:
    parts = ", ".join(f"{name} {usd}" for name, usd in bill.items() if name != "total")
    sys.stderr.write(f"about {bill['total']} USD a month: {parts}\n")
    if unseen := [name for name in COST_EXTRAS if name not in extra]:
        sys.stderr.write(
            f"the alarms on cost do not see what is not published: add {', '.join(unseen)} to "
            "metrics.extra\n"
        )


if __name__ == "__main__":
    sys.exit(run(main))
