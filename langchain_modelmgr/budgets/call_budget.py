"""CallBudget: the budgets that apply to one call, and what becomes of their limits."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from langchain_modelmgr.budgets.attempt_budget import AttemptBudget
from langchain_modelmgr.budgets.limits import moment
from langchain_modelmgr.budgets.places import unconfirmed_of
from langchain_modelmgr.budgets.store import StoreBusyError, StoreUnreachableError
from langchain_modelmgr.errors import BudgetExceededError, BudgetStoreError
from langchain_modelmgr.runtime.masking import mask_account_ids
from langchain_modelmgr.usage.pricing import TokenCounts, unpriced_because

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from langchain_modelmgr.budgets.attempt_budget import Applied
    from langchain_modelmgr.budgets.limits import Limit
    from langchain_modelmgr.budgets.store import (
        BudgetStore,
        Claim,
        Figures,
        Refusal,
        Reservation,
    )
    from langchain_modelmgr.budgets.unconfirmed_usage import UnconfirmedUsage
    from langchain_modelmgr.budgets.worst_case import WorstCase
    from langchain_modelmgr.catalog import ModelConfig
    from langchain_modelmgr.usage.meter import Meter

logger = logging.getLogger(__name__)

_REMEDIES = "shorten the prompt, lower max_tokens, use a cheaper model, or raise the limit"


class ReorderedError(Exception):
    """A budget is nearly spent: another candidate is called first. Internal to a call."""


class CallBudget:
    """The budgets that apply to one call.

    Args:
        agent_name: The agent.
        applied: The budgets, at least one.
        max_tokens: ``max_tokens`` of requests without one.
        is_store_required: Whether a call fails while the store can't be reached.
        warned: Remembers, by budget and key, the window that was warned of.
        unconfirmed: Counts the attempts that are made without the store.

    Attributes:
        prefer: Puts cheaper candidates first: takes the request and the names of the budgets that
            are nearly spent, and returns whether another candidate is first now.
    """

    def __init__(  # noqa: PLR0913 - what its project shares with its calls
        self,
        agent_name: str,
        applied: Sequence[Applied],
        max_tokens: int,
        warned: dict[tuple[str, str], int],
        unconfirmed: UnconfirmedUsage,
        *,
        is_store_required: bool = False,
    ) -> None:
        self.agent_name = agent_name
        self.applied = applied
        self.max_tokens = max_tokens
        self.prefer: Callable[[Mapping[str, Any], Sequence[str]], bool] | None = None
        self._warned = warned
        self.unconfirmed = unconfirmed
        self._is_store_required = is_store_required
        self._nearly_spent: list[str] = []
        self._has_reordered = False
        self._left: dict[tuple[str, str], tuple[Limit, int, bool]] = {}

    def attempt(self, meter: Meter, model: Callable[[float], ModelConfig]) -> AttemptBudget:
        """Return the budgets of one attempt.

        Args:
            meter: The attempt's meter.
            model: Returns the model's facts; waits so many seconds for the lookup of its ARN.
        """
        return AttemptBudget(self, meter, model)

    def report(self) -> list[dict[str, Any]]:
        """Return name, key, limit and remaining of each budget, serializable as JSON."""
        return [
            {
                "name": limit.name,
                "key": key or None,
                "unit": limit.unit,
                "limit": _plain(limit.amount(limit.limit)),
                "remaining": _plain(limit.amount(left)),
                **({} if is_confirmed else {"unconfirmed": True}),
            }
            for (_, key), (limit, left, is_confirmed) in self._left.items()
        ]

    def warn_of_the_cap(self) -> None:
        """Log, once an agent, that an answer was cut at the ``max_tokens`` that budgets set."""
        if ("max_tokens", self.agent_name) not in self._warned:
            self._warned["max_tokens", self.agent_name] = 0
            logger.warning(
                "agent %s: an answer was cut at %d tokens, which its budgets set: set max_tokens "
                "of the agent, or budgets_max_tokens",
                self.agent_name,
                self.max_tokens,
            )

    # -- used by the attempts

    def payable(self, model: ModelConfig, worst: WorstCase) -> list[Applied]:
        """Return the budgets that can limit a model.

        Raises:
            BudgetExceededError: A budget refuses models without a known price or bound.
        """
        found = []
        for applied in self.applied:
            amount = worst.nano_usd if applied.limit.unit == "usd" else worst.tokens
            if amount is not None:
                found.append(applied)
            elif not applied.limit.unpriced_allowed:
                raise self._unpriced(applied.limit, model, worst)
        return found

    def reserve(
        self,
        store: BudgetStore,
        claims: Sequence[Claim],
        seconds: float,
        until: float,
        named: str | None = None,
    ) -> tuple[BudgetStore, Reservation | Refusal]:
        """Reserve the claims in a store; return the store that holds them.

        Raises:
            BudgetStoreError: The store can't be reached, and ``state_required`` is set, or other
                processes had locked it until the call's deadline.
        """
        substitute = unconfirmed_of(store)
        try:
            substitute.deliver(until)
            made = store.reserve(claims, seconds=seconds, deadline=until, named=named)
        except StoreBusyError:
            raise self.busy() from None
        except StoreUnreachableError as error:
            if self._is_store_required:
                text = f"the store of the budgets can't be used: {error}"
                raise BudgetStoreError(f"agent {self.agent_name!r}: {text}") from error
            made = substitute.reserve(claims, seconds=seconds, deadline=until, named=named)
            return substitute, made
        substitute.saw(made.figures)
        return store, made

    def busy(self) -> BudgetStoreError:
        """Return the error for a call whose deadline passed before anything was reserved."""
        text = "the store of the budgets was busy until the call's deadline"
        return BudgetStoreError(f"agent {self.agent_name!r}: {text}")

    def refused(self, refusing: Sequence[tuple[Applied, Figures, int]]) -> BudgetExceededError:
        """Return the error for budgets that can't pay; the one with the least left is named."""
        (limit, key, _), figures, amount = min(
            refusing,
            key=lambda each: (each[0].limit.limit - sum(each[1][4:6])) / each[0].limit.limit,
        )
        ends = moment(figures.end)
        named = f"budget {limit.name!r}" + (
            f" of {limit.by} {mask_account_ids(key)!r}" if key else ""
        )
        fits_later = figures.spent + amount <= limit.limit
        then = f"This {limit.calendar.per} ends at {ends:%Y-%m-%d %H:%M} UTC. " if ends else ""
        wait = "set wait_seconds to wait for what calls hold, " if fits_later else ""
        return BudgetExceededError(
            f"agent {self.agent_name!r}: {named} can't pay for this call: it may use up to "
            f"{limit.text(amount)}. Of {limit.text(limit.limit)}, {limit.text(figures.spent)} are "
            f"spent, and {limit.text(figures.held)} are held by calls that have not ended. "
            f"{then}To go on, {wait}{_REMEDIES}",
            budget=limit.name,
            key=key or None,
            limit=limit.amount(limit.limit),
            spent=limit.amount(figures.spent),
            held=limit.amount(figures.held),
            needed=limit.amount(amount),
            resets_at=ends,
            fits_later=fits_later,
        )

    def look(self, applied: Applied, figures: Figures, before: int) -> None:
        """Warn if a budget is nearly spent, and note whether cheaper candidates come first.

        Args:
            applied: The budget.
            figures: Its counters.
            before: What was spent and held before this attempt.
        """
        limit, key, _ = applied
        used = figures.spent + figures.held
        if limit.degrade_at is not None and before >= limit.degrade_at * limit.limit:
            self._nearly_spent.append(limit.name)
        if limit.warn_at is None or used < limit.warn_at * limit.limit:
            return
        if self._warned.get((limit.stored, key)) != figures.start:
            self._warned[limit.stored, key] = figures.start
            logger.warning(
                "budget %s%s: %s of %s are spent or held",
                limit.name,
                f" ({limit.by}: {mask_account_ids(key)})" if key else "",
                limit.text(used),
                limit.text(limit.limit),
            )

    def reordered(self, params: Mapping[str, Any], _: WorstCase) -> ReorderedError | None:
        """Return an error if a budget is nearly spent and another candidate is to be called."""
        if not self._nearly_spent or self._has_reordered or self.prefer is None:
            return None
        self._has_reordered = True
        return ReorderedError() if self.prefer(params, self._nearly_spent) else None

    def settled(
        self,
        store: BudgetStore,
        applied: Sequence[Applied],
        figures: Sequence[Figures],
        claims: Sequence[Claim],
        used: Sequence[int | None],
    ) -> None:
        """Note what is left of the budgets, for the call's report and for a store's failures."""
        is_confirmed = store is applied[0].store
        if is_confirmed:
            unconfirmed_of(store).settled(claims, used)
        for (limit, key, _), seen, claim, amount in zip(
            applied, figures, claims, used, strict=True
        ):
            charged = claim.amount if amount is None else amount
            left = limit.limit - seen.spent - seen.held + claim.amount - charged
            self._left[limit.stored, key] = limit, left, is_confirmed

    def _unpriced(self, limit: Limit, model: ModelConfig, worst: WorstCase) -> BudgetExceededError:
        name = mask_account_ids(model.model_id)
        if worst.tokens is None:
            why = "its prompt's tokens have no known bound: set context_window under models:"
        else:
            reason = unpriced_because(TokenCounts(1, 1, 0, 1), model, None)
            why = f"its price is unknown ({reason}): set its prices under models:"
        return BudgetExceededError(
            f"agent {self.agent_name!r}: budget {limit.name!r} can't limit {name}: {why}, or "
            "unpriced: allow, which does not limit it",
            budget=limit.name,
            limit=limit.amount(limit.limit),
        )


def _plain(amount: object) -> Any:
    return amount if isinstance(amount, int) else str(amount)
