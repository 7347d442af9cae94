"""Checks whether every model of a chain can serve its agent."""

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
"""Maximum duration of a live check, in seconds."""

_INFERENCE = {
    "max_tokens": "maxTokens",
    "temperature": "temperature",
    "top_p": "topP",
    "stop_sequences": "stopSequences",
}
"""Request parameters and their names in a Converse request."""

_THINKING = ("additional_model_request_fields", "reasoning_effort")
"""Parameters removed from a 1-token call: thinking requires a larger budget."""


@dataclass(frozen=True, slots=True)
class CandidateCheck:
    """Result of the check of one model in an agent's chain.

    Attributes:
        agent_name: The agent.
        model_id: The model, an ARN without its account id.
        position: Its place in the chain; 0 is the primary.
        problems: Reasons why the model can't serve the agent.
        warnings: Requests that it can't serve, and unknown facts about it.
        answered: Whether it answered a 1-token call; None if no call was made.
        latency_ms: Milliseconds that this call took; None if no call was made.
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
        """True if there is no known problem."""
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
    totals: UsageTotals | None,
) -> list[CandidateCheck]:
    """Return one check for each model of an agent's chain.

    Args:
        agent_name: The agent.
        config: Its configuration.
        candidates: Its chain.
        retired_are_served: Whether retired models answer, as with the local AWS.
        totals: Where a call to each model is recorded; None: make no calls.
    """
    if totals is not None:
        resolve(candidates, _TIMEOUT)
    agent, today = config.agent(agent_name), dt.datetime.now(dt.UTC).date()
    checks = list(
        checks_of(agent_name, agent, candidates, config.catalog, today, retired_are_served)
    )
    if totals is None:
        return checks
    return [called(m, c, totals) for m, c in zip(checks, candidates, strict=True)]


def checks_of(  # noqa: PLR0913, PLR0917 - an agent, its chain, and facts about models
    agent_name: str,
    agent: AgentConfig,
    candidates: tuple[Candidate, ...],
    catalog: ModelCatalog,
    today: dt.date,
    retired_are_served: Callable[[], bool] = lambda: False,
) -> Iterator[CandidateCheck]:
    """Yield one check for each model of an agent's chain, based on the catalog."""
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


def called(check_: CandidateCheck, candidate: Candidate, totals: UsageTotals) -> CandidateCheck:
    """Return the check with the result of a 1-token call, which is recorded like any other."""
    settings = candidate.settings
    plain = {k: v for k, v in settings.request_fields.items() if k not in _THINKING}
    tried = candidate.like(replace(settings, request_fields=plain))
    usage = CallUsage(totals, check_.agent_name, Run(tags=("check_chains",)))

    def record_end(ended: Meter) -> None:
        usage.attempt_ended(ended, settings.model)

    def record_start(meter: Meter) -> None:
        usage.attempt_started(meter, settings.model)

    meter = Meter(settings.model.model_id, record_end, on_send=record_start)
    request = ChatRequest([HumanMessage("Hi")], None, {"max_tokens": 1}, Needs(), _TIMEOUT)
    time_budget = TimeBudget(_TIMEOUT, time.perf_counter() + _TIMEOUT, candidate.watchdog)
    error: str | None = None
    try:
        tried.invoke(AttemptRequest(request, meter, time_budget))
    except BedrockError as failure:
        error = f"{type(failure).__name__}: {failure}"
    usage.call_ended(answered=error is None, latency_ms=meter.latency_ms)
    problems = check_.problems if error is None else (*check_.problems, error)
    return replace(check_, problems=problems, answered=error is None, latency_ms=meter.latency_ms)


def _unable(needs: Needs, candidate: Candidate) -> Iterator[str]:
    needed = check(needs, candidate.settings.model)
    plain = candidate.unsuited_because(ChatRequest([], None, {}, Needs(), _TIMEOUT))
    yield from dict.fromkeys(reason for reason in (needed, plain) if reason)


def _unforced(candidate: Candidate) -> Iterator[str]:
    """Yield a warning if thinking, set in the YAML, prevents a forced tool choice."""
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


def _left_out(settings: CandidateSettings) -> Sequence[str]:
    """Return the agent's parameters that are not sent to the model."""
    given = settings.request_fields
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
    return fitted(request, settings.model, OriginalRequest(left_out=settings.left_out))[1]


def _uncached(model: ModelConfig, agent: AgentConfig) -> Iterator[str]:
    """Yield the parts of the agent's prompt caching that the model does not support."""
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
    """Yield the requests that the primary can serve and this fallback can't."""
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
