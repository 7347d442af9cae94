"""Agent: one configured agent, resolved and ready to call."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Generic, Literal, Protocol, Self, TypedDict, TypeVar

from langchain_core.language_models.base import LangSmithParams

from langchain_modelmgr.catalog.profiles import chain_profile
from langchain_modelmgr.chain.builder import NO_OVERRIDES, Overrides
from langchain_modelmgr.chain.call_input import ChainInput
from langchain_modelmgr.chain.compatibility import Needs
from langchain_modelmgr.chain.keywords import check_kind
from langchain_modelmgr.config import ConfigurationManager
from langchain_modelmgr.runtime.aws_settings import endpoint_now
from langchain_modelmgr.runtime.html_table import html_table
from langchain_modelmgr.runtime.money_text import per_million
from langchain_modelmgr.sharing.registry import REGISTRY
from langchain_modelmgr.usage.totals import CallUsage

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from langchain_core.callbacks.base import Callbacks

    from langchain_modelmgr.budgets.project_budgets import ProjectBudgets
    from langchain_modelmgr.catalog.profiles import ChainProfile
    from langchain_modelmgr.chain.builder import ChainBuilder
    from langchain_modelmgr.chain.fallback import CandidateChain
    from langchain_modelmgr.chain.request import ChatRequest
    from langchain_modelmgr.usage.totals import Run, UsageTotals


class ChatFields(TypedDict, total=False):
    """The keyword arguments of ``ManagedBedrockChat``."""

    environment: str | None
    config: ConfigurationManager | None
    manager: Any
    use_fallback: bool
    max_tokens: int | None
    temperature: float | None
    top_p: float | None
    stop_sequences: list[str] | None
    stop: list[str] | None
    timeout: float | None
    max_retries: int | None
    streaming: bool | None
    name: str | None
    cache: Any
    callbacks: Callbacks
    custom_get_token_ids: Any
    disable_streaming: bool | Literal["tool_calling"]
    metadata: dict[str, Any] | None
    output_version: str | None
    profile: Any
    rate_limiter: Any
    tags: list[str] | None
    verbose: bool


@dataclass(frozen=True, slots=True)
class Agent:
    """One agent: its name, its overrides of the YAML, and the parts of its manager.

    Attributes:
        name: The key under ``agents:``.
        config: The manager's configuration.
        chains: The manager's chains.
        totals: The manager's usage totals.
        budgets: The manager's budgets.
        overrides: Settings of a chat model or a call that override the YAML.
    """

    name: str
    config: ConfigurationManager
    chains: ChainBuilder
    totals: UsageTotals
    budgets: ProjectBudgets
    overrides: Overrides = NO_OVERRIDES

    def chain(self, model: str | None = None) -> CandidateChain:
        """Return the agent's candidates in the order in which they are tried.

        Args:
            model: A model id in place of the agent's own.

        Raises:
            ConfigurationError: The agent is unknown or disabled, or ``model`` is not text.
        """
        if model is not None:
            check_kind("model", model, of=f"agent {self.name!r}")
        return self.chains.chain(self.name, self.overrides, model)

    def require(self, needs: Needs, *, model: str | None = None, tool_count: int = 1) -> None:
        """Check that the primary model can serve the given needs.

        Args:
            needs: The needs.
            model: A model id in place of the agent's own.
            tool_count: The number of bound tools.

        Raises:
            ModelCompatibilityError: The model can't serve them.
        """
        primary = self.chain(model).candidates[0]
        self.chains.require(self.name, primary.settings.model, needs, tool_count=tool_count)

    def check(self) -> None:
        """Check that the primary model has the capabilities that the YAML ``requires``.

        Raises:
            ConfigurationError: The agent is unknown or disabled.
            ModelCompatibilityError: The model lacks one of them.
        """
        self.require(Needs.of_agent(self.config.agent(self.name).requires))

    def open(self, request: ChatRequest, run: Run) -> tuple[CandidateChain, ChainInput]:
        """Return the chain for a request and the chain's input.

        The input is the request completed by the agent's settings.

        Args:
            request: The caller's request.
            run: LangChain's run of the call.
        """
        agent = self.config.agent(self.name)
        timeout = request.timeout or self.overrides.timeout or agent.timeout_seconds
        needs = request.needs
        if agent.requires:
            needs |= Needs.of_agent(agent.requires)
        kwargs = {"cache_control": agent.cache_control, **request.kwargs}
        completed = request.completed(kwargs, needs, timeout)
        budget = self.budgets.of_call(self.name, run.metadata)
        return self.chain(request.model), ChainInput(completed, self.usage(run), budget)

    def usage(self, run: Run) -> CallUsage:
        """Return an object that records the usage of one call of this agent."""
        return CallUsage(self.totals, self.name, run)

    def profile(self) -> ChainProfile:
        """Return what every model of the chain can do, with the keys of LangChain's profiles."""
        return chain_profile([candidate.settings.model for candidate in self.chain().candidates])

    def html(self) -> str:
        """Return the agent's chain as an HTML table, with prices in USD per million tokens."""
        chain = [(candidate.public_id, candidate.settings) for candidate in self.chain().candidates]
        rows = [
            {
                "position": position,
                "model": public_id,
                "region": settings.region or self.config.aws.region,
                "input, per 1M tokens": _per_million(settings.model.cost_per_1k_input_tokens),
                "output, per 1M tokens": _per_million(settings.model.cost_per_1k_output_tokens),
                "never called": settings.outside or "",
            }
            for position, (public_id, settings) in enumerate(chain)
        ]
        columns = [name for name in rows[0] if name != "never called" or any(r[name] for r in rows)]
        return html_table(f"agent {self.name}, {self.config.environment}", columns, rows)

    def identifying_params(self) -> dict[str, Any]:
        """Return the parameters that identify this model in the response cache and in traces."""
        candidates = self.chain().candidates
        return {
            "agent_name": self.name,
            "model": candidates[0].public_id,
            "models": [
                {"model": c.public_id, "region": c.settings.region, **c.settings.request_fields}
                for c in candidates
            ],
        }

    def langsmith_params(
        self, keywords: Mapping[str, Any], stop: list[str] | None
    ) -> LangSmithParams:
        """Return the parameters of a call for traces: primary model and main request fields.

        Args:
            keywords: The call's keywords.
            stop: The call's stop sequences.
        """
        primary = self.chain(keywords.get("model")).candidates[0]
        params = LangSmithParams(
            ls_provider="amazon_bedrock", ls_model_name=primary.public_id, ls_model_type="chat"
        )
        given = {**primary.settings.request_fields, **keywords}
        if given.get("temperature") is not None:
            params["ls_temperature"] = given["temperature"]
        if given.get("max_tokens") is not None:
            params["ls_max_tokens"] = given["max_tokens"]
        if stop := stop or given.get("stop_sequences"):
            params["ls_stop"] = stop
        return params


def _per_million(price_per_1k: float | None) -> str | None:
    return None if price_per_1k is None else f"${per_million(price_per_1k)}"


class _Manager(Protocol):
    """The part of ``ModelManager`` that this module uses without importing it."""

    config: ConfigurationManager
    is_forgotten: bool

    def agent(self, agent_name: str, overrides: Overrides = ...) -> Agent:
        """Return an agent."""


M = TypeVar("M", bound=_Manager)

_OVERRIDES = tuple(f.name for f in fields(Overrides) if f.name != "stop_sequences")
_values_of = itemgetter("agent_name", "environment", "config", "manager", *_OVERRIDES)


@dataclass(frozen=True, slots=True)
class Resolution(Generic[M]):
    """The manager and the agent that a chat model's fields select.

    Copies of a chat model share it while their fields are equal.

    Attributes:
        key: The values of the fields.
        manager: The manager.
        agent: The agent.
        endpoint: The AWS endpoint at the time of the resolution.
    """

    key: tuple[Any, ...]
    manager: M
    agent: Agent
    endpoint: tuple[str | None, str | None] = field(default_factory=endpoint_now)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self


def resolve(
    values: Mapping[str, Any],
    previous: Resolution[M] | None,
    make: Callable[[ConfigurationManager], M],
    *,
    for_a_call: bool = False,
) -> Resolution[M]:
    """Return the manager and the agent that a chat model's fields select.

    The previous resolution is returned until a field changes or its manager is forgotten.

    Args:
        values: The values of the fields.
        previous: The previous resolution, if any.
        make: ``ModelManager``.
        for_a_call: Also resolve again if the AWS endpoint in the environment has changed.

    Raises:
        ConfigurationError: The configuration can't be read.
    """
    stops = values["stop_sequences"]
    stops = None if stops is None else tuple(stops)
    key = (*_values_of(values), stops)
    manager: M | None = values["manager"]
    if previous is None or previous.key != key:
        if manager is None:
            config = values["config"] or ConfigurationManager(values["environment"])
            manager = REGISTRY.shared(config, make)
    elif manager is None and (
        previous.manager.is_forgotten or (for_a_call and previous.endpoint != endpoint_now())
    ):
        manager = REGISTRY.shared(previous.manager.config, make)
    else:
        return previous
    set_here = Overrides(**{name: values[name] for name in _OVERRIDES}, stop_sequences=stops)
    return Resolution(key, manager, manager.agent(values["agent_name"], set_here))
