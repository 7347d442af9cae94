"""Holds every chain against what its agent needs, before an outage does."""

from __future__ import annotations

import datetime as dt
import time
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from langchain_core.messages import HumanMessage

from langchain_modelmgr.bedrock.adaptation import OriginalRequest, fitted
from langchain_modelmgr.bedrock.time_budget import TimeBudget
from langchain_modelmgr.chain.compatibility import Needs, check
from langchain_modelmgr.chain.lifecycle import age_of_catalog, life_of
from langchain_modelmgr.chain.request import AttemptRequest, ChatRequest, thinking_parameters
from langchain_modelmgr.chain.resolution import resolve
from langchain_modelmgr.errors import BedrockError
from langchain_modelmgr.runtime.html_table import data_frame, html_table
from langchain_modelmgr.usage.meter import Meter
from langchain_modelmgr.usage.totals import CallUsage, Run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from langchain_modelmgr.catalog import ModelCatalog, ModelConfig
    from langchain_modelmgr.chain.candidate import Candidate
    from langchain_modelmgr.chain.request import CandidateSettings
    from langchain_modelmgr.config import AgentConfig, ConfigurationManager
    from langchain_modelmgr.usage.totals import UsageTotals

_TIMEOUT = 30.0
"""Seconds that a live check may wait for an answer."""

_INFERENCE = {
    "max_tokens": "maxTokens",
    "temperature": "temperature",
    "top_p": "topP",
    "stop_sequences": "stopSequences",
}
"""Request parameters by their names in a Converse request."""

_THINKING = ("additional_model_request_fields", "reasoning_effort")
"""Parameters that a 1-token call can't keep: thinking wants a larger budget."""


@dataclass(frozen=True, slots=True)
class CandidateCheck:
    """What one model of an agent's chain is worth to the agent.

    Attributes:
        agent_name: The agent.
        model_id: The model, an ARN without its account id.
        position: Its place in the chain; 0: the agent's own.
        problems: Why it could not serve the agent.
        warnings: What it could not serve, or what is not known of it.
        answered: Whether it answered a 1-token call; None: it was not asked.
        latency_ms: Milliseconds that this call took; None: it was not asked.
    """

    agent_name: str
    model_id: str
    position: int
    problems: tuple[str, ...]
    warnings: tuple[str, ...] = ()
    answered: bool | None = None
    latency_ms: float | None = None

    @property
    def ok(self) -> bool:
        """True if nothing is known that would keep it from serving the agent."""
        return not self.problems


class ChainChecks(list[CandidateCheck]):
    """A list of checks, by agent and position, which Jupyter shows as a table."""

    def to_pandas(self) -> Any:
        """Return the checks as a DataFrame.

        Raises:
            ImportError: pandas is not installed.
        """
        return data_frame(
            (asdict(check) for check in self), [f.name for f in fields(CandidateCheck)]
        )

    def _repr_html_(self) -> str:
        failing = sum(not check.ok for check in self)
        caption = f"{len(self)} models checked, {failing} with problems"
        return html_table(caption, _SHOWN, (_row(check) for check in self))


_SHOWN = ("agent", "position", "model", "ok", "problems", "warnings", "answered", "latency_ms")


def _row(check: CandidateCheck) -> dict[str, Any]:
    return {
        "agent": check.agent_name,
        "position": check.position,
        "model": check.model_id,
        "ok": check.ok,
        "problems": "; ".join(check.problems),
        "warnings": "; ".join(check.warnings),
        "answered": check.answered,
        "latency_ms": check.latency_ms,
    }


def check_chain(
    agent_name: str,
    config: ConfigurationManager,
    candidates: tuple[Candidate, ...],
    retired_are_served: Callable[[], bool],
    ask: UsageTotals | None,
) -> list[CandidateCheck]:
    """Return the members of an agent's chain.

    Args:
        agent_name: The agent.
        config: Its configuration.
        candidates: Its chain.
        retired_are_served: Whether models past their end answer, as the local AWS lets them.
        ask: Where a call to each member is recorded; None: none is called.
    """
    if ask is not None:
        resolve(candidates, _TIMEOUT)
    agent, today = config.agent(agent_name), dt.datetime.now(dt.UTC).date()
    members = list(
        members_of(agent_name, agent, candidates, config.catalog, today, retired_are_served)
    )
    if ask is None:
        return members
    return [asked(m, c, ask) for m, c in zip(members, candidates, strict=True)]


def members_of(  # noqa: PLR0913, PLR0917 - an agent, its chain, and what it is held against
    agent_name: str,
    agent: AgentConfig,
    candidates: tuple[Candidate, ...],
    catalog: ModelCatalog,
    today: dt.date,
    retired_are_served: Callable[[], bool] = lambda: False,
) -> Iterator[CandidateCheck]:
    """Yield the members of an agent's chain, judged by what the catalog knows of them."""
    primary = candidates[0].settings.model
    needs = Needs.of_agent(agent.requires)
    for position, candidate in enumerate(candidates):
        model = candidate.settings.model
        life = life_of(model, catalog, today, retired_are_served)
        problems = [*_unable(needs, candidate), *life.problems]
        warnings = [*_unknown(model, catalog), *life.warnings, *_unforced(candidate)]
        warnings += _uncached(model, agent)
        warnings += _left_out(candidate.settings)
        warnings += _doubts(candidate)
        warnings += _weaker(model, primary) if position else age_of_catalog(today)
        yield CandidateCheck(
            agent_name, candidate.public_id, position, tuple(problems), tuple(warnings)
        )


def asked(member: CandidateCheck, candidate: Candidate, totals: UsageTotals) -> CandidateCheck:
    """Return the member after a call of one token, which is accounted like any other."""
    spec = candidate.settings
    plain = {k: v for k, v in spec.request_fields.items() if k not in _THINKING}
    tried = candidate.like(replace(spec, request_fields=plain))
    usage = CallUsage(totals, member.agent_name, Run(tags=("check_chains",)))

    def enter(ended: Meter) -> None:
        usage.attempt_ended(ended, spec.model)

    def leave(meter: Meter) -> None:
        usage.attempt_started(meter, spec.model)

    meter = Meter(spec.model.model_id, enter, on_send=leave)
    request = ChatRequest([HumanMessage("Hi")], None, {"max_tokens": 1}, Needs(), _TIMEOUT)
    time_budget = TimeBudget(_TIMEOUT, time.perf_counter() + _TIMEOUT, candidate.watchdog)
    error: str | None = None
    try:
        tried.invoke(AttemptRequest(request, meter, time_budget))
    except BedrockError as failure:
        error = f"{type(failure).__name__}: {failure}"
    usage.call_ended(answered=error is None, latency_ms=meter.latency_ms)
    problems = member.problems if error is None else (*member.problems, error)
    return replace(member, problems=problems, answered=error is None, latency_ms=meter.latency_ms)


def _unable(needs: Needs, candidate: Candidate) -> Iterator[str]:
    needed = check(needs, candidate.settings.model)
    plain = candidate.unsuited_because(ChatRequest([], None, {}, Needs(), _TIMEOUT))
    yield from dict.fromkeys(reason for reason in (needed, plain) if reason)


def _unforced(candidate: Candidate) -> Iterator[str]:
    """Yield that thinking, which the YAML turns on, keeps the model from a forced tool choice."""
    model = candidate.settings.model
    thinking = thinking_parameters(candidate.settings.request_fields, {}, model=model)
    if not model.supports_tools or not thinking:
        return
    wanted: dict[str, Any] = {"tool_choice": "any"}
    request = ChatRequest([], None, wanted, Needs(tool_choice="any"), _TIMEOUT)
    if candidate.unsuited_because(request):
        yield (
            "can't be forced to call a tool while it thinks: structured output does not force "
            "the tool call"
        )


def _left_out(spec: CandidateSettings) -> Sequence[str]:
    """Return what of the agent's own parameters the model does not get."""
    given = spec.request_fields
    inference = {
        on_the_wire: given[name]
        for name, on_the_wire in _INFERENCE.items()
        if given.get(name) is not None
    }
    request: dict[str, Any] = {
        "messages": [],
        "inferenceConfig": inference,
        "additionalModelRequestFields": given.get("additional_model_request_fields"),
        "serviceTier": {"type": given.get("service_tier")},
    }
    return fitted(request, spec.model, OriginalRequest(left_out=spec.left_out))[1]


def _uncached(model: ModelConfig, agent: AgentConfig) -> Iterator[str]:
    """Yield what of the agent's prompt caching the model does not do."""
    if agent.prompt_caching is None:
        return
    ttl = agent.prompt_caching.ttl
    if model.in_catalog and not model.supports_prompt_caching:
        yield "has no prompt cache: prompt_caching has no effect"
    elif model.cache_lifetimes is not None and ttl not in model.cache_lifetimes:
        yield f"does not cache prompts for {ttl}: they are cached for {model.cache_lifetimes[0]}"


def _doubts(candidate: Candidate) -> Iterator[str]:
    if doubt := candidate.settings.doubt:
        yield doubt


def _unknown(model: ModelConfig, catalog: ModelCatalog) -> Iterator[str]:
    if model.base_model_id is None:
        yield "the model of this ARN is not known yet: check with live=True, or set base_model"
    elif not model.in_catalog:
        meant = catalog.did_you_mean(model.model_id)
        yield f"not in the catalog{meant}: its capabilities are unknown and assumed"
    if model.cost_per_1k_input_tokens is None or model.cost_per_1k_output_tokens is None:
        yield f"its price is unknown: {model.price_unknown or 'describe it under models:'}"
    elif model.price_disputed:
        yield f"its price is disputed: {model.price_disputed}"


def _weaker(model: ModelConfig, primary: ModelConfig) -> Iterator[str]:
    """Yield what the primary can serve and this fallback can't."""
    for able, could, what in (
        (model.supports_tools, primary.supports_tools, "tools"),
        (model.supports_images, primary.supports_images, "images"),
        (model.supports_documents, primary.supports_documents, "documents"),
        (model.supports_video, primary.supports_video, "video"),
        (model.supports_audio, primary.supports_audio, "audio"),
        (model.supports_search_results, primary.supports_search_results, "search results"),
        (model.supports_s3_sources, primary.supports_s3_sources, "sources in Amazon S3"),
        (model.supports_streaming, primary.supports_streaming, "streaming"),
        (_can_be_forced(model), _can_be_forced(primary), "a forced tool choice"),
    ):
        if could and able is False:
            yield f"does not support {what}, which the agent's primary model does"
    window, wanted = model.context_window, primary.context_window
    if window and wanted and window < wanted:
        yield f"its context window of {window:,} tokens is smaller than the primary's {wanted:,}"


_FORCED = "any"


def _can_be_forced(model: ModelConfig) -> bool | None:
    return None if model.tool_choices is None else _FORCED in model.tool_choices
