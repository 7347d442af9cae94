"""``modelmgr migrate``: the successor of a model at its end, what breaks, and the YAML's diff."""

from __future__ import annotations

import difflib
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from langchain_modelmgr.cli.model_changes import changes
from langchain_modelmgr.cli.options import AsJson, ConfigDir, Environment, read_config
from langchain_modelmgr.cli.output import note, print_facts, print_json, say
from langchain_modelmgr.cli.places import relative
from langchain_modelmgr.cli.values import plain

if TYPE_CHECKING:
    from collections.abc import Iterator

    from langchain_modelmgr.config import ConfigurationManager
    from langchain_modelmgr.config.yaml_tree import Located
    from langchain_modelmgr.manager import ModelManager

EXAMPLE = "Example: `modelmgr migrate sql_agent -e prod | git apply`"

_VARIABLE = "${"


def migrate(
    agent: Annotated[str, typer.Argument(metavar="AGENT", help="The key under agents:.")],
    environment: Environment = None,
    config_dir: ConfigDir = None,
    as_json: AsJson = False,
) -> None:
    """Show the successors of an agent's models at their end, what breaks, and the YAML's diff.

    Nothing is written: `patch` and `git apply` take the output.
    """
    from langchain_modelmgr.manager import ModelManager

    config = read_config(environment, config_dir)
    config.agent(agent)
    with ModelManager(config, sinks=[]) as manager:
        moves = list(_moves(manager, agent))
    diff, left = _diff(config, agent, {m["model_id"]: m["successor"] for m in moves})
    if as_json:
        print_json({"agent": agent, "moves": [_masked(m) for m in moves], "diff": diff})
        return
    if not moves:
        say(f"no model of {agent} is near its end")
    for move in moves:
        _print(move)
    if diff:
        say()
        typer.echo(diff, nl=False)
    for text in left:
        note(text)


def _moves(manager: ModelManager, agent: str) -> Iterator[dict[str, Any]]:
    """Yield each model of the agent's YAML at its end, its successor, and what changes."""
    today = datetime.now(UTC).date()
    for model_id in dict.fromkeys(manager.config.models_of(agent)):
        model = manager.catalog.get(model_id)
        if model is None or model.lifecycle_on(today) not in ("legacy", "retired"):
            continue
        successor = manager.catalog.successor_of(model_id)
        yield {
            "model_id": model_id,
            "lifecycle": model.lifecycle_on(today),
            "retirement_date": model.retirement_date,
            "successor": successor,
            "changes": dict(changes(manager, agent, model, successor)) if successor else {},
        }


def _print(move: dict[str, Any]) -> None:
    when = f", {move['retirement_date']}" if move["retirement_date"] else ""
    say(f"{plain(move['model_id'])}  {move['lifecycle']}{when}")
    facts = [("successor", plain(move["successor"] or "none known: choose from modelmgr models"))]
    if move["successor"]:
        found = [(k, t) for k, texts in move["changes"].items() for t in texts]
        facts += found or [("breaks", "nothing that the catalog knows of")]
    print_facts(facts)


def _masked(move: dict[str, Any]) -> dict[str, Any]:
    successor = move["successor"] and plain(move["successor"])
    return {**move, "model_id": plain(move["model_id"]), "successor": successor}


def _diff(
    config: ConfigurationManager, agent: str, successors: dict[str, str | None]
) -> tuple[str, list[str]]:
    """Return the diff of the files, and what must be changed by hand."""
    lines = {path: text.splitlines(keepends=True) for path, text in config.texts.items()}
    left = []
    for found in _ids(config, agent):
        successor = successors.get(found.value)
        if successor is not None:
            line = lines[found.file][found.line - 1]
            whole = rf"(?<![\w.:/-]){re.escape(found.value)}(?![\w.:/-])"
            lines[found.file][found.line - 1] = re.sub(whole, successor, line)
        elif successors and _VARIABLE in found.value:
            at = f"{relative(found.file)}:{found.line}"
            left.append(f"{at}: the model id is in a variable: change it where that is set")
    left += _twice(config, agent, successors)
    return "".join(_file_diff(config, path, after) for path, after in lines.items()), left


def _twice(
    config: ConfigurationManager, agent: str, successors: dict[str, str | None]
) -> Iterator[str]:
    """Yield each model that would be in the agent's chain more often than before."""
    before = config.models_of(agent)
    after = [successors.get(model_id) or model_id for model_id in before]
    for model_id in dict.fromkeys(after):
        if after.count(model_id) > max(1, before.count(model_id)):
            yield f"{plain(model_id)} would be twice in the chain: remove one, or choose another"


def _file_diff(config: ConfigurationManager, path: str, after: list[str]) -> str:
    before = config.texts[path].splitlines(keepends=True)
    name = relative(path).lstrip("/")
    return "".join(difflib.unified_diff(before, after, f"a/{name}", f"b/{name}"))


def _ids(config: ConfigurationManager, agent: str) -> Iterator[Located]:
    """Yield the model ids of an agent as the files have them."""
    own = config.located("agents", agent, "model") or config.located("agents", "default_model")
    if own is not None:
        yield own
    fallbacks = config.located("agents", agent, "fallbacks")
    for entry in fallbacks.value or () if fallbacks else ():
        yield entry.value["model"] if isinstance(entry.value, dict) else entry
