"""Registry: finds the managers that models share, and those that pickles refer to."""

from __future__ import annotations

import logging
import threading
import weakref
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar
from uuid import uuid4

from langchain_modelmgr.runtime.aws_settings import AwsSettings
from langchain_modelmgr.runtime.closer import CLOSER
from langchain_modelmgr.runtime.forks import AFTER_FORK

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from langchain_modelmgr.config import ConfigurationManager
    from langchain_modelmgr.usage.summary import UsageSummary
    from langchain_modelmgr.usage.totals import UsageTotals

logger = logging.getLogger(__name__)

MANAGERS_KEPT = 16
"""Managers that are kept although no model uses them."""

SUMMARIES_KEPT = 1_000
"""Environments whose summaries are kept after their managers are gone."""


class Manager(Protocol):
    """The part of a ``ModelManager`` that the registry uses."""

    totals: UsageTotals


M = TypeVar("M", bound=Manager)


class Registry(Generic[M]):
    """Finds managers by key, and drops the least recently used ones.

    A manager is found as long as a model uses it. Of the others ``MANAGERS_KEPT`` are kept, one for
    each environment. A dropped manager closes itself; its summary is kept, and the next manager of
    the same environment continues it.
    """

    def __init__(self) -> None:
        self._kept: OrderedDict[Hashable, M] = OrderedDict()
        self._in_use: weakref.WeakValueDictionary[Hashable, M] = weakref.WeakValueDictionary()
        self._summaries: OrderedDict[Hashable, UsageSummary] = OrderedDict()
        self._lock = threading.RLock()
        AFTER_FORK.watch(self)

    def reset_after_fork(self) -> None:
        """Replace the lock in a forked child; the managers reset themselves."""
        self._lock = threading.RLock()

    def add(self, manager: M) -> str:
        """Register a manager as long as it exists; return its name."""
        name = uuid4().hex
        with self._lock:
            self._in_use[name] = manager
        CLOSER.work()
        return name

    def get(self, name: str) -> M | None:
        """Return the manager with this name, if it still exists."""
        with self._lock:
            return self._in_use.get(name)

    def is_shared(self, manager: M) -> bool:
        """Return whether models share the manager by their configuration."""
        with self._lock:
            keys = [key for key, value in self._in_use.items() if value is manager]
        return any(not isinstance(key, str) for key in keys)

    def named(self, name: str, make: Callable[[], M]) -> M:
        """Return the manager with this name; make and keep it if there is none."""
        return self._find(name, name, make)

    def shared(self, config: ConfigurationManager, make: Callable[[ConfigurationManager], M]) -> M:
        """Return the manager of a configuration in the current AWS environment.

        Configurations with equal folder, environment and content share a manager. An edited file
        gets a new one, which continues the summary of the previous one.
        """
        aws = AwsSettings.now().identity(config.aws.profile)
        environment = (str(config.config_dir), config.environment, config.namespace, aws)
        return self._find((config.fingerprint, aws), environment, lambda: make(config))

    def forget(self, manager: M) -> None:
        """Remove a manager and its summary."""
        with self._lock:
            for found in (self._kept, self._in_use):
                for key in [key for key, value in found.items() if value is manager]:
                    del found[key]
            summary = manager.totals.summary
            for key in [key for key, value in self._summaries.items() if value is summary]:
                del self._summaries[key]

    def _find(self, key: Hashable, environment: Hashable, make: Callable[[], M]) -> M:
        with self._lock:
            manager = self._in_use.get(key)
            if manager is None:
                manager = self._in_use[key] = make()
                manager.totals.summary = self._summary(environment, manager.totals.summary)
            self._kept[environment] = manager
            self._kept.move_to_end(environment)
            while len(self._kept) > MANAGERS_KEPT:
                self._kept.popitem(last=False)
        CLOSER.work()
        return manager

    def _summary(self, environment: Hashable, new: UsageSummary) -> UsageSummary:
        """Return the existing summary of an environment, or the new one."""
        kept = self._summaries.setdefault(environment, new)
        self._summaries.move_to_end(environment)
        if len(self._summaries) > SUMMARIES_KEPT:
            self._summaries.popitem(last=False)
            logger.warning(
                "more than %d environments were used in this process: the summaries of the oldest "
                "start at zero when they are used again",
                SUMMARIES_KEPT,
            )
        return kept


REGISTRY: Registry[Any] = Registry()
"""The managers of this process."""


def restored(
    kind: type[M], name: str, config: ConfigurationManager, given: dict[str, Any] | None
) -> M:
    """Return the manager that a pickle refers to.

    Args:
        kind: Its class.
        name: Its name.
        config: Its configuration.
        given: The arguments that it was made with; None: models share it through its configuration.
    """
    make: Callable[..., M] = kind
    if given is None:
        found: M | None = REGISTRY.get(name)
        return REGISTRY.shared(config, make) if found is None else found
    manager: M = REGISTRY.named(name, lambda: make(config, **given))
    return manager
