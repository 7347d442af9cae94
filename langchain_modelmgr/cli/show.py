"""``modelmgr show``: what is resolved for each agent, from which line, and its chain."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from langchain_modelmgr.cli.options import AsJson, ConfigDir, Environment, read_config
from langchain_modelmgr.cli.output import print_facts, print_json, print_table, say
from langchain_modelmgr.cli.places import DEFAULT, place, relative
from langchain_modelmgr.cli.values import money, per_million, plain

if TYPE_CHECKING:
    from collections.abc import Iterator

    from langchain_modelmgr.chain.check import CandidateCheck
    from langchain_modelmgr.config import ConfigurationManager
    from langchain_modelmgr.manager import ModelManager

EXAMPLE = "Example: `modelmgr show sql_agent -e prod`"

_CHAIN = ("MODEL", "REGION", "$/M IN", "$/M OUT", "VERDICT")
_AGENTS = ("AGENT", "$/M IN", "$/M OUT", "VERDICT")
_NUMBERS = ("$/M IN", "$/M OUT")
_OWN = ("enabled", "fallbacks", "model")


def show(
    agent: Annotated[
        str | None,
        typer.Argument(metavar="[AGENT]", help="Show all of this agent.", show_default=False),
    ] = None,
    environment: Environment = None,
    config_dir: ConfigDir = None,
    as_json: AsJson = False,
) -> None:
    """Show what is resolved, from which file and line, and each chain with verdicts and prices.

    Nothing is sent: verdicts follow from the catalog. Prices are USD per million tokens.
    """
    from langchain_modelmgr.manager import ModelManager

    config = read_config(environment, config_dir)
    names = (agent,) if agent else config.enabled_agents
    if agent:
        config.agent(agent)
    with ModelManager(config, sinks=[]) as manager:
        checks = manager.check_chains()
        shown = {
            name: _agent(manager, name, [c for c in checks if c.agent_name == name])
            for name in names
        }
        region = _region(manager)
    if as_json and agent:
        print_json(shown[agent])
    elif as_json:
        where = {"environment": config.environment, "config_dir": str(config.config_dir)}
        print_json({**where, "region": region["value"], "agents": shown})
    elif agent:
        _print_agent(agent, shown[agent], region)
    else:
        _print_all(config, shown, region)


def _agent(manager: ModelManager, name: str, checks: list[CandidateCheck]) -> dict[str, Any]:
    """Return an agent's settings, each with its place, and its chain."""
    config = manager.config
    settings = config.agent(name)
    own_model = config.located("agents", name, "model") is not None
    model_keys = ("agents", name, "model") if own_model else ("agents", "default_model")
    found = {"model": {"value": plain(settings.chosen_model), "from": place(config, *model_keys)}}
    for key, value in settings.model_dump(mode="json", exclude=set(_OWN)).items():
        at = place(config, "agents", name, key)
        if at != DEFAULT or value not in (None, [], {}):
            found[key] = {"value": value, "from": at}
    at = place(config, "agents", name, "fallbacks")
    return {
        "agent": name,
        "from": place(config, "agents", name),
        "settings": found,
        "fallbacks_from": "family rule" if at == DEFAULT else at,
        "chain": list(_chain(manager, name, checks)),
    }


def _chain(
    manager: ModelManager, name: str, checks: list[CandidateCheck]
) -> Iterator[dict[str, Any]]:
    for check, candidate in zip(checks, manager.agent(name).chain().candidates, strict=True):
        model = candidate.settings.model
        yield {
            "model_id": check.model_id,
            "region": candidate.settings.region,
            "verdict": _verdict(check),
            "problems": list(check.problems),
            "warnings": list(check.warnings),
            "cost_per_1k_input_tokens": money(model.cost_per_1k_input_tokens),
            "cost_per_1k_output_tokens": money(model.cost_per_1k_output_tokens),
            "retirement_date": model.retirement_date,
        }


def _verdict(check: CandidateCheck) -> str:
    if check.problems:
        return "problem"
    return "warning" if check.warnings else "ok"


def _prices(row: dict[str, Any]) -> tuple[str, str]:
    into, out = row["cost_per_1k_input_tokens"], row["cost_per_1k_output_tokens"]
    return per_million(into), per_million(out)


def _region(manager: ModelManager) -> dict[str, str | None]:
    at = place(manager.config, "aws", "region")
    found = manager.clients.known_region
    return {"value": found, "from": "AWS settings" if found and at == DEFAULT else at}


def _print_all(
    config: ConfigurationManager, shown: dict[str, Any], region: dict[str, str | None]
) -> None:
    where = f"region {region['value']} ({region['from']})" if region["value"] else "region not set"
    say(f"environment {config.environment}, {relative(str(config))}, {where}\n")
    rows: list[tuple[str, ...]] = []
    for name, found in shown.items():
        rows.append((name, "", "", found["from"]))
        rows += [(f"  {row['model_id']}", *_prices(row), row["verdict"]) for row in found["chain"]]
    rows += [
        (name, "", "", "disabled")
        for name in config.agent_names
        if name not in config.enabled_agents
    ]
    print_table(_AGENTS, rows, right=_NUMBERS)
    if any(row["verdict"] != "ok" for found in shown.values() for row in found["chain"]):
        say("\nmodelmgr show AGENT says why a verdict is not ok")


def _print_agent(name: str, found: dict[str, Any], region: dict[str, str | None]) -> None:
    say(f"{name}  {found['from']}\n")
    settings = {**found["settings"], "region": region}
    rows = [(key, _text(s["value"]), s["from"]) for key, s in settings.items()]
    print_table(("SETTING", "VALUE", "FROM"), rows)
    say(f"\nchain, fallbacks from {found['fallbacks_from']}\n")
    chain = [
        (row["model_id"], row["region"] or "", *_prices(row), row["verdict"])
        for row in found["chain"]
    ]
    unused = [] if any(row["region"] for row in found["chain"]) else ["REGION"]
    print_table(_without(_CHAIN, unused), [_cells(c, unused) for c in chain], right=_NUMBERS)
    for row in found["chain"]:
        if findings := [*_labelled("problem", row), *_labelled("warning", row)]:
            say(f"\n{row['model_id']}")
            print_facts(findings)


def _labelled(kind: str, row: dict[str, Any]) -> list[tuple[str, str]]:
    return [(kind, text) for text in row[f"{kind}s"]]


def _without(columns: tuple[str, ...], unused: list[str]) -> list[str]:
    return [name for name in columns if name not in unused]


def _cells(row: tuple[str, ...], unused: list[str]) -> list[str]:
    return [cell for name, cell in zip(_CHAIN, row, strict=True) if name not in unused]


def _text(value: Any) -> str:
    if value is None:
        return "not set"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if isinstance(value, dict):
        return ", ".join(f"{key}: {entry}" for key, entry in value.items())
    return str(value)
