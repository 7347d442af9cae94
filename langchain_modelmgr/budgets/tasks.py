"""TaskBudget: what one task may spend, in any thread, process and manager of its project."""

from __future__ import annotations

import threading
from collections import OrderedDict
from contextlib import AbstractContextManager
from contextvars import ContextVar
from decimal import Decimal
from typing import TYPE_CHECKING, Self

from langchain_modelmgr.budgets.money import nano_of
from langchain_modelmgr.budgets.settlements import SETTLEMENTS
from langchain_modelmgr.runtime.active_objects import ActiveObject
from langchain_modelmgr.runtime.forks import AFTER_FORK

if TYPE_CHECKING:
    from langchain_modelmgr.budgets.limits import BudgetStatus, Limit
    from langchain_modelmgr.budgets.store import BudgetStore

_NAMES_KEPT = 100_000
"""Names of tasks that a process remembers; the oldest are forgotten first."""

_ACTIVE: ContextVar[tuple[TaskBudget, ...]] = ContextVar("modelmgr_task_budgets", default=())
"""The task budgets of this context."""


class TaskBudget(ActiveObject, AbstractContextManager["TaskBudget"]):
    """A limit for the calls of one task.

    As a context manager it holds the calls that are begun inside the block, in its context,
    including tasks, LangChain's batches and copied contexts. It may be entered and exited in
    different contexts and threads. Blocks nest: a call must fit all of them.

    Args:
        name: The task's name; None: the budget belongs to this object alone.
        limit: The limit.
        store: Where it is kept.
        project: The project, whose managers' calls are held.
    """

    _VARIABLE = _ACTIVE
    _IS_ENTERED = "this budget is already entered: call budget() again for another"

    def __init__(
        self, name: str | None, limit: Limit, store: BudgetStore, project: tuple[str, str]
    ) -> None:
        self.name = name
        self.limit = limit
        self.store = store
        self.project = project
        super().__init__()

    def __enter__(self) -> Self:
        """Begin to hold calls.

        Raises:
            RuntimeError: It is already entered.
        """
        return super().__enter__()

    def __exit__(self, *error: object) -> None:
        """Hold no call that is begun from now on."""
        super().__exit__(*error)

    def count_at_least(self, usd: Decimal) -> None:
        """Count what was spent outside of this budget, if it is more than was counted.

        Args:
            usd: What was spent in all.

        Raises:
            BudgetStoreError: Its store can't be used.
        """
        from langchain_modelmgr.budgets.store import Claim, answered

        missing = nano_of(usd) - nano_of(Decimal(self.spent))
        if missing > 0:
            limit = self.limit
            with answered():
                self.store.add([Claim(limit.stored, "", limit.calendar, limit.limit, missing)])

    @property
    def status(self) -> BudgetStatus:
        """What is spent, held and left; ``BudgetStoreError`` if its store can't be used."""
        from langchain_modelmgr.budgets.store import Figures, answered

        SETTLEMENTS.drain()
        with answered():
            found = self.store.figures(self.limit.stored, self.limit.calendar, key="")
        return self.limit.status(found[0] if found else Figures(self.limit.stored, "", 0, None))

    @property
    def spent(self) -> Decimal | int:
        """What was settled: USD, or tokens."""
        return self.status.spent

    @property
    def held(self) -> Decimal | int:
        """What is reserved by calls that have not ended."""
        return self.status.held

    @property
    def uncertain(self) -> Decimal | int:
        """The part of ``spent`` that may be more than what was billed."""
        return self.status.uncertain

    @property
    def remaining(self) -> Decimal | int:
        """What is left."""
        return self.status.remaining

    def __repr__(self) -> str:
        return f"TaskBudget({self.name!r}, {self.limit.text(self.limit.limit)})"


class _Tasks:
    """The named tasks of this process.

    Attributes:
        projects: The projects that have had a task's budget in this process.
    """

    def __init__(self) -> None:
        self._named: OrderedDict[tuple[tuple[str, str], str], TaskBudget] = OrderedDict()
        self._lock = threading.Lock()
        self.projects: set[tuple[str, str]] = set()
        AFTER_FORK.watch(self)

    def reset_after_fork(self) -> None:
        self._lock = threading.Lock()

    def add(self, task: TaskBudget) -> None:
        self.projects.add(task.project)
        if task.name is None:
            return
        with self._lock:
            self._named[task.project, task.name] = task
            self._named.move_to_end((task.project, task.name))
            while len(self._named) > _NAMES_KEPT:
                self._named.popitem(last=False)

    def named(self, project: tuple[str, str], name: str) -> TaskBudget | None:
        return self._named.get((project, name))


TASKS = _Tasks()
"""The named tasks of this process, whose budgets calls find by their metadata."""


def active_tasks(project: tuple[str, str]) -> list[TaskBudget]:
    """Return the task budgets of this context that hold calls of a project."""
    return [t for t in _ACTIVE.get() if t.project == project and not t.is_over]
