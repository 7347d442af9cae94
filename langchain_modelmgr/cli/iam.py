"""``modelmgr iam``: prints the least IAM policy of the agents."""

from __future__ import annotations

import re
from typing import Annotated

import typer

from langchain_modelmgr.cli.options import (
    AsJson,
    ConfigDir,
    Environment,
    EnvironmentArgument,
    read_config,
)
from langchain_modelmgr.cli.output import print_json

EXAMPLE = "Example: `modelmgr iam prod --region eu-west-1 --account 111122223333`"

_ACCOUNT = re.compile(r"[0-9]{12}|\*")


def _account(value: str) -> str:
    if not _ACCOUNT.fullmatch(value):
        raise typer.BadParameter("an AWS account id has 12 digits")
    return value


def iam(
    name: EnvironmentArgument = None,
    region: Annotated[
        str | None, typer.Option(help="The region in which models are called.")
    ] = None,
    account: Annotated[
        str, typer.Option(help="The account id; * is any.", callback=_account)
    ] = "*",
    batch: Annotated[
        bool,
        typer.Option(
            "--batch", metavar="", help="Also the policies of batch inference and its role."
        ),
    ] = False,
    environment: Environment = None,
    config_dir: ConfigDir = None,
    as_json: AsJson = False,  # noqa: ARG001 - it always is
) -> None:
    """Print an IAM policy with only what the enabled agents need."""
    from langchain_modelmgr.dashboard import iam_policy

    config = read_config(name or environment, config_dir)
    if not batch:
        print_json(iam_policy(config, region, account))
        return
    from langchain_modelmgr.dashboard.batch_iam import batch_policies

    print_json(batch_policies(config, region, account))
