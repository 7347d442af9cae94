"""``modelmgr models --check``: lists the prices on which public lists and the catalog differ."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from langchain_modelmgr.catalog.check import against_aws, against_genai_prices
from langchain_modelmgr.cli.output import note, print_json, say
from langchain_modelmgr.errors import ModelManagerError

if TYPE_CHECKING:
    from langchain_modelmgr.catalog.check import Disagreement

_PRICING_REGION = "us-east-1"
"""Where the Price List itself is served: it holds the prices of all regions."""


def check_prices(region: str | None, *, as_json: bool) -> None:
    """Print the differences; exit with status 1 if one of them has no reason yet.

    Args:
        region: The region whose AWS Price List is read, too; None: none is.
        as_json: Print JSON.
    """
    found = _differences(region)
    open_ones = [d for d in found if d.reason is None]
    if as_json:
        print_json({"differences": [_as_dict(d) for d in found], "without_reason": len(open_ones)})
    else:
        for difference in found:
            say(_line(difference))
        say(f"{len(found)} differences, {len(open_ones)} of them without a reason")
    if open_ones:
        raise typer.Exit(1)


def _differences(region: str | None) -> list[Disagreement]:
    try:
        found = against_genai_prices()
    except ImportError:
        raise ModelManagerError("genai-prices is not installed: pip install genai-prices") from None
    if region is None:
        return found
    from botocore.exceptions import BotoCoreError, ClientError

    note(f"reading the AWS Price List of {region} ...")
    try:
        return found + against_aws(_pricing_client(), region)
    except (BotoCoreError, ClientError) as error:
        raise ModelManagerError(
            f"the AWS Price List can't be read: {type(error).__name__}: {error}"
        ) from None


def _as_dict(found: Disagreement) -> dict[str, Any]:
    return {name: getattr(found, name) for name in type(found).__slots__}


def _line(found: Disagreement) -> str:
    ours = "unknown" if found.ours is None else f"{found.ours:f}"
    reason = f"  ({found.reason})" if found.reason else "  NO REASON KNOWN"
    listed = f"{found.listed_by}: {found.theirs:f}"
    return f"{found.model_id}  {found.kind}: ours {ours}, {listed}{reason}"


def _pricing_client() -> Any:
    import boto3

    return boto3.client("pricing", region_name=_PRICING_REGION)
