"""The input of a chain, the settings of its calls, and the outcome of a call."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from langchain_modelmgr.budgets.call_budget import CallBudget
    from langchain_modelmgr.chain.candidate import Candidate
    from langchain_modelmgr.chain.compatibility import Needs
    from langchain_modelmgr.chain.cooldown import Cooldowns
    from langchain_modelmgr.chain.request import ChatRequest
    from langchain_modelmgr.runtime.watchdog import Watchdog
    from langchain_modelmgr.tracing.call_span import OpenTelemetrySpans
    from langchain_modelmgr.usage.meter import Meter
    from langchain_modelmgr.usage.totals import CallUsage


@dataclass(slots=True)
class CallOutcome:
    """The result of a call, apart from its answer; set when it is answered.

    Attributes:
        meter: The meter of the attempt that was answered.
        report: The content of ``response_metadata["model_manager"]``.
    """

    meter: Meter | None = None
    report: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class ChainInput:
    """The input of a chain: a request, its call's usage and budgets, and the outcome to fill in."""

    request: ChatRequest
    usage: CallUsage
    budget: CallBudget | None = None
    outcome: CallOutcome = field(default_factory=CallOutcome)


@dataclass(frozen=True, slots=True)
class ChainRules:
    """The settings of a chain's calls.

    Attributes:
        agent_name: The agent, for logs and errors.
        environment: The configuration's environment, for errors.
        max_retries: Further attempts of the last candidate after transient failures.
        deadline_seconds: Longest time of a whole call.
        cooldown_seconds: Length of the first cooldown of a model that keeps failing; 0: none.
        cooldowns: The health of all models.
        watchdog: The thread that ends streams which wait too long.
        spans: Makes the OpenTelemetry spans of calls; None: none are made.
        degrade_to: The models of ``degrade_to``, by the budget's name.
        alternatives: Returns the configured models that meet some needs, for an error's text.
    """

    agent_name: str
    environment: str
    max_retries: int
    deadline_seconds: float
    cooldown_seconds: float
    cooldowns: Cooldowns
    watchdog: Watchdog
    alternatives: Callable[[Needs], Sequence[str]]
    degrade_to: Mapping[str, Candidate] = field(default_factory=dict)
    spans: OpenTelemetrySpans | None = None
