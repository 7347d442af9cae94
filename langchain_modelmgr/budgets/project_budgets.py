"""ProjectBudgets: the budgets of a configuration: which apply to a call, their status, reset."""

from __future__ import annotations

import logging
import time
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from langchain_modelmgr.budgets.attempt_budget import Applied
from langchain_modelmgr.budgets.call_budget import CallBudget
from langchain_modelmgr.budgets.gauges import BudgetGauges
from langchain_modelmgr.budgets.limits import BudgetStatus, Limit, Unit, stored_key
from langchain_modelmgr.budgets.memory_store import MemoryStore
from langchain_modelmgr.budgets.money import nano_of
from langchain_modelmgr.budgets.places import store_of, unconfirmed_of
from langchain_modelmgr.budgets.settlements import SETTLEMENTS
from langchain_modelmgr.budgets.store import (
    TASK_PREFIX,
    Claim,
    Figures,
    StoreBusyError,
    StoreUnreachableError,
    answered,
)
from langchain_modelmgr.budgets.tasks import TASKS, TaskBudget, active_tasks
from langchain_modelmgr.budgets.unconfirmed_usage import UnconfirmedUsage
from langchain_modelmgr.budgets.windows import calendar
from langchain_modelmgr.config.budget_schema import MOST_TOKENS, MOST_USD
from langchain_modelmgr.config.problems import nearest
from langchain_modelmgr.errors import ConfigurationError
from langchain_modelmgr.usage.tracks import TASK_KEY

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from langchain_modelmgr.budgets.store import BudgetStore
    from langchain_modelmgr.config import ConfigurationManager

logger = logging.getLogger(__name__)

CLOSE_SECONDS = 5.0
"""Seconds that closing waits for other processes' locks."""


class ProjectBudgets:
    """The budgets of a manager. Without any, a call costs one check.

    Args:
        config: The configuration.

    Attributes:
        is_tracked: Returns whether a task's name is that of a track.
        unconfirmed: Counts the attempts that were made without the store.

    Raises:
        ConfigurationError: There are budgets, and their place can't hold a limit.
    """

    def __init__(self, config: ConfigurationManager) -> None:
        self._settings = config.budgets
        self._prefix = config.project_prefix
        self.is_tracked: Callable[[str], bool] = _never
        self._limits = tuple(Limit.of(name, each) for name, each in self._settings.limits.items())
        self._warned: dict[tuple[str, str], int] = {}
        self.unconfirmed = UnconfirmedUsage()
        self._project = (self._settings.state, self._prefix)
        self._found: BudgetStore | None = None
        if self._limits:
            self._store()

    @property
    def gauges(self) -> BudgetGauges | None:
        """What metrics are made of; None: there are no budgets."""
        return BudgetGauges(self._limits, self._store()) if self._limits else None

    def _store(self) -> BudgetStore:
        if self._found is None:
            self._found = store_of(self._settings.state, self._prefix)
        return self._found

    def of_call(self, agent_name: str, metadata: Mapping[str, Any]) -> CallBudget | None:
        """Return the budgets that apply to a call; None: none does.

        Args:
            agent_name: The agent.
            metadata: The metadata of the call's run.

        Raises:
            ConfigurationError: The metadata names a task without a budget or a track.
        """
        if not self._limits and self._project not in TASKS.projects:
            return None
        applied = self._applied(agent_name, metadata)
        if not applied:
            return None
        return CallBudget(
            agent_name,
            applied,
            self._settings.max_tokens,
            self._warned,
            self.unconfirmed,
            is_store_required=self._settings.is_required,
        )

    def _applied(
        self, agent_name: str, metadata: Mapping[str, Any], *, refuses_unknown: bool = True
    ) -> list[Applied]:
        found: list[Applied] = []
        if self._limits:
            store = self._store()
            found = [
                Applied(limit, limit.key_of(agent_name, metadata), store)
                for limit in self._limits
                if not limit.agents or agent_name in limit.agents
            ]
        tasks: dict[tuple[int, str], TaskBudget] = {}
        for task in self._tasks(metadata, refuses_unknown=refuses_unknown):
            place = (id(task.store), task.limit.stored)
            if place not in tasks or task.limit.limit < tasks[place].limit.limit:
                tasks[place] = task
        return found + [Applied(task.limit, "", task.store) for task in tasks.values()]

    def _tasks(self, metadata: Mapping[str, Any], *, refuses_unknown: bool) -> list[TaskBudget]:
        found = active_tasks(self._project)
        named = metadata.get(TASK_KEY)
        if named is None:
            return found
        task = TASKS.named(self._project, str(named))
        if task is not None:
            found.append(task)
        elif refuses_unknown and not self.is_tracked(str(named)):
            raise ConfigurationError(
                f"metadata {TASK_KEY}: task {str(named)!r} has no budget: make it with "
                "manager.budget(name, usd=...) in this process, or a track with manager.track(name)"
            )
        return found

    def task(
        self,
        name: str | None,
        *,
        usd: Decimal | float | str | None,
        tokens: int | None,
        wait_seconds: float = 0.0,
    ) -> TaskBudget:
        """Return the budget of a task, not entered yet.

        Args:
            name: The task's name; None: the budget is the returned object's own, in memory.
            usd: The limit in USD.
            tokens: The limit in tokens, in place of ``usd``.
            wait_seconds: How long a call waits for held money.

        Raises:
            ConfigurationError: An argument is wrong, or the store's place can't hold a limit.
        """
        unit, limit = _limit_of(usd, tokens)
        store = MemoryStore() if name is None else self._store()
        own = uuid4().hex if name is None else stored_key(name)
        task = TaskBudget(
            name,
            Limit(
                name=name or "task",
                stored=f"{TASK_PREFIX}{unit}/{own}",
                unit=unit,
                limit=limit,
                calendar=calendar("total"),
                wait_seconds=wait_seconds,
            ),
            store,
            self._project,
        )
        TASKS.add(task)
        return task

    def settle(self, reservation: str, amounts: Sequence[int | None]) -> None:
        """Settle a reservation that another process of the project may have made.

        Args:
            reservation: Its id; one that is settled, or of another store, is ignored.
            amounts: What was used, for each claim in order; None: unknown.
        """
        SETTLEMENTS.settle(self._store(), reservation, amounts)

    def status(self) -> list[BudgetStatus]:
        """Return what is spent in the current window of each budget, by key.

        A budget without ``by`` has one entry, also if nothing was spent.

        Raises:
            BudgetStoreError: The store can't be used.
        """
        SETTLEMENTS.drain()
        found = []
        for limit in self._limits:
            with answered():
                unconfirmed_of(self._store()).deliver(waits=True)
                figures = self._store().figures(limit.stored, limit.calendar)
            if not figures and limit.by is None:
                figures = [Figures(limit.stored, "", 0, self._end(limit))]
            found += [limit.status(each) for each in figures]
        return found

    def _end(self, limit: Limit) -> int | None:
        return limit.calendar.window(int(time.time() * 1000)).end

    def reset(self, name: str, key: str | None = None) -> None:
        """Set what is spent of a budget to 0; what is held stays.

        Args:
            name: The name of a budget of the YAML, or of a task.
            key: The only key to reset; None: all keys.

        Raises:
            BudgetStoreError: The store can't be used.
            ConfigurationError: No budget has this name.
        """
        SETTLEMENTS.drain()
        stored = None if key is None else stored_key(key)
        for limit in self._limits:
            if limit.name == name:
                with answered():
                    self._store().reset(limit.stored, key=stored)
                return
        task = TASKS.named(self._project, name)
        if task is None:
            known = [limit.name for limit in self._limits]
            raise ConfigurationError(f"unknown budget {name!r}{nearest(name, known)}")
        with answered():
            task.store.reset(task.limit.stored)

    def close(self) -> None:
        """Add what was spent without the store to it, if it can be reached; never raise."""
        if self._found is None:
            return
        try:
            unconfirmed_of(self._found).deliver(time.monotonic() + CLOSE_SECONDS, waits=True)
        except (StoreUnreachableError, StoreBusyError) as error:
            logger.warning(
                "what was spent without the store of the budgets is not added to it (%s)",
                type(error).__name__,
            )

    def add(
        self,
        agent_name: str,
        metadata: Mapping[str, Any],
        *,
        cost_usd: Decimal | None,
        tokens: int,
    ) -> None:
        """Add the usage of a call that was not held, such as an unmanaged model's.

        Args:
            agent_name: The agent that it is recorded under.
            metadata: The metadata of its run.
            cost_usd: Its cost; None: unknown, and not added.
            tokens: Its tokens.
        """
        if not self._limits and self._project not in TASKS.projects:
            return
        applied = self._applied(agent_name, metadata, refuses_unknown=False)
        for limit, key, store in applied:
            if limit.unit == "usd" and cost_usd is None:
                continue
            used = tokens if cost_usd is None or limit.unit == "tokens" else nano_of(cost_usd)
            SETTLEMENTS.add_later(
                store, [Claim(limit.stored, key, limit.calendar, limit.limit, used)]
            )


def _never(_: str) -> bool:
    return False


def _limit_of(usd: Decimal | float | str | None, tokens: int | None) -> tuple[Unit, int]:
    """Return unit and limit of a task's budget."""
    if (usd is None) == (tokens is None):
        raise ConfigurationError("a budget needs one of usd and tokens")
    if tokens is not None:
        if not isinstance(tokens, int) or not 0 < tokens <= MOST_TOKENS:
            raise ConfigurationError("tokens must be a whole number above 0")
        return "tokens", tokens
    try:
        amount = Decimal(str(usd))
    except InvalidOperation:
        raise ConfigurationError("usd must be a number, such as '0.50'") from None
    if not amount.is_finite() or not 0 < amount <= MOST_USD:
        raise ConfigurationError(f"usd must be more than 0 and at most {MOST_USD}")
    return "usd", nano_of(amount)
