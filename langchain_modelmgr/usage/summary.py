"""UsageSummary: the running totals that ``get_usage_summary()`` returns."""

from __future__ import annotations

import math
import threading
from collections import deque
from dataclasses import dataclass, field, fields
from decimal import Context, Decimal
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypedDict, cast, overload

from langchain_modelmgr.runtime.forks import AFTER_FORK
from langchain_modelmgr.runtime.masking import masked_id
from langchain_modelmgr.usage.record import OTHER
from langchain_modelmgr.usage.summary_table import SummaryTable

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from langchain_modelmgr.usage.record import ModelUsageMetrics

EXACT = Context(prec=50)
"""50 digits: sums of prices stay exact, whatever the application's own decimal context is."""

_CountKey = Literal[
    "total_invocations", "attempts", "input_tokens", "output_tokens", "total_tokens",
    "cache_read_tokens", "cache_write_tokens", "unpriced_invocations", "aborted", "calls",
    "fallbacks", "fallback_calls", "unconfirmed_attempts", "unconfirmed_unpriced",
]  # fmt: skip
_FloatKey = Literal[
    "total_cost_usd", "estimated_wasted_cost_usd", "average_latency_ms", "success_rate",
    "unconfirmed_usd",
]  # fmt: skip

_MAX_WAITING = 256
"""Attempts and calls that may wait in memory to be added up."""

MAX_NAMES = 1_000
"""Agents, models, and pairs of both that are kept apart; others are added up under ``other``."""


class ModelFigures(TypedDict):
    """The figures of one model's attempts; of an agent, those of its calls.

    Attributes:
        total_invocations: Attempts of a model; calls of an agent, or of all.
        attempts: Requests.
        total_cost_usd: USD of the attempts with token counts and a known price.
        estimated_wasted_cost_usd: USD probably billed for attempts that broke, an estimate.
        average_latency_ms: Milliseconds that an answer took; 0.0 without any.
        success_rate: The share that was answered, from 0.0 to 1.0; 1.0 without any.
        input_tokens: Input tokens without the prompt cache.
        output_tokens: Output tokens.
        total_tokens: All tokens.
        cache_read_tokens: Tokens read from the prompt cache.
        cache_write_tokens: Tokens written to the prompt cache.
        unpriced_invocations: Answered attempts with an unknown cost.
        aborted: Those that their caller abandoned.
    """

    total_invocations: int
    attempts: int
    total_cost_usd: float
    estimated_wasted_cost_usd: float
    average_latency_ms: float
    success_rate: float
    input_tokens: int
    output_tokens: int
    total_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    unpriced_invocations: int
    aborted: int


class AgentFigures(ModelFigures):
    """The figures of one agent's calls.

    Attributes:
        calls: Calls, including those that their caller abandoned.
        fallbacks: Calls that a fallback answered.
        fallback_calls: Calls in which a fallback was tried.
    """

    calls: int
    fallbacks: int
    fallback_calls: int


class AgentModelFigures(ModelFigures):
    """The figures of one agent's attempts with one model.

    Attributes:
        agent: The agent.
        model: The model.
    """

    agent: str
    model: str


class AllFigures(AgentFigures):
    """The figures of all calls, by agent and by model.

    Attributes:
        by_agent: The figures of each agent.
        by_model: The figures of each model.
        by_agent_and_model: The figures of each agent's attempts with each model, as rows.
    """

    by_agent: dict[str, AgentFigures]
    by_model: dict[str, ModelFigures]
    by_agent_and_model: list[AgentModelFigures]


class UsageFigures(SummaryTable):
    """What ``get_usage_summary()`` returns: a dict with the keys of ``AllFigures``, and more.

    Keys:
        metrics: The data points of the sinks: ``SinkStats`` as a dict.
        unconfirmed_attempts: Attempts made while the store of the budgets could not be reached.
        unconfirmed_usd: USD of them; of an attempt without token counts, the most it may cost.
        unconfirmed_unpriced: Those whose cost is unknown, and not in ``unconfirmed_usd``.
    """

    if TYPE_CHECKING:
        # Not a TypedDict, which can have no methods: a type checker would hide to_pandas().
        @overload  # type: ignore[override]  # unknown keys are errors, as in a TypedDict
        def __getitem__(self, key: _CountKey, /) -> int: ...
        @overload
        def __getitem__(self, key: _FloatKey, /) -> float: ...
        @overload
        def __getitem__(self, key: Literal["by_agent"], /) -> dict[str, AgentFigures]: ...
        @overload
        def __getitem__(self, key: Literal["by_model"], /) -> dict[str, ModelFigures]: ...
        @overload
        def __getitem__(self, key: Literal["by_agent_and_model"], /) -> list[AgentModelFigures]: ...
        @overload
        def __getitem__(self, key: Literal["metrics"], /) -> dict[str, Any]: ...
        def __getitem__(self, key: str, /) -> Any: ...


class _Call(NamedTuple):
    agent_name: str
    answered: bool | None
    latency_ms: float | None
    fallback_used: bool = False
    fallback_tried: bool = False


@dataclass(slots=True)
class _Totals:
    answered: int = 0
    failed: int = 0
    aborted: int = 0
    latency_ms: float = 0.0
    untimed: int = 0
    attempts: int = 0
    cost: Decimal = Decimal(0)
    wasted: Decimal = Decimal(0)
    input_tokens: int = 0
    output_tokens: int = 0
    total_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    unpriced: int = 0
    fallbacks: int = 0
    fallback_calls: int = 0

    def add_call(self, call: _Call) -> None:
        self.fallbacks += call.fallback_used and call.answered is True
        self.fallback_calls += call.fallback_used or call.fallback_tried
        if call.answered is None:
            self.aborted += 1
        elif call.answered:
            self.answered += 1
            if call.latency_ms is None:
                self.untimed += 1
            elif math.isfinite(call.latency_ms):
                self.latency_ms += call.latency_ms
        else:
            self.failed += 1

    def add_attempt(self, usage: ModelUsageMetrics) -> None:
        self.attempts += 1
        wasted = usage.estimated_wasted_cost_usd
        if wasted is not None and wasted.is_finite():
            self.wasted = EXACT.add(self.wasted, wasted)
        if not usage.has_usage:
            return
        tokens = usage.tokens
        self.input_tokens += tokens.input_tokens
        self.output_tokens += tokens.output_tokens
        self.total_tokens += tokens.total_tokens
        self.cache_read_tokens += tokens.cache_read_tokens
        self.cache_write_tokens += tokens.cache_write_5m_tokens + tokens.cache_write_1h_tokens
        if usage.cost_usd is not None and usage.cost_usd.is_finite():
            self.cost = EXACT.add(self.cost, usage.cost_usd)
        elif usage.outcome == "answered":
            self.unpriced += 1

    def add_totals(self, other: _Totals) -> None:
        for name in _SUMMED:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.cost = EXACT.add(self.cost, other.cost)
        self.wasted = EXACT.add(self.wasted, other.wasted)

    def as_dict(self) -> ModelFigures:
        ended, timed = self.answered + self.failed, self.answered - self.untimed
        return ModelFigures(
            total_invocations=ended + self.aborted,
            attempts=self.attempts,
            total_cost_usd=float(self.cost),
            estimated_wasted_cost_usd=float(self.wasted),
            average_latency_ms=self.latency_ms / timed if timed else 0.0,
            success_rate=self.answered / ended if ended else 1.0,
            input_tokens=self.input_tokens,
            output_tokens=self.output_tokens,
            total_tokens=self.total_tokens,
            cache_read_tokens=self.cache_read_tokens,
            cache_write_tokens=self.cache_write_tokens,
            unpriced_invocations=self.unpriced,
            aborted=self.aborted,
        )


_SUMMED = tuple(f.name for f in fields(_Totals) if f.name not in {"cost", "wasted"})


@dataclass(slots=True)
class _AllTotals:
    """Totals of everything, of each agent, and of each agent's attempts with each model."""

    total: _Totals = field(default_factory=_Totals)
    agents: dict[str, _Totals] = field(default_factory=dict)
    models: dict[str, dict[str, _Totals]] = field(default_factory=dict)
    pairs: int = 0

    def of_models(self) -> Iterator[tuple[str, _Totals]]:
        """Yield the totals of each model."""
        for name, by_agent in self.models.items():
            model = _Totals()
            for totals in by_agent.values():
                model.add_totals(totals)
            yield name, model

    def of_agents_and_models(self) -> Iterator[AgentModelFigures]:
        """Yield the figures of each agent and model, by agent."""
        pairs = [(agent, model) for model, by_agent in self.models.items() for agent in by_agent]
        for agent, model in sorted(pairs):
            figures = self.models[model][agent].as_dict()
            yield AgentModelFigures(agent=agent, model=model, **figures)


class UsageSummary:
    """Adds up attempts and calls since the process started. Any thread may add; none waits.

    ``calls`` counts calls and ``attempts`` the requests they took. Under ``by_model``, latency and
    success rate are those of attempts, and keys that only calls have are missing.
    ``total_invocations``, the design guide's key, is ``calls``, and ``attempts`` of a model.

    Args:
        max_names: Agents and models that are kept apart; others are added up under ``other``.
    """

    def __init__(self, *, max_names: int = MAX_NAMES) -> None:
        self._max_names = max_names
        self._totals = _AllTotals()
        self._waiting: deque[_Call | ModelUsageMetrics] = deque()
        self._lock = threading.Lock()
        AFTER_FORK.watch(self)

    def attempt(self, usage: ModelUsageMetrics) -> None:
        """Add one attempt; answers of a cache are ignored."""
        if usage.outcome != "cached":
            self._put(usage)

    def call(
        self,
        agent_name: str,
        *,
        answered: bool | None,
        latency_ms: float | None,
        fallback_used: bool = False,
        fallback_tried: bool = False,
    ) -> None:
        """Add one call as it ended.

        Args:
            agent_name: The agent that called.
            answered: Whether a model answered; None if the caller cancelled the call, which is
                neither a success nor a failure.
            latency_ms: Milliseconds that the whole call took; None: it was a row of a batch
                inference job, which has no latency.
            fallback_used: True if the last model called was not the primary.
            fallback_tried: True if any model other than the primary was called.
        """
        self._put(_Call(agent_name, answered, latency_ms, fallback_used, fallback_tried))

    def as_dict(self) -> AllFigures:
        """Return the totals as a plain dict; every number can be formatted."""
        with self._lock:
            self._add_waiting()
            sums = self._totals
            figures = AllFigures(
                **_of_calls(sums.total),
                by_agent={name: _of_calls(totals) for name, totals in sums.agents.items()},
                by_model={name: totals.as_dict() for name, totals in sums.of_models()},
                by_agent_and_model=list(sums.of_agents_and_models()),
            )
            return cast("AllFigures", SummaryTable(figures))

    def reset_after_fork(self) -> None:
        """Internal: start at zero in a forked child: the parent keeps what was counted before."""
        self._totals = _AllTotals()
        self._waiting = deque()
        self._lock = threading.Lock()

    def _put(self, item: _Call | ModelUsageMetrics) -> None:
        # An abandoned stream reports from a finaliser, which may run in the middle of `_add`: it
        # must neither wait for the lock nor come between a read and its write.
        self._waiting.append(item)
        if len(self._waiting) >= _MAX_WAITING and self._lock.acquire(blocking=False):
            try:
                self._add_waiting()
            finally:
                self._lock.release()

    def _add_waiting(self) -> None:
        """Add up what waits. The caller must hold the lock."""
        while self._waiting:
            self._add(self._waiting.popleft())

    def _add(self, item: _Call | ModelUsageMetrics) -> None:
        sums = self._totals
        agent_name = self._name(item.agent_name, sums.agents)
        agent = sums.agents.setdefault(agent_name, _Totals())
        if isinstance(item, _Call):
            sums.total.add_call(item)
            agent.add_call(item)
            return
        pair = self._pair(agent_name, masked_id(item.model_id))
        for totals in (sums.total, agent, pair):
            totals.add_attempt(item)
        answered = None if item.outcome == "aborted" else item.outcome == "answered"
        pair.add_call(_Call(item.agent_name, answered, item.latency_ms))

    def _pair(self, agent_name: str, model_id: str) -> _Totals:
        """Return the totals of an agent's attempts with a model."""
        sums = self._totals
        by_agent = sums.models.setdefault(self._name(model_id, sums.models), {})
        if agent_name not in by_agent:
            if sums.pairs >= self._max_names:
                agent_name = OTHER
            sums.pairs += agent_name not in by_agent
        return by_agent.setdefault(agent_name, _Totals())

    def _name(self, name: str, known: Collection[str]) -> str:
        return name if name in known or len(known) < self._max_names else OTHER


def of_manager(
    figures: AllFigures, metrics: dict[str, Any], unconfirmed: Mapping[str, Any]
) -> UsageFigures:
    """Return a summary with the sinks' data points and what budgets could not confirm."""
    return UsageFigures({**figures, "metrics": metrics, **unconfirmed})


def _of_calls(totals: _Totals) -> AgentFigures:
    figures = totals.as_dict()
    return AgentFigures(
        **figures,
        calls=figures["total_invocations"],
        fallbacks=totals.fallbacks,
        fallback_calls=totals.fallback_calls,
    )
