"""Checks a ModelManager end to end and prints one line per check; exit status 1 if any fails.

usage: python verify_model_manager.py [--aws] [--environment dev] [--config-dir config]

Without ``--aws`` everything runs against a local AWS. With ``--aws`` it runs against the real one,
which bills a few tokens per agent.
"""

from __future__ import annotations

import argparse
import logging
import signal
import sys
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

from langchain_modelmgr import ConfigurationManager, ModelManager, ModelManagerError
from langchain_modelmgr.checks import check_aws, check_configuration

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from langchain_modelmgr.checks import Finding
    from langchain_modelmgr.local import LocalAWS

HELLO = [{"role": "user", "content": [{"text": "Answer with one word: ready?"}]}]
Check = tuple[str, "Callable[[], str]"]


def checks(manager: ModelManager, aws: LocalAWS | None) -> Iterator[Check]:
    """Yield the name of each check, and a function that returns its result or raises an error."""
    config = manager.config
    agents = config.enabled_agents
    yield "configuration", lambda: f"{config.environment}: {', '.join(agents)}"
    yield "catalog", lambda: f"{len(manager.list_available_models())} models"
    for name in agents:
        yield f"chain of {name}", partial(_chain, manager, name)
    yield "models", lambda: _models(manager)
    yield "account", lambda: _account(manager)
    yield "compatibility", lambda: _compatibility(manager)
    for name in agents:
        yield f"live call of {name}", partial(_call, manager, name)
    if aws is not None:
        yield "fallback", lambda: _fallback(manager, aws, agents[0])
    yield "metrics", lambda: _metrics(manager, aws)
    yield "summary", lambda: _summary(manager)


def _chain(manager: ModelManager, name: str) -> str:
    limit = (manager.chat_model(name).profile or {}).get("max_input_tokens")
    models = [check.model_id for check in manager.check_chains() if check.agent_name == name]
    return f"{' -> '.join(models)} ({limit} input tokens)"


def _models(manager: ModelManager) -> str:
    found = check_configuration(manager)
    _raise_for_problems(found)
    retired = {f"{f.subject.partition(' of ')[0]} {f.text}" for f in found if "retired" in f.text}
    return "; ".join(sorted(retired)) or "all can serve their agents"


def _account(manager: ModelManager) -> str:
    found = check_aws(manager)
    _raise_for_problems(found)
    return f"{sum(f.status == 'ok' for f in found)} checks without a problem"


def _raise_for_problems(found: list[Finding]) -> None:
    if problems := [f"{f.subject}: {f.text} ({f.cure})" for f in found if f.status == "problem"]:
        raise AssertionError("; ".join(problems))


def _compatibility(manager: ModelManager) -> str:
    refused = [
        f"{row['model_id']}: {reason}"
        for row in manager.list_available_models()
        if (reason := manager.validate_model_compatibility(row["model_id"], requires_tools=True)[1])
    ]
    return "with tools refused: " + "; ".join(refused)


def _call(manager: ModelManager, name: str) -> str:
    result = manager.invoke_model(name, HELLO, max_tokens=16)
    cost = "price unknown" if result["cost"] is None else f"${result['cost']:.6f}"
    return f"{result['model_id']}, {result['latency_ms']:.0f} ms, {cost}"


def _fallback(manager: ModelManager, aws: LocalAWS, name: str) -> str:
    primary = manager.get_model_for_agent(name)
    aws.fail(primary, "ThrottlingException", times=1)
    result = manager.invoke_model(name, HELLO)
    if not result["fallback_used"]:
        raise AssertionError(f"{primary} was throttled, and {result['model_id']} answered")
    return f"{primary} throttled, {result['model_id']} answered"


def _metrics(manager: ModelManager, aws: LocalAWS | None) -> str:
    stats = manager.flush_metrics()
    namespace = manager.config.namespace
    attempts = manager.get_usage_summary()["attempts"]
    lost = stats.kept + stats.dropped + stats.ambiguous
    if lost or not stats.sent:
        raise AssertionError(
            f"{attempts} attempts: {stats.sent} data points sent to {namespace}, {lost} not"
        )
    published = attempts if aws is None else aws.metrics.sum(namespace, "ModelInvocations")
    if published != attempts:
        raise AssertionError(f"{attempts} attempts, {published:g} in CloudWatch")
    return f"{attempts} attempts in {namespace}"


def _summary(manager: ModelManager) -> str:
    summary = manager.get_usage_summary()
    return (
        f"{summary['total_invocations']} calls, ${summary['total_cost_usd']:.4f}, "
        f"{summary['average_latency_ms']:.2f} ms on average"
    )


def report(all_checks: Iterator[Check]) -> int:
    """Run the checks, print one line for each, and return how many failed."""
    failed = 0
    for name, check in all_checks:
        try:
            print(f"ok    {name}: {check()}")
        except (ModelManagerError, AssertionError) as error:
            failed += 1
            print(f"FAIL  {name}: {type(error).__name__}: {error}")
    return failed


def main(arguments: list[str] | None = None) -> int:
    """Run the checks selected by the arguments, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--aws", action="store_true", help="run against the real AWS")
    parser.add_argument("--environment", default="dev")
    parser.add_argument("--config-dir", default=None)
    options = parser.parse_args(arguments)
    log = logging.getLogger("langchain_modelmgr")
    with ExitStack() as stack:
        stack.callback(log.setLevel, log.level)
        log.setLevel(logging.ERROR)
        aws: Any = None
        if not options.aws:
            from langchain_modelmgr.local import LocalAWS

            aws = stack.enter_context(LocalAWS.running())
        try:
            config = ConfigurationManager(options.environment, options.config_dir)
        except ModelManagerError as error:
            print(f"FAIL  configuration: {error}")
            return 1
        manager = stack.enter_context(ModelManager(config))
        failed = report(checks(manager, aws))
    print(f"{failed} failed" if failed else "all passed")
    return 1 if failed else 0


if __name__ == "__main__":
    if hasattr(signal, "SIGPIPE"):  # end quietly if the reader of the output does, as ``head``
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    sys.exit(main())
