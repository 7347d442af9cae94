"""``modelmgr doctor``: whether the agents can work, and what to do where they can't."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from langchain_modelmgr.cli.options import AsJson, ConfigDir, Environment, read_config
from langchain_modelmgr.cli.output import note, print_facts, print_json, say
from langchain_modelmgr.cli.places import relative
from langchain_modelmgr.runtime.money_text import usd

if TYPE_CHECKING:
    from collections.abc import Iterator

    from langchain_modelmgr.checks import Finding
    from langchain_modelmgr.checks.finding import Status
    from langchain_modelmgr.manager import ModelManager

EXAMPLE = "Example: `modelmgr doctor --live -e prod`"

_STYLES = {"ok": "green", "warning": "yellow", "problem": "red", "unchecked": "dim"}
_STATUSES: tuple[Status, ...] = ("ok", "unchecked", "warning", "problem")
"""The order in which findings are shown: the last lines of a terminal are read first."""

_PLURAL = {"problem": "problems", "warning": "warnings"}

_NOT_ASKED = "identity, clock, model access, inference profiles, guardrails, metrics permission"


def doctor(
    live: Annotated[
        bool, typer.Option("--live", metavar="", help="Also ask AWS; nothing is billed or changed.")
    ] = False,
    call: Annotated[
        bool,
        typer.Option(
            "--call", metavar="", help="Also send one token to each model, which is billed."
        ),
    ] = False,
    environment: Environment = None,
    config_dir: ConfigDir = None,
    as_json: AsJson = False,
) -> None:
    """Check whether the agents can work; each finding says what to do.

    Without options nothing is sent. The exit status is 0 if all is well or there are warnings, 1
    if an agent can't use its model, 2 for a mistake in the files or arguments.
    """
    from langchain_modelmgr.checks import worst
    from langchain_modelmgr.manager import ModelManager

    config = read_config(environment, config_dir)
    # Calls are recorded like any other; without calls there is nothing to record.
    with ModelManager(config, sinks=None if call else []) as manager:
        found = list(_findings(manager, live=live, call=call))
    status = worst(found)
    if as_json:
        where = {"environment": config.environment, "config_dir": str(config.config_dir)}
        print_json({**where, "status": status, "findings": [asdict(f) for f in found]})
    else:
        say(f"environment {config.environment}, {relative(str(config))}\n")
        _print(found)
    if status == "problem":
        raise typer.Exit(1)


def _findings(manager: ModelManager, *, live: bool, call: bool) -> Iterator[Finding]:
    from langchain_modelmgr import checks

    yield from checks.check_configuration(manager)
    if live:
        note("asking AWS ...")
        yield from checks.check_aws(manager)
    else:
        yield checks.Finding("AWS", "", "unchecked", _NOT_ASKED, "modelmgr doctor --live")
    if call:
        count, cost, unpriced = checks.cost_of_calls(manager)
        unknown = f", and {unpriced} with an unknown price" if unpriced else ""
        note(f"sending one token to each of {count} models: at most {usd(cost)}{unknown}")
        yield from checks.call_each_model(manager)
    else:
        text = "whether each model answers"
        yield checks.Finding("calls", "", "unchecked", text, "modelmgr doctor --call")


def _print(found: list[Finding]) -> None:
    for finding in sorted(found, key=lambda finding: _STATUSES.index(finding.status)):
        subject = f"{finding.subject}: " if finding.subject else ""
        rows = [(f"{finding.status:9}", f"{finding.check}: {subject}{finding.text}")]
        if finding.cure:
            rows.append(("", f"-> {finding.cure}"))
        print_facts(rows, indent=0, style=_STYLES[finding.status])
    counts = Counter(finding.status for finding in found)
    say(
        "\n"
        + ", ".join(_counted(status, counts) for status in reversed(_STATUSES) if counts[status])
    )


def _counted(status: Status, counts: Counter[Status]) -> str:
    count = counts[status]
    return f"{count} {_PLURAL.get(status, status) if count > 1 else status}"
