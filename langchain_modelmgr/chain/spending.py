"""CallSpending: lets the budgets of a call pay for its attempts, and reorders its candidates."""

from __future__ import annotations

import logging
from concurrent.futures import wait
from typing import TYPE_CHECKING, Any

from langchain_modelmgr.budgets.worst_case import output_cap, worst_case

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from langchain_modelmgr.budgets.attempt_budget import AttemptBudget
    from langchain_modelmgr.budgets.call_budget import CallBudget
    from langchain_modelmgr.catalog import ModelConfig
    from langchain_modelmgr.chain.candidate import Candidate
    from langchain_modelmgr.chain.candidate_order import CandidateOrder
    from langchain_modelmgr.chain.request import ChatRequest
    from langchain_modelmgr.errors import BudgetExceededError
    from langchain_modelmgr.usage.meter import Meter

logger = logging.getLogger(__name__)

CAP_REACHED = "max_tokens"
"""Bedrock's stop reason of an answer that was cut at ``maxTokens``."""


class CallSpending:
    """The budgets of one call, and what they refused.

    Args:
        budget: The budgets that apply.
        request: The request.
        order: The call's candidates.
        degrade_to: The models that are called first while a budget is nearly spent, by its name.
    """

    def __init__(
        self,
        budget: CallBudget,
        request: ChatRequest,
        order: CandidateOrder,
        degrade_to: Mapping[str, Candidate],
    ) -> None:
        self._budget = budget
        self._request = request
        self._order = order
        self._degrade_to = degrade_to
        self._attempt: AttemptBudget | None = None
        self._refusals: list[tuple[Candidate, BudgetExceededError]] = []
        budget.prefer = self._prefer

    def attach(self, meter: Meter, candidate: Candidate) -> None:
        """Let the budgets pay for an attempt."""

        def model(seconds: float) -> ModelConfig:
            if candidate.is_unresolved and (search := candidate.search()) is not None:
                wait([search], seconds)
                candidate.resolve()
            return candidate.settings.model

        meter.budget = self._attempt = self._budget.attempt(meter, model)

    def refuse(self, candidate: Candidate, error: BudgetExceededError) -> None:
        """Note that a candidate can't be paid."""
        self._refusals.append((candidate, error))

    def error(self) -> BudgetExceededError:
        """Return the error of a call for which no candidate can be paid: the cheapest one's."""
        errors = [error for _, error in self._refusals]
        priced = [error for error in errors if error.needed is not None]
        return min(priced, key=lambda error: error.needed or 0) if priced else errors[-1]

    def notes(self) -> list[str]:
        """Return a note for each candidate that could not be paid."""
        return [
            f"{candidate.public_id} was not called: budget {error.budget!r} can't pay for it"
            for candidate, error in self._refusals
        ]

    def report(self, meter: Meter | None) -> dict[str, Any]:
        """Return what an answer says of its budgets.

        Args:
            meter: The meter of the attempt that answered.
        """
        found: dict[str, Any] = {"budgets": self._budget.report()}
        caps = self._attempt is not None and self._attempt.caps_output
        if caps and meter is not None and meter.stop_reason == CAP_REACHED:
            found["max_tokens_set_by"] = "budget"
            self._budget.warn_of_the_cap()
        return found

    def end(self) -> None:
        """Drop the reference to the call."""
        self._budget.prefer = None

    def _prefer(self, params: Mapping[str, Any], nearly_spent: Sequence[str]) -> bool:
        """Put the candidates that may cost less first; return whether the first one changed."""
        state = self._order.current
        if state.failures:
            return False
        ranked = sorted(
            (state.candidate, *self._order.waiting),
            key=lambda candidate: self._cost(candidate, params),
        )
        for target in filter(None, map(self._degrade_to.get, nearly_spent)):
            if target.unsuited_because(self._request) is None:
                same = [c for c in ranked if c.settings.label == target.settings.label]
                target = same[0] if same else target  # noqa: PLW2901 - the chain's own one
                ranked = [target, *(c for c in ranked if c is not target)]
                break
        changed = ranked[0] is not state.candidate
        self._order.rearrange(ranked if changed else ranked[1:])
        return changed

    def _cost(self, candidate: Candidate, params: Mapping[str, Any]) -> float:
        model, tier = (
            candidate.settings.model,
            candidate.settings.request_fields.get("service_tier"),
        )
        own = {**params, "serviceTier": {"type": tier}} if tier else dict(params)
        if not tier:
            own.pop("serviceTier", None)
        given = (params.get("inferenceConfig") or {}).get("maxTokens")
        output = output_cap(params, model, given or self._budget.max_tokens)
        cost = worst_case(own, model, output).nano_usd
        return float("inf") if cost is None else cost
