"""``python -m langchain_modelmgr.catalog``: shows a model's facts, checks the prices."""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from langchain_modelmgr.catalog.check import against_aws, against_genai_prices
from langchain_modelmgr.catalog.known import ModelCatalog
from langchain_modelmgr.catalog.lists import FIELDS
from langchain_modelmgr.runtime.console import run
from langchain_modelmgr.runtime.masking import mask_account_ids

if TYPE_CHECKING:
    from langchain_modelmgr.catalog.check import Disagreement
    from langchain_modelmgr.catalog.model import ModelConfig

_PRICING_REGION = "us-east-1"
"""Where the Price List itself is served: it holds the prices of all regions."""

_ABILITIES = (
    "tools",
    "streaming",
    "streaming_tools",
    "system_prompt",
    "images",
    "documents",
    "video",
    "audio",
    "search_results",
    "s3_sources",
    "structured_output",
    "reasoning",
    "prompt_caching",
    "citations",
)


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit code: 1 where a difference has no reason yet."""
    parser = argparse.ArgumentParser(prog="python -m langchain_modelmgr.catalog")
    commands = parser.add_subparsers(dest="command", required=True)
    show = commands.add_parser("show", help="print what is known of models, with sources")
    show.add_argument(
        "model_ids", nargs="*", metavar="MODEL_ID", help="none: a line for each model"
    )
    check = commands.add_parser("check", help="list where public price lists say otherwise")
    check.add_argument("--aws", metavar="REGION", help="ask the AWS Price List too: credentials")
    given = parser.parse_args(arguments)
    if given.command == "show":
        return _show(given.model_ids) if given.model_ids else _show_all()
    return _check(given.aws)


def _show(model_ids: list[str]) -> int:
    catalog = ModelCatalog()
    found = [(model_id, catalog.get(model_id)) for model_id in model_ids]
    for model_id, model in found:
        if model is None:
            _say(_not_known(model_id, catalog), error=True)
        else:
            _say("\n".join(_facts(model, catalog)))
    return int(any(model is None for _, model in found))


def _show_all() -> int:
    _say(f"{'model':50} {'context':>9} {'output':>7}  USD per 1,000 tokens, in and out")
    for model in ModelCatalog():
        prices = (model.cost_per_1k_input_tokens, model.cost_per_1k_output_tokens)
        told = [f"{'unknown' if p is None else f'{Decimal(str(p)):f}':>10}" for p in prices]
        limits = f"{_limit(model.context_window):>9} {_limit(model.max_tokens):>7}"
        disputed = "  DISPUTED" if model.price_disputed else ""
        _say(f"{model.model_id:50} {limits}  {' '.join(told)}{disputed}")
    return 0


def _limit(tokens: int | None) -> str:
    return "unknown" if tokens is None else str(tokens)


def _not_known(model_id: str, catalog: ModelCatalog) -> str:
    said = f"{mask_account_ids(model_id)}: not in the catalog"
    if model_id.startswith("arn:"):
        return f"{said}: an ARN that names no model is priced by base_model under models: in YAML"
    return f"{said}{catalog.did_you_mean(model_id)}: describe it under models: in the YAML"


def _facts(model: ModelConfig, catalog: ModelCatalog) -> list[str]:
    lines = [f"{model.model_id}  {model.name or model.model_family}"]
    refused = [*_abilities(model, able=False), *model.refused_parameters]
    for label, fact in (
        ("context", model.context_window),
        ("output", model.max_tokens),
        ("takes", ", ".join(_abilities(model, able=True)) or None),
        ("takes no", ", ".join(refused) or None),
        ("tool choices", ", ".join(model.tool_choices or ()) or None),
        ("lifecycle", _lifecycle(model)),
        ("successor", catalog.successor_of(model.model_id) if _ends(model) else None),
        ("served by", ", ".join(model.served_by or ()) or None),
        ("falls back to", catalog.fallback_for(model.model_id)),
    ):
        lines.append(f"  {label:14} {'none known' if fact is None else fact}")
    for kind in FIELDS:
        price = getattr(model.prices, kind)
        told = "unknown" if price is None else f"${Decimal(str(price)):f} per 1,000 tokens"
        lines.append(f"  {kind:14} {told}")
    if (long := model.long_context) is not None:
        lines.append(
            f"  {'long context':14} above {long.above:,} prompt tokens: input x "
            f"{long.input_multiplier:g}, output x {long.output_multiplier:g}"
        )
    for tier, prices in model.service_tiers.items():
        told = ", ".join(
            f"{kind} ${Decimal(str(price)):f}"
            for kind in FIELDS
            if (price := getattr(prices, kind)) is not None
        )
        lines.append(f"  {tier:14} {told}")
    source = f"{model.price_source}, {model.price_date}" if model.price_source else None
    lines.append(f"  {'price source':14} {source or model.price_unknown}")
    if model.price_disputed:
        lines.append(f"  {'DISPUTED':14} {model.price_disputed}")
    return lines


def _ends(model: ModelConfig) -> bool:
    return model.lifecycle_on(_today()) in ("legacy", "retired")


def _lifecycle(model: ModelConfig) -> str:
    """Return what becomes of a model, and who says so."""
    state = model.lifecycle_on(_today())
    if state is None:
        return "unknown"
    day = f" on {model.retirement_date}" if model.retirement_date else ""
    told = {"active": "active", "legacy": f"legacy, retires{day}", "retired": f"retired{day}"}[
        state
    ]
    if state == "legacy" and not day:
        told = "legacy, its end is announced"
    checked = f", checked {model.lifecycle_checked}" if model.lifecycle_checked else ""
    return f"{told} ({model.lifecycle_source}{checked})"


def _today() -> date:
    return datetime.now(UTC).date()


def _abilities(model: ModelConfig, *, able: bool) -> list[str]:
    """Return what a model is known to take, or known not to."""
    found = (name for name in _ABILITIES if getattr(model, f"supports_{name}") is able)
    return [name.replace("_", " ") for name in found]


def _check(region: str | None) -> int:
    try:
        found = against_genai_prices()
    except ImportError:
        _say("genai-prices is not installed: pip install genai-prices", error=True)
        return 2
    if region is not None:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            found += against_aws(_pricing_client(), region)
        except (BotoCoreError, ClientError) as error:
            _say(f"the AWS Price List can't be read: {type(error).__name__}: {error}", error=True)
            return 2
    for difference in found:
        _say(_line(difference))
    open_ones = [d for d in found if d.reason is None]
    _say(f"{len(found)} differences, {len(open_ones)} of them without a reason")
    return 1 if open_ones else 0


def _line(found: Disagreement) -> str:
    ours = "unknown" if found.ours is None else f"{found.ours:f}"
    reason = f"  ({found.reason})" if found.reason else "  NO REASON KNOWN"
    listed = f"{found.listed_by}: {found.theirs:f}"
    return f"{found.model_id}  {found.kind}: ours {ours}, {listed}{reason}"


def _pricing_client() -> Any:
    import boto3

    return boto3.client("pricing", region_name=_PRICING_REGION)


def _say(text: str, *, error: bool = False) -> None:
    (sys.stderr if error else sys.stdout).write(f"{text}\n")


if __name__ == "__main__":
    sys.exit(run(main))
