"""Checks that need no network: files, versions, catalog, region, credentials, chains, time-outs."""

from __future__ import annotations

import datetime as dt
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langchain_modelmgr.chain.keywords import outlasts
from langchain_modelmgr.chain.lifecycle import age_of_catalog
from langchain_modelmgr.checks.finding import Finding, attempted
from langchain_modelmgr.errors import BudgetStoreError, ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from langchain_modelmgr.chain.check import CandidateCheck
    from langchain_modelmgr.checks.finding import Status
    from langchain_modelmgr.manager import ModelManager

_PACKAGE = "langchain-modelmgr"

_REMOTE_PROVIDERS = frozenset({"container-role", "iam-role"})
"""botocore's credential providers that send requests."""


def check_configuration(manager: ModelManager) -> list[Finding]:
    """Check the configuration and this machine; nothing is sent.

    Args:
        manager: The manager of the configuration.

    Returns:
        The findings, in the order in which they should be read.
    """
    return [
        *attempted("files", "", lambda: _files(manager)),
        *attempted("versions", "", _versions),
        *attempted("catalog", "", _catalog),
        *attempted("region", "", lambda: _region(manager)),
        *attempted("credentials", "", lambda: _credentials(manager)),
        *attempted("chain", "", lambda: _chains(manager)),
        *attempted("time-out", "", lambda: _timeouts(manager)),
        *([] if is_remote(manager) else check_budgets(manager)),
    ]


def is_remote(manager: ModelManager) -> bool:
    """Return whether budgets are kept on another machine."""
    return "://" in manager.config.budgets.state


def check_budgets(manager: ModelManager) -> list[Finding]:
    """Check that the budgets' figures can be read."""
    return attempted("budgets", "", lambda: _budgets(manager))


def _budgets(manager: ModelManager) -> Iterator[Finding]:
    keys = manager.config.budgets
    if not keys.limits:
        return
    place = "valkey" if is_remote(manager) else keys.state
    try:
        found = manager.budget_status()
    except BudgetStoreError as error:
        stops = keys.is_required
        text = f"{error}; calls {'fail' if stops else 'go on with the last figures'}"
        cure = "start the server of state:, or check its URL, password and network"
        yield Finding("budgets", f"state {place}", "problem" if stops else "warning", text, cure)
        return
    spent = [f.name for f in found if f.remaining <= 0]
    for name in dict.fromkeys(spent):
        cure = f"raise its limit, or modelmgr budgets --reset {name}"
        yield Finding("budgets", name, "warning", "nothing is left in the current window", cure)
    if not spent:
        yield Finding("budgets", f"state {place}", "ok", f"{len(keys.limits)} budgets can be read")


def _files(manager: ModelManager) -> Iterator[Finding]:
    config = manager.config
    names = ", ".join(Path(name).name for name in config.texts)
    agents = len(config.enabled_agents)
    yield Finding("files", names, "ok", f"{agents} enabled agents in {config.config_dir}")


def _versions() -> Iterator[Finding]:
    from packaging.requirements import Requirement

    wrong = False
    for text in metadata.requires(_PACKAGE) or ():
        needed = Requirement(text)
        if needed.marker is not None and not needed.marker.evaluate({"extra": ""}):
            continue
        installed = metadata.version(needed.name)
        if needed.specifier.contains(installed, prereleases=True):
            continue
        wrong = True
        yield Finding(
            "versions",
            needed.name,
            "problem",
            f"{installed} is installed; needed is {needed.specifier}",
            f"pip install --upgrade '{needed.name}{needed.specifier}'",
        )
    if not wrong:
        aws = ", ".join(f"{name} {metadata.version(name)}" for name in ("langchain-aws", "boto3"))
        yield Finding("versions", f"{_PACKAGE} {metadata.version(_PACKAGE)}", "ok", f"with {aws}")


def _catalog() -> Iterator[Finding]:
    from langchain_modelmgr.catalog.shipped import read_on

    old = list(age_of_catalog(dt.datetime.now(dt.UTC).date()))
    for text in old:
        yield Finding("catalog", "", "warning", text, f"pip install --upgrade {_PACKAGE}")
    if not old:
        yield Finding("catalog", "", "ok", f"prices and lifecycles of {read_on()}")


def _region(manager: ModelManager) -> Iterator[Finding]:
    region = manager.clients.region
    if region:
        yield Finding("region", region, "ok", "for models without a region of their own")
    else:
        cure = f"set aws.region in {manager.config.environment}.yaml, or AWS_REGION"
        yield Finding("region", "", "problem", "no region is set", cure)


def _credentials(manager: ModelManager) -> Iterator[Finding]:
    try:
        session = manager.clients.session
    except ConfigurationError as error:
        cure = "aws configure list-profiles"
        yield Finding("credentials", "", "problem", str(error), cure)
        return
    found = _source_of_credentials(session)
    if found:
        yield Finding("credentials", found, "ok", "found; --live shows whether AWS accepts them")
        return
    yield Finding(
        "credentials",
        "",
        "warning",
        "none in the environment or in AWS's files; a role of this machine or container is found "
        "by --live only",
        "aws sso login, aws configure, or AWS_PROFILE; then modelmgr doctor --live",
    )


def _source_of_credentials(session: Any) -> str | None:
    """Return the name of the provider that has credentials, without a request; None: none has."""
    core = session._session  # noqa: SLF001 - boto3 has no public way to botocore's session
    if (known := getattr(core, "_credentials", None)) is not None:
        return str(getattr(known, "method", None) or "session")
    resolver = core.get_component("credential_provider")
    for provider in resolver.providers:
        if provider.METHOD not in _REMOTE_PROVIDERS and provider.load() is not None:
            return str(provider.METHOD)
    return None


def _chains(manager: ModelManager) -> Iterator[Finding]:
    """Yield each finding about a model once, with the agents that it concerns."""
    general = set(age_of_catalog(dt.datetime.now(dt.UTC).date()))  # a finding of its own
    checks = manager.check_chains()
    agents: dict[tuple[str, Status, str], list[str]] = {}
    for check in checks:
        stops = check.position == 0 or _is_stopped(check.agent_name, checks)
        status: Status = "problem" if stops else "warning"
        found: list[tuple[Status, str]] = [(status, text) for text in check.problems]
        found += [("warning", text) for text in check.warnings if text not in general]
        for status, text in found or [("ok", "can serve")]:
            agents.setdefault((check.model_id, status, text), []).append(check.agent_name)
    for (model_id, status, text), names in agents.items():
        cure = "" if status == "ok" else _cure(manager, names[0], text)
        yield Finding("chain", f"{model_id} of {', '.join(names)}", status, text, cure)


def _is_stopped(agent: str, checks: Sequence[CandidateCheck]) -> bool:
    """Return whether no model of an agent's chain can serve it."""
    return all(check.problems for check in checks if check.agent_name == agent)


def _cure(manager: ModelManager, agent: str, text: str) -> str:
    environment = manager.config.environment
    if text.startswith(("retired", "legacy")):
        return f"modelmgr migrate {agent} -e {environment}"
    if "price" in text or "not in the catalog" in text:
        return f"describe the model under models: in {environment}.yaml"
    if "ARN" in text:
        return f"set base_model, or modelmgr doctor --live -e {environment}"
    return f"modelmgr show {agent} -e {environment}"


def _timeouts(manager: ModelManager) -> Iterator[Finding]:
    for name in manager.config.enabled_agents:
        agent = manager.config.agent(name)
        limit = min(agent.timeout_seconds, agent.deadline_seconds)
        found = False
        for candidate in manager.agent(name).chain().candidates:
            max_tokens = candidate.settings.request_fields.get("max_tokens")
            if max_tokens and outlasts(max_tokens, limit):
                found = True
                yield Finding(
                    "time-out",
                    f"{name}: {candidate.public_id}",
                    "warning",
                    f"{max_tokens} tokens without streaming take longer than {limit:g} s",
                    "stream, lower max_tokens, or raise timeout_seconds and deadline_seconds",
                )
        if not found:
            text = f"timeout_seconds {agent.timeout_seconds:g}, deadline_seconds "
            yield Finding("time-out", name, "ok", f"{text}{agent.deadline_seconds:g}")
