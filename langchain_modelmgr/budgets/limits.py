"""Limit: one budget with its rules, and its status."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from langchain_modelmgr.budgets.money import nano_of, usd_of_nano
from langchain_modelmgr.budgets.windows import Calendar, calendar

if TYPE_CHECKING:
    from collections.abc import Mapping
    from decimal import Decimal

    from langchain_modelmgr.budgets.store import Figures
    from langchain_modelmgr.config.budget_schema import BudgetConfig

Unit = Literal["usd", "tokens"]

_MOST_KEY = 200
"""Characters of a key; a longer one is replaced by its hash."""


@dataclass(frozen=True, slots=True)
class BudgetStatus:
    """What is spent of one budget in its current window. Money is USD as Decimal.

    Attributes:
        name: The budget's name.
        key: The value of ``by``; None: the budget has none, or it is that of calls without one.
        unit: ``usd`` or ``tokens``.
        limit: The limit.
        spent: What was settled.
        held: What is reserved by attempts that have not ended.
        uncertain: The part of ``spent`` that may be more than what was billed.
        remaining: ``limit - spent - held``; it may be negative.
        resets_at: When the window ends, in UTC; None: never.
    """

    name: str
    key: str | None
    unit: Unit
    limit: Decimal | int
    spent: Decimal | int
    held: Decimal | int
    uncertain: Decimal | int
    remaining: Decimal | int
    resets_at: datetime | None


@dataclass(frozen=True, slots=True, eq=False)
class Limit:
    """One budget.

    Attributes:
        name: Its name.
        stored: Its name in the store, which changes with its unit and period.
        unit: What it counts.
        limit: Whole nano-USD, or tokens.
        calendar: Its windows.
        agents: The agents that it holds for; empty: all.
        by: ``agent`` or ``metadata.<key>``; None: one budget for all.
        warn_at: The part of the limit from which a warning is logged; None: never.
        degrade_at: The part from which cheaper candidates are preferred; None: never.
        unpriced_allowed: Whether models without a known price are called, without a limit.
        wait_seconds: How long a call waits for held money.
    """

    name: str
    stored: str
    unit: Unit
    limit: int
    calendar: Calendar
    agents: frozenset[str] = frozenset()
    by: str | None = None
    warn_at: float | None = None
    degrade_at: float | None = None
    unpriced_allowed: bool = False
    wait_seconds: float = 0.0

    @classmethod
    def of(cls, name: str, config: BudgetConfig) -> Limit:
        """Return the limit of a budget of the YAML."""
        unit: Unit = "tokens" if config.usd is None else "usd"
        return cls(
            name=name,
            stored=f"{name}/{unit}/{config.per}",
            unit=unit,
            limit=(config.tokens or 0) if config.usd is None else nano_of(config.usd),
            calendar=calendar(config.per, config.timezone),
            agents=frozenset(config.agent),
            by=config.by,
            warn_at=config.warn_at,
            degrade_at=config.degrade_at,
            unpriced_allowed=config.unpriced == "allow",
            wait_seconds=config.wait_seconds,
        )

    def key_of(self, agent_name: str, metadata: Mapping[str, Any]) -> str:
        """Return the key of a call; empty: none."""
        if self.by is None:
            return ""
        if self.by == "agent":
            return agent_name
        value = metadata.get(self.by.removeprefix("metadata."))
        return "" if value is None else stored_key(str(value))

    def amount(self, stored: int) -> Decimal | int:
        """Return a store's amount as USD, or as tokens."""
        return usd_of_nano(stored) if self.unit == "usd" else stored

    def text(self, stored: int) -> str:
        """Return a store's amount as text."""
        return f"{self.amount(stored)} USD" if self.unit == "usd" else f"{stored} tokens"

    def status(self, figures: Figures) -> BudgetStatus:
        """Return the status that figures of the store show."""
        return BudgetStatus(
            name=self.name,
            key=figures.key or None,
            unit=self.unit,
            limit=self.amount(self.limit),
            spent=self.amount(figures.spent),
            held=self.amount(figures.held),
            uncertain=self.amount(figures.uncertain),
            remaining=self.amount(self.limit - figures.spent - figures.held),
            resets_at=moment(figures.end),
        )


def stored_key(key: str) -> str:
    """Return a key as stores have it."""
    if len(key) <= _MOST_KEY:
        return key
    return f"sha256:{hashlib.sha256(key.encode('utf-8', 'surrogatepass')).hexdigest()}"


def moment(ms: int | None) -> datetime | None:
    """Return milliseconds since 1970 as a datetime in UTC."""
    return None if ms is None else datetime.fromtimestamp(ms / 1000, UTC)
