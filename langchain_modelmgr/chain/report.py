"""CallReport: the attempts, skipped models and cost of a call, for its answer or its error."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from langchain_modelmgr.chain.next_step import next_step
from langchain_modelmgr.errors import (
    AllModelsFailedError,
    Attempt,
    ModelCompatibilityError,
    exhausted,
)
from langchain_modelmgr.runtime.masking import mask_account_ids
from langchain_modelmgr.usage.answer_report import AnswerReport

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from langchain_modelmgr.chain.candidate import Candidate
    from langchain_modelmgr.errors import BedrockError

_FIELDS = tuple(f.name for f in fields(Attempt))


@dataclass(slots=True)
class CallReport:
    """The attempts of one call so far, and the models it skipped.

    Attributes:
        agent_name: The agent.
        environment: The configuration's environment, for the commands of next steps.
        candidates: The chain's candidates, the primary first.
        attempts: The attempts, in order.
        failures: Each failure with the candidate that failed, in order.
        skipped: The models that were not called, with the reason; serializable as JSON.
        skipped_candidates: The same, as candidates.
        cost: USD of the last attempt; None: unknown.
        output_cost: The part of ``cost`` that its output tokens cost.
        wasted: USD that Bedrock probably billed for attempts that broke.
    """

    agent_name: str
    environment: str
    candidates: Sequence[Candidate]
    attempts: list[Attempt] = field(default_factory=list)
    failures: list[tuple[Candidate, BedrockError]] = field(default_factory=list)
    skipped: list[dict[str, str]] = field(default_factory=list)
    skipped_candidates: list[tuple[Candidate, str]] = field(default_factory=list)
    cost: Decimal | None = None
    output_cost: Decimal | None = None
    wasted: Decimal = field(default_factory=Decimal)

    def skip(self, candidate: Candidate, reason: str) -> None:
        """Record that a model is not called."""
        self.skipped.append({"model_id": candidate.model_id, "reason": reason})
        self.skipped_candidates.append((candidate, reason))

    def fallback_reason(self, candidate: Candidate, passed_over: str) -> str | None:
        """Return why a candidate is called in place of the primary; None for the primary.

        Args:
            candidate: The candidate.
            passed_over: Why the primary was passed over; empty if it was not.
        """
        primary = self.candidates[0]
        if candidate is primary:
            return None
        failures = (type(f).__name__ for c, f in reversed(self.failures) if c is not candidate)
        skipped = (reason for c, reason in self.skipped_candidates if c is primary)
        return next(failures, None) or next(skipped, passed_over) or "A budget is nearly spent"

    def answered_by(self, model_id: str, *, fallback_used: bool, latency_ms: float) -> AnswerReport:
        """Return ``response_metadata["model_manager"]``, serializable as JSON."""
        return AnswerReport(
            {
                "agent_name": self.agent_name,
                "model_id": model_id,
                "fallback_used": fallback_used,
                "attempts": [_plain(attempt) for attempt in self.attempts],
                "skipped": self.skipped,
                "latency_ms": latency_ms,
                "cost_usd": None if self.cost is None else str(self.cost),
                "output_cost_usd": None if self.output_cost is None else str(self.output_cost),
                "estimated_wasted_cost_usd": str(self.wasted),
                "cached": False,
            }
        )

    def incompatible(self, able: Iterable[str]) -> ModelCompatibilityError:
        """Return the error of a call that no candidate can serve.

        Args:
            able: The configured models that could.
        """
        lacking = "; ".join(
            f"{mask_account_ids(s['model_id'])}: {s['reason']}" for s in self.skipped
        )
        named = {mask_account_ids(skipped["model_id"]) for skipped in self.skipped}
        able = [model for model in able if model not in named]
        hint = (
            f"configured models that can: {', '.join(able)}" if able else "no configured model can"
        )
        return ModelCompatibilityError(f"agent {self.agent_name!r}: {lacking} ({hint})")

    def error(self, *, as_it_is: bool, spent: str = "") -> BedrockError | AllModelsFailedError:
        """Return the error of the whole call, with the next steps as notes.

        Args:
            as_it_is: True if the last failure is raised whatever came before it.
            spent: For a call past its deadline: how its time was spent. Its last failure is the
                cause.
        """
        error = self._error(as_it_is=as_it_is, spent=spent)
        for note in self._notes(as_it_is=as_it_is):
            error.add_note(note)
        return error

    def _error(self, *, as_it_is: bool, spent: str) -> BedrockError | AllModelsFailedError:
        last = self.failures[-1][1]
        agent, models = f"agent {self.agent_name!r}: ", self._models() + spent
        if as_it_is:
            last.attempts, last.args = tuple(self.attempts), (agent + models,)
            return last
        if spent or len({type(failure) for _, failure in self.failures}) == 1:
            return exhausted(last, agent + models, self.attempts)
        return AllModelsFailedError(
            f"{agent}every model failed: {models}",
            self.attempts,
            is_retryable=any(failure.is_retryable for _, failure in self.failures),
        )

    def _notes(self, *, as_it_is: bool) -> list[str]:
        """Return the next steps, one for each cause and region, in the order of the chain."""
        last_of = dict(self.failures)
        causes = [self.failures[-1]] if as_it_is else [(c, last_of[c]) for c in last_of]
        steps = (
            next_step(
                failure,
                agent=self.agent_name,
                environment=self.environment,
                region=candidate.region or "unknown",
            )
            for candidate, failure in causes
        )
        return list(dict.fromkeys(step for step in steps if step))

    def _models(self) -> str:
        """Return every model in the chain's order: its last failure, or why it was skipped."""
        texts = (text for candidate in self.candidates for text in self._texts(candidate))
        return mask_account_ids("; ".join(texts))

    def _texts(self, candidate: Candidate) -> list[str]:
        label = candidate.settings.label
        failures = [failure for one, failure in self.failures if one is candidate]
        times = f" ({len(failures)} attempts)" if len(failures) > 1 else ""
        tried = [f"{label}: {failures[-1]}{times}"] if failures else []
        skipped = [r for one, r in self.skipped_candidates if one is candidate]
        return [*tried, *(f"skipped {label}: {reason}" for reason in skipped)]

    def spent(self, total: float, deadline: float) -> str:
        """Return how a call past its deadline spent its time.

        Args:
            total: Seconds that the call took.
            deadline: Seconds that it was allowed to take.
        """
        by_model: dict[str, list[float]] = {}
        for attempt in self.attempts:
            by_model.setdefault(attempt.model_id, []).append(attempt.latency_ms / 1000)
        tried = ", ".join(
            f"{sum(took):.1f} s in {len(took)} attempt{'s' if len(took) > 1 else ''} on "
            f"{mask_account_ids(model_id)}"
            for model_id, took in by_model.items()
        )
        waited = max(0.0, total - sum(sum(took) for took in by_model.values()))
        if not tried:
            return f" (deadline of {deadline:g} s: nothing sent in {waited:.1f} s)"
        return f" (deadline of {deadline:g} s: {tried}, {waited:.1f} s waiting between them)"


def _plain(attempt: Attempt) -> dict[str, Any]:
    """Return an attempt for JSON; ``dataclasses.asdict`` takes ten times as long."""
    plain = {name: getattr(attempt, name) for name in _FIELDS}
    plain["adapted"] = list(attempt.adapted)
    return plain
