"""ModelManager: owns what all agents of a process share, and builds their chains."""

from __future__ import annotations

import os
import threading
import weakref
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from langchain_modelmgr.call import ChainRules
from langchain_modelmgr.candidate import Candidate, CandidateSpec, capped
from langchain_modelmgr.clients import Clients
from langchain_modelmgr.compatibility import Needs, check
from langchain_modelmgr.concurrency import CallPool
from langchain_modelmgr.config import ConfigurationManager, FallbackConfig
from langchain_modelmgr.errors import ModelCompatibilityError
from langchain_modelmgr.fallback import CandidateChain
from langchain_modelmgr.ledger import Ledger
from langchain_modelmgr.metrics import SinkGroup, default_sinks
from langchain_modelmgr.metrics.summary import UsageSummary
from langchain_modelmgr.policy import LAST_CANDIDATE_RETRIES
from langchain_modelmgr.privacy import mask_account_ids

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import boto3

    from langchain_modelmgr.catalog import ModelCatalog, ModelConfig
    from langchain_modelmgr.chat_model import ManagedBedrockChat
    from langchain_modelmgr.config import AgentConfig
    from langchain_modelmgr.metrics import MetricsSink

MAX_CONCURRENCY = 256
"""Async calls that run at once, and connections that are kept: one thread each."""

_KEPT_CONFIGURATIONS = 16
"""Configurations kept for models that were given none; an edited file makes a new one."""

_MODEL_SPECIFIC = frozenset(
    {
        "additional_model_request_fields",
        "additional_model_response_field_paths",
        "reasoning_effort",
    }
)
"""Request fields in one provider's own words: they go to no other provider's model."""


@dataclass(frozen=True, slots=True)
class CallSettings:
    """What a chat model sets over its agent's YAML; None leaves it to the YAML.

    Attributes:
        use_fallback: False: the primary alone.
        max_tokens: Output tokens at most; capped at each model's own limit.
        temperature: Sampling temperature.
        top_p: Nucleus sampling.
        stop_sequences: Stop sequences.
        timeout: Seconds that one attempt may wait for bytes.
        max_retries: Further attempts that the last candidate has for passing failures.
    """

    use_fallback: bool = True
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    stop_sequences: tuple[str, ...] | None = None
    timeout: float | None = None
    max_retries: int | None = None


class ModelManager:
    """What the agents of a process share: configuration, catalog, clients, usage and metrics.

    Args:
        config: The configuration.
        region: AWS region; over the YAML's ``aws.region``.
        session: A boto3 session of your own: assumed role, SSO, another account. Without one,
            boto3 finds credentials as it always does.
        sinks: Where usage records go; without it the YAML's ``metrics.sink`` says.
        max_concurrency: Async calls that run at once, and connections kept per region.

    Example:
        ``with ModelManager(ConfigurationManager("prod")) as manager: ...`` flushes at its end.
    """

    def __init__(
        self,
        config: ConfigurationManager,
        region: str | None = None,
        *,
        session: boto3.Session | None = None,
        sinks: Sequence[MetricsSink] | None = None,
        max_concurrency: int = MAX_CONCURRENCY,
    ) -> None:
        self.config = config
        self.clients = Clients(
            session=session,
            profile=config.aws.profile,
            region=region or config.aws.region,
            endpoint_url=config.aws.endpoint_url,
            connections=max_concurrency,
            source=str(config),
        )
        self.pool = CallPool(max_concurrency)
        if sinks is None:
            sinks = default_sinks(
                config.metrics.sink,
                config.namespace,
                client=self.clients.cloudwatch,
            )
        self.ledger = Ledger(UsageSummary(), SinkGroup(sinks))
        _after_fork.watch(self)

    @property
    def catalog(self) -> ModelCatalog:
        """The models that are known, the YAML's ``models:`` included."""
        return self.config.catalog

    def chat_model(self, agent_name: str, **overrides: Any) -> ManagedBedrockChat:
        """Return an agent's chat model that shares this manager.

        Args:
            agent_name: The key under ``agents:``.
            **overrides: Further fields of ``ManagedBedrockChat``.

        Raises:
            ConfigurationError: No such agent, or it is disabled.
            ModelCompatibilityError: Its model can't do what the agent ``requires``.
        """
        from langchain_modelmgr import ManagedBedrockChat

        return ManagedBedrockChat(agent_name=agent_name, manager=self, **overrides)

    def get_usage_summary(self) -> dict[str, Any]:
        """Return calls, attempts, tokens, latency and cost so far, in all, by agent and by model.

        Counts and floats can always be formatted; ``docs/metrics.md`` lists the keys.
        """
        return self.ledger.summary.as_dict()

    def flush_metrics(self, timeout: float | None = None) -> None:
        """Deliver what the sinks still hold; wait ``timeout`` seconds at most, None: their own."""
        self.ledger.sinks.flush(timeout)

    def close(self) -> None:
        """Deliver what is left and let threads go. Calls that still run are left to end."""
        self.ledger.sinks.close()
        self.pool.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.config!r})"

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        # Another process gets the manager kept with the same configuration there: neither
        # credentials nor clients travel.
        return _restored, (self.config,)

    def chain(
        self, agent_name: str, settings: CallSettings, model: str | None = None
    ) -> CandidateChain:
        """Return the candidates of an agent, in their order of trial.

        Args:
            agent_name: The key under ``agents:``.
            settings: What goes over the YAML.
            model: A model id in place of the agent's own.

        Raises:
            ConfigurationError: No such agent, or it is disabled.
        """
        agent = self.config.agent(agent_name)
        specs = list(self._specs(agent, settings, model or agent.chosen_model))
        primary, *rest = (Candidate(spec, self.clients, self.pool) for spec in specs)
        retries = settings.max_retries
        rules = ChainRules(
            agent_name=agent_name,
            max_retries=LAST_CANDIDATE_RETRIES if retries is None else retries,
            alternatives=self._models_that_can,
        )
        return CandidateChain(runnable=primary, fallbacks=rest, rules=rules)

    def require(
        self, agent_name: str, model: ModelConfig, needs: Needs, *, tool_count: int = 1
    ) -> None:
        """Raise ``ModelCompatibilityError`` if ``model`` is known not to serve ``needs``."""
        reason = check(needs, model, tool_count=tool_count)
        if reason is None:
            return
        able = self._models_that_can(needs)
        hint = f"configured models that can: {', '.join(able)}" if able else "no configured one can"
        raise ModelCompatibilityError(
            f"agent {agent_name!r}: {mask_account_ids(model.model_id)}: {reason} ({hint})"
        )

    def _specs(
        self, agent: AgentConfig, settings: CallSettings, primary: str
    ) -> Iterator[CandidateSpec]:
        first = self.catalog.resolve(primary)
        set_here = _settings(agent, settings)
        yield _spec(first, None, set_here)
        portable = {k: v for k, v in set_here.items() if k not in _MODEL_SPECIFIC}
        for fallback in self._fallbacks(agent, primary) if settings.use_fallback else ():
            model = self.catalog.resolve(fallback.model, fallback.base_model)
            inherited = set_here if model.provider == first.provider else portable
            yield _spec(model, fallback.region, {**inherited, **fallback.parameters})

    def _fallbacks(self, agent: AgentConfig, primary: str) -> Sequence[FallbackConfig]:
        if agent.fallbacks is not None:
            return [f for f in agent.fallbacks if (f.model, f.region) != (primary, None)]
        by_family = self.catalog.fallback_for(primary)
        return [FallbackConfig(model=by_family)] if by_family else []

    def _models_that_can(self, needs: Needs) -> list[str]:
        configured = {
            model_id: None
            for name in self.config.agent_names
            for model_id in self.config.models_of(name)
        }
        return [
            mask_account_ids(model_id)
            for model_id in configured
            if check(needs, self.catalog.resolve(model_id)) is None
        ]


def _settings(agent: AgentConfig, settings: CallSettings) -> dict[str, Any]:
    """Return the request fields that YAML or constructor set; nothing else is ever sent."""
    wanted = {
        "max_tokens": agent.max_tokens if settings.max_tokens is None else settings.max_tokens,
        "temperature": agent.temperature if settings.temperature is None else settings.temperature,
        "top_p": settings.top_p,
        "stop_sequences": list(settings.stop_sequences) if settings.stop_sequences else None,
    }
    return {**agent.parameters, **{k: v for k, v in wanted.items() if v is not None}}


def _spec(model: ModelConfig, region: str | None, parameters: Mapping[str, Any]) -> CandidateSpec:
    formed = dict(parameters)
    if formed.get("max_tokens") is not None:
        formed["max_tokens"] = capped(formed["max_tokens"], model)
    return CandidateSpec(model=model, region=region, parameters=formed)


class _AfterFork:
    """Gives every manager of a forked child fresh clients, threads and accounts.

    The parent goes on to report what was counted before the fork.
    """

    def __init__(self) -> None:
        self._managers: weakref.WeakSet[ModelManager] = weakref.WeakSet()
        self._registered = False

    def watch(self, manager: ModelManager) -> None:
        self._managers.add(manager)
        if not self._registered and hasattr(os, "register_at_fork"):
            self._registered = True
            os.register_at_fork(after_in_child=self._reset)

    def _reset(self) -> None:
        for manager in list(self._managers):
            manager.clients.reset()
            manager.pool.reset()
            manager.ledger.reset_after_fork()
        _kept.reset()


_after_fork = _AfterFork()


class _Kept:
    """The managers that models share which were given a configuration, or not even that."""

    def __init__(self) -> None:
        self._configs: OrderedDict[str, ConfigurationManager] = OrderedDict()
        self.reset()

    def reset(self) -> None:
        self._lock = threading.RLock()

    def of_config(self, config: ConfigurationManager) -> ModelManager:
        with self._lock:
            manager = config.__dict__.get("_manager")
            if not isinstance(manager, ModelManager):
                manager = config.__dict__["_manager"] = ModelManager(config)
            return manager

    def canonical(self, config: ConfigurationManager) -> ConfigurationManager:
        with self._lock:
            kept = self._configs.setdefault(config.fingerprint, config)
            self._configs.move_to_end(config.fingerprint)
            while len(self._configs) > _KEPT_CONFIGURATIONS:
                self._configs.popitem(last=False)
            return kept


_kept = _Kept()


def manager_of(config: ConfigurationManager) -> ModelManager:
    """Return the manager that is kept with ``config``, made on first use."""
    return _kept.of_config(config)


def shared_config(config: ConfigurationManager) -> ConfigurationManager:
    """Return the one kept configuration of this folder, environment and content."""
    return _kept.canonical(config)


def default_manager(environment: str | None) -> ModelManager:
    """Return the manager of an environment: one per resolved folder, environment and content."""
    return manager_of(shared_config(ConfigurationManager(environment)))


def _restored(config: ConfigurationManager) -> ModelManager:
    return manager_of(shared_config(config))
