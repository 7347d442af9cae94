"""ModelManager: owns what all agents of a process share, and builds their chains."""

from __future__ import annotations

import os
import threading
import weakref
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Self

from langchain_modelmgr.chains import ChainBuilder
from langchain_modelmgr.clients import Clients
from langchain_modelmgr.concurrency import CallPool
from langchain_modelmgr.config import ConfigurationManager
from langchain_modelmgr.ledger import Ledger
from langchain_modelmgr.metrics import SinkGroup, default_sinks
from langchain_modelmgr.metrics.summary import UsageSummary

if TYPE_CHECKING:
    from collections.abc import Sequence

    import boto3

    from langchain_modelmgr.catalog import ModelCatalog
    from langchain_modelmgr.chat_model import ManagedBedrockChat
    from langchain_modelmgr.metrics import MetricsSink

MAX_CONCURRENCY = 256
"""Async calls that run at once, and connections that are kept: one thread each."""

_KEPT_CONFIGURATIONS = 16
"""Configurations kept for models that were given none; an edited file makes a new one."""


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
        self.chains = ChainBuilder(config, self.clients, self.pool)
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
