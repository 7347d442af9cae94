"""``modelmgr models``: what the catalog knows about models, and whether its prices are current."""

from __future__ import annotations

import re
from dataclasses import asdict
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from langchain_modelmgr.cli.model_facts import facts_of, not_known
from langchain_modelmgr.cli.options import AsJson, ConfigDir, Environment, read_config
from langchain_modelmgr.cli.output import note, print_facts, print_json, print_table, say
from langchain_modelmgr.cli.values import money, per_million, plain, tokens

if TYPE_CHECKING:
    from langchain_modelmgr.catalog import ModelCatalog, ModelConfig

EXAMPLE = "Example: `modelmgr models --retiring 90d --needs tools,images`"

_DAYS = re.compile(r"(\d{1,4})d")
_COLUMNS = ("MODEL", "WINDOW", "OUTPUT", "$/M IN", "$/M OUT", "ENDS")


def models(
    ids: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[MODEL_ID]...", help="Show all facts of these.", show_default=False
        ),
    ] = None,
    retiring: Annotated[
        str | None, typer.Option(metavar="DAYS", help="Only models that end in, say, 90d.")
    ] = None,
    needs: Annotated[
        str | None,
        typer.Option(metavar="LIST", help="Only models that take all of, say, tools,images."),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", metavar="", help="List prices on which public lists differ.")
    ] = False,
    aws: Annotated[
        str | None,
        typer.Option(metavar="REGION", help="With --check: read the AWS Price List, too."),
    ] = None,
    environment: Environment = None,
    config_dir: ConfigDir = None,
    as_json: AsJson = False,
) -> None:
    """Show what the catalog knows about models: abilities, limits, prices, end of life.

    Prices in the table are USD per million tokens. With `--environment` or `--config-dir`, the
    facts under `models:` in that YAML count.
    """
    if check or aws:
        from langchain_modelmgr.cli.price_check import check_prices

        check_prices(aws, as_json=as_json)
        return
    catalog = _catalog(environment, config_dir)
    found, unknown = _chosen(catalog, ids or [])
    wanted = [m for m in found if _is_retiring(m, retiring) and _takes(m, needs)]
    if as_json:
        print_json([_as_dict(model) for model in wanted])
    elif ids:
        for model in wanted:
            say(f"{plain(model.model_id)}  {model.name or model.model_family}")
            print_facts(facts_of(model, catalog))
    else:
        _print(wanted)
    for model_id in unknown:
        note(not_known(model_id, catalog))
    if unknown:
        raise typer.Exit(1)


def _catalog(environment: str | None, config_dir: str | None) -> ModelCatalog:
    from langchain_modelmgr.catalog import ModelCatalog

    if environment or config_dir:
        return read_config(environment, config_dir).catalog
    return ModelCatalog()


def _chosen(catalog: ModelCatalog, ids: list[str]) -> tuple[list[ModelConfig], list[str]]:
    """Return the models with these ids, all models without ids; and the ids that are unknown."""
    if not ids:
        return list(catalog), []
    found = {model_id: catalog.get(model_id) for model_id in ids}
    return [m for m in found.values() if m], [i for i, m in found.items() if m is None]


def _is_retiring(model: ModelConfig, within: str | None) -> bool:
    if within is None:
        return True
    if (given := _DAYS.fullmatch(within)) is None:
        raise typer.BadParameter(
            f"{within!r} is not a number of days: write 90d", param_hint="--retiring"
        )
    today = datetime.now(UTC).date()
    if model.retirement_date is None:
        return model.lifecycle == "legacy"
    end = date.fromisoformat(model.retirement_date)
    return today < end <= today + timedelta(days=int(given[1]))


def _takes(model: ModelConfig, needs: str | None) -> bool:
    from langchain_modelmgr.config.schema import Capability

    wanted = [name.strip() for name in needs.split(",")] if needs else []
    if unknown := [name for name in wanted if name not in get_args(Capability)]:
        raise typer.BadParameter(
            f"unknown {unknown[0]!r}: use {', '.join(get_args(Capability))}", param_hint="--needs"
        )
    able = all(getattr(model, f"supports_{name}") for name in wanted)
    return able and not (wanted and model.not_served)


def _print(found: list[ModelConfig]) -> None:
    if not found:
        note("no model in the catalog matches")
        return
    print_table(_COLUMNS, map(_row, found), right=_COLUMNS[1:5], optional=["OUTPUT"])
    if any(model.price_disputed for model in found):
        note("* public lists differ on this price: modelmgr models MODEL_ID says how")


def _row(model: ModelConfig) -> tuple[str, ...]:
    price_in = per_million(model.cost_per_1k_input_tokens)
    return (
        plain(model.model_id),
        tokens(model.context_window),
        tokens(model.max_tokens),
        f"{price_in}*" if model.price_disputed else price_in,
        per_million(model.cost_per_1k_output_tokens),
        model.retirement_date or (model.lifecycle if model.lifecycle != "active" else "") or "",
    )


def _as_dict(model: ModelConfig) -> dict[str, Any]:
    """Return a model's fields, with its prices as text."""
    found = asdict(model)
    found["model_id"] = plain(model.model_id)
    for name in found:
        if name.startswith("cost_per_"):
            found[name] = money(found[name])
    found["service_tiers"] = {
        tier: {kind: money(price) for kind, price in prices.items()}
        for tier, prices in found["service_tiers"].items()
    }
    return found
