"""Calls each model of each chain for one token, and says before what that costs."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from langchain_modelmgr.checks.finding import Finding
from langchain_modelmgr.usage.pricing import TokenCounts, cost_of

if TYPE_CHECKING:
    from langchain_modelmgr.chain.candidate import Candidate
    from langchain_modelmgr.manager import ModelManager

_USAGE = TokenCounts(input_tokens=20, output_tokens=1)
"""Upper bound of one call: the prompt is one word."""


def cost_of_calls(manager: ModelManager) -> tuple[int, Decimal, int]:
    """Return the number of calls, their cost in USD at most, and how many have no known price."""
    costs = [cost_of(_USAGE, candidate.settings.model) for candidate in _candidates(manager)]
    known = [cost for cost in costs if cost is not None]
    return len(costs), sum(known, Decimal()), len(costs) - len(known)


def call_each_model(manager: ModelManager) -> list[Finding]:
    """Send one token to each model of each chain; the calls are billed and recorded like others."""
    checks = manager.check_chains(live=True)
    answering = {check.agent_name for check in checks if check.answered}
    found = []
    for check in checks:
        subject = f"{check.agent_name}: {check.model_id}"
        if check.answered:
            found.append(Finding("call", subject, "ok", f"answered in {check.latency_ms:.0f} ms"))
            continue
        stops = check.position == 0 or check.agent_name not in answering
        text = check.problems[-1] if check.problems else "did not answer"
        cure = f"modelmgr doctor --live -e {manager.config.environment}"
        found.append(Finding("call", subject, "problem" if stops else "warning", text, cure))
    return found


def _candidates(manager: ModelManager) -> list[Candidate]:
    return [
        candidate
        for name in manager.config.enabled_agents
        for candidate in manager.agent(name).chain().candidates
    ]
