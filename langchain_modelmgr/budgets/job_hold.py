"""Holds what a batch inference job may cost in the budgets of a call."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from langchain_modelmgr.budgets.attempt_budget import needed
from langchain_modelmgr.budgets.settlements import SETTLEMENTS
from langchain_modelmgr.budgets.store import Claim, Refusal, answered, reservation_id

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from langchain_modelmgr.budgets.attempt_budget import Applied
    from langchain_modelmgr.budgets.call_budget import CallBudget
    from langchain_modelmgr.budgets.store import BudgetStore
    from langchain_modelmgr.budgets.worst_case import WorstCase
    from langchain_modelmgr.catalog import ModelConfig

HOLD_SECONDS = 7 * 86_400.0
"""The longest time that a batch inference job may take: 168 hours."""

_STORE_SECONDS = 30.0


class Room(NamedTuple):
    """What is left of all budgets.

    Attributes:
        nano_usd: Of the one in USD that has the least left; None: no limit.
        tokens: Of the one in tokens that has the least left; None: no limit.
    """

    nano_usd: int | None
    tokens: int | None

    def has(self, nano_usd: int | None, tokens: int | None) -> bool:
        """Return whether amounts fit; one that is unknown does not."""
        pairs = ((self.nano_usd, nano_usd), (self.tokens, tokens))
        return all(left is None or (used is not None and used <= left) for left, used in pairs)


class Held(NamedTuple):
    """A reservation of a job.

    Attributes:
        store: Where it is.
        id: Its id.
        units: The unit of each claim, ``usd`` or ``tokens``.
    """

    store: BudgetStore
    id: str
    units: tuple[str, ...]


def room_of(call: CallBudget) -> Room:
    """Return what is left of the budgets of a call.

    Raises:
        BudgetStoreError: A store can't be used.
    """
    left: dict[str, int] = {}
    SETTLEMENTS.drain()
    for limit, key, store in call.applied:
        with answered():
            found = store.figures(limit.stored, limit.calendar, key=key)
        used = found[0].spent + found[0].held if found else 0
        left[limit.unit] = min(left.get(limit.unit, limit.limit), max(0, limit.limit - used))
    return Room(left.get("usd"), left.get("tokens"))


def hold(
    call: CallBudget,
    model: ModelConfig,
    worst: WorstCase,
    note: Callable[[list[tuple[str, list[str]]]], None],
) -> list[Held]:
    """Reserve what a job may use in all budgets of a call.

    Args:
        call: The budgets.
        model: The model, with the prices of the job.
        worst: The most that the job can use.
        note: Notes id and units of each reservation before it is made.

    Raises:
        BudgetExceededError: A budget can't pay for it.
        BudgetStoreError: A store can't be reached, and ``state_required`` is set.
    """
    applied = call.payable(model, worst)
    planned: dict[str, list[Applied]] = {
        reservation_id(HOLD_SECONDS): [each for each in applied if each.store is store]
        for store in dict.fromkeys(each.store for each in applied)
    }
    note([(name, [limit.unit for limit, _, _ in own]) for name, own in planned.items()])
    made: list[Held] = []
    try:
        made += [_hold(call, name, own, worst) for name, own in planned.items()]
    except BaseException:
        for name, own in planned.items():  # one that was not made is ignored
            SETTLEMENTS.settle(own[0].store, name, [0] * len(own))
        raise
    return made


def _hold(call: CallBudget, name: str, applied: Sequence[Applied], worst: WorstCase) -> Held:
    claims = [
        Claim(limit.stored, key, limit.calendar, limit.limit, needed(limit, worst))
        for limit, key, _ in applied
    ]
    until = time.monotonic() + _STORE_SECONDS
    holder, found = call.reserve(applied[0].store, claims, HOLD_SECONDS, until, name)
    if isinstance(found, Refusal):
        raise call.refused(
            [
                (each, figures, claim.amount)
                for each, figures, claim in zip(applied, found.figures, claims, strict=True)
                if figures.spent + figures.held + claim.amount > claim.limit
            ]
        )
    return Held(holder, found.id, tuple(limit.unit for limit, _, _ in applied))
