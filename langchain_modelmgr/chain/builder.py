"""Builds an agent's chain from its YAML and the overrides of a chat model."""

from __future__ import annotations

import logging
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from langchain_modelmgr.bedrock.inference_profiles import InferenceProfiles
from langchain_modelmgr.catalog.geography import place_of
from langchain_modelmgr.chain.call_input import ChainRules
from langchain_modelmgr.chain.candidate import Candidate
from langchain_modelmgr.chain.compatibility import Needs, check
from langchain_modelmgr.chain.cooldown import Cooldowns
from langchain_modelmgr.chain.fallback import CandidateChain
from langchain_modelmgr.chain.request import Bounds, CandidateSettings
from langchain_modelmgr.config.schema import FallbackConfig
from langchain_modelmgr.errors import ModelCompatibilityError
from langchain_modelmgr.runtime.masking import mask_account_ids

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from langchain_modelmgr.bedrock.clients import Clients
    from langchain_modelmgr.catalog import ModelCatalog, ModelConfig
    from langchain_modelmgr.config import AgentConfig, ConfigurationManager
    from langchain_modelmgr.runtime.call_pool import CallPool
    from langchain_modelmgr.tracing.call_span import OpenTelemetrySpans

logger = logging.getLogger(__name__)

_CHAINS_KEPT = 256
"""Maximum number of cached chains: one per agent, overrides, and a call's own ``model=``."""


@dataclass(frozen=True, slots=True)
class Overrides:
    """Settings of a chat model that take precedence over its agent's YAML; None uses the YAML.

    Attributes:
        use_fallback: False uses the primary only.
        max_tokens: Maximum number of output tokens; capped at each model's own limit.
        temperature: Sampling temperature.
        top_p: Nucleus sampling.
        stop_sequences: Stop sequences.
        timeout: Seconds that one attempt may wait for bytes.
        max_retries: Retries of the last candidate after passing failures.
    """

    use_fallback: bool = True
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    stop_sequences: tuple[str, ...] | None = None
    timeout: float | None = None
    max_retries: int | None = None

    def request_fields(self) -> dict[str, Any]:
        """Return the request fields of ChatBedrockConverse that are set."""
        fields = {
            "max_tokens": self.max_tokens,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "stop_sequences": list(self.stop_sequences) if self.stop_sequences else None,
        }
        return {name: value for name, value in fields.items() if value is not None}


NO_OVERRIDES = Overrides()


class ChainBuilder:
    """Builds chains over one manager's clients and threads.

    Args:
        config: The configuration.
        clients: The boto3 clients that all candidates share.
        pool: The threads that all candidates share.
        spans: Makes the OpenTelemetry spans of calls; None: none are made.
    """

    def __init__(
        self,
        config: ConfigurationManager,
        clients: Clients,
        pool: CallPool,
        spans: OpenTelemetrySpans | None = None,
    ) -> None:
        self._config = config
        self._clients = clients
        self._pool = pool
        self._spans = spans
        self._profiles = InferenceProfiles(clients, config.catalog)
        self._cooldowns = Cooldowns()
        self._built: OrderedDict[tuple[str, Overrides, str | None], CandidateChain] = OrderedDict()

    def chain(
        self, agent_name: str, overrides: Overrides, model: str | None = None
    ) -> CandidateChain:
        """Return the candidates of an agent, in their order of attempt.

        Args:
            agent_name: The key under ``agents:``.
            overrides: Settings that take precedence over the YAML.
            model: A model id in place of the agent's own.

        Raises:
            ConfigurationError: No such agent, or it is disabled.
        """
        key = (agent_name, overrides, model)
        chain = self._built.get(key)
        if chain is None:
            chain = self._built[key] = self._build(agent_name, overrides, model)
            while len(self._built) > _CHAINS_KEPT:
                self._built.popitem(last=False)
        return chain

    def serves_retired(self) -> bool:
        """Return whether retired models can serve: with the local AWS, or if the YAML says so."""
        return self._config.retired_models == "warning" or self._clients.are_local

    def _build(self, agent_name: str, overrides: Overrides, model: str | None) -> CandidateChain:
        agent = self._config.agent(agent_name)
        settings = list(self._settings(agent, overrides, model or agent.chosen_model))
        primary, *rest = (
            Candidate(each, self._clients, self._pool, self._profiles) for each in settings
        )
        for candidate in rest:
            if (outside := candidate.settings.outside) is not None:
                logger.warning(
                    "agent %s: %s will not be used: %s", agent_name, candidate.public_id, outside
                )
        retries = overrides.max_retries
        rules = ChainRules(
            agent_name=agent_name,
            environment=self._config.environment,
            max_retries=agent.retries if retries is None else retries,
            deadline_seconds=agent.deadline_seconds,
            cooldown_seconds=agent.cooldown_seconds,
            cooldowns=self._cooldowns,
            watchdog=self._pool.watchdog,
            alternatives=self._models_that_can,
            degrade_to=self._degrade_to(agent_name, agent, overrides, primary),
            spans=self._spans,
        )
        return CandidateChain(runnable=primary, fallbacks=rest, rules=rules)

    def _degrade_to(
        self, agent_name: str, agent: AgentConfig, overrides: Overrides, primary: Candidate
    ) -> dict[str, Candidate]:
        """Return the models that are called first while a budget is nearly spent, by its name."""
        found = {}
        for name, budget in self._config.budgets.limits.items():
            target = budget.degrade_to
            if target is None or (budget.agent and agent_name not in budget.agent):
                continue
            fallback = FallbackConfig(model=target.model, parameters=target.parameters())
            (settings,) = self._of_fallbacks(
                [fallback], {**agent.request_fields(), **overrides.request_fields()},
                primary.settings.model, self._region(primary.model_id, [fallback]),
            )  # fmt: skip
            found[name] = Candidate(settings, self._clients, self._pool, self._profiles)
        return found

    def require(
        self, agent_name: str, model: ModelConfig, needs: Needs, *, tool_count: int = 1
    ) -> None:
        """Raise ``ModelCompatibilityError`` if ``model`` is known not to support ``needs``."""
        reason = check(needs, model, tool_count=tool_count)
        if reason is None:
            return
        own = mask_account_ids(model.model_id)
        able = [other for other in self._models_that_can(needs) if other != own]
        hint = (
            f"configured models that can: {', '.join(able)}" if able else "no configured model can"
        )
        raise ModelCompatibilityError(f"agent {agent_name!r}: {own}: {reason} ({hint})")

    @property
    def _catalog(self) -> ModelCatalog:
        return self._config.catalog

    def _settings(
        self, agent: AgentConfig, overrides: Overrides, primary: str
    ) -> Iterator[CandidateSettings]:
        fallbacks: Sequence[FallbackConfig] = ()
        if overrides.use_fallback:
            here = self._clients.known_region
            fallbacks = self._config.fallbacks_of(agent, primary=primary, region=here)
        here = self._region(primary, fallbacks)
        first = self._catalog.resolve(primary, region=here)
        set_here = {**agent.request_fields(), **overrides.request_fields()}
        yield CandidateSettings(first, None, set_here).of(first)
        yield from self._of_fallbacks(fallbacks, set_here, first, here)

    def _of_fallbacks(
        self,
        fallbacks: Iterable[FallbackConfig],
        set_here: dict[str, Any],
        first: ModelConfig,
        here: str | None,
    ) -> Iterator[CandidateSettings]:
        home = place_of(first, here)
        for fallback in fallbacks:
            region = fallback.region or here
            model = self._catalog.resolve(fallback.model, fallback.base_model, region)
            yield CandidateSettings(
                model,
                fallback.region,
                {**set_here, **fallback.request_fields()},
                inherited=frozenset(set_here.keys() - fallback.request_fields().keys()),
                provider=first.provider or "unknown",
                bounds=Bounds(home, region),
            ).of(model)

    def _region(self, primary: str, fallbacks: Iterable[FallbackConfig]) -> str | None:
        """Return the region of models without one; None if it is unknown or has no effect.

        boto3 resolves it only if the geography check depends on it, because that is slow.
        """
        if (known := self._clients.known_region) is not None:
            return known
        find = self._catalog.look_up
        places = {place_of(find(f.model, f.base_model), f.region) for f in fallbacks}
        return self._clients.region if places - {place_of(find(primary), None)} else None

    def _models_that_can(self, needs: Needs) -> list[str]:
        configured = {
            model_id: None
            for name in self._config.agent_names
            for model_id in self._config.models_of(name)
        }
        return [
            mask_account_ids(model_id)
            for model_id in configured
            if check(needs, self._catalog.resolve(model_id)) is None
        ]
