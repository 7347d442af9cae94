"""Call: decides which candidate is tried next, from the first attempt to the answer or error."""

from __future__ import annotations

import logging
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, NoReturn, Self

from langchain_core.messages import AIMessageChunk
from langchain_core.outputs import ChatGenerationChunk

from langchain_modelmgr.bedrock.failures import died_before_reply
from langchain_modelmgr.bedrock.time_budget import TimeBudget
from langchain_modelmgr.budgets.call_budget import ReorderedError
from langchain_modelmgr.chain.candidate_order import CandidateOrder
from langchain_modelmgr.chain.cooldown import Caller
from langchain_modelmgr.chain.first_chunks import FirstChunks
from langchain_modelmgr.chain.policy import (
    Decision,
    History,
    Retry,
    Stop,
    always_itself,
    decide,
    health_effect,
)
from langchain_modelmgr.chain.report import CallReport
from langchain_modelmgr.chain.request import AttemptRequest
from langchain_modelmgr.chain.spending import CallSpending
from langchain_modelmgr.errors import BedrockError, BudgetExceededError
from langchain_modelmgr.runtime.jitter import uniform
from langchain_modelmgr.usage.meter import Meter
from langchain_modelmgr.usage.pricing import output_cost_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from langchain_core.outputs import ChatResult

    from langchain_modelmgr.chain.call_input import ChainInput, ChainRules
    from langchain_modelmgr.chain.candidate import Candidate
    from langchain_modelmgr.chain.candidate_order import CandidateState
    from langchain_modelmgr.errors import ModelCompatibilityError
    from langchain_modelmgr.tracing.attempt_span import AttemptSpan
    from langchain_modelmgr.tracing.call_span import CallSpan

logger = logging.getLogger(__name__)

TRY_ANOTHER = (BedrockError, BudgetExceededError, ReorderedError)
"""The errors of an attempt after which another candidate may be tried."""


class Call:
    """The state of one call: the candidates left, the attempts made, and its report.

    A context manager: entering it chooses the first candidate, leaving it records the call.

    Args:
        candidates: The chain's candidates, the primary first.
        rules: The chain's settings.
        given: The call's input.

    Raises:
        ModelCompatibilityError: On entering: no candidate can serve the request, or the primary
            can't serve what is bound to it.
    """

    def __init__(
        self, candidates: Sequence[Candidate], rules: ChainRules, given: ChainInput
    ) -> None:
        self._candidates = candidates
        self._rules = rules
        self._request = given.request
        self._usage = given.usage
        self._budget = given.budget
        self._outcome = given.outcome
        self._started = self._last_byte = time.perf_counter()
        self._deadline = self._started + rules.deadline_seconds
        self._report = CallReport(rules.agent_name, rules.environment, candidates)
        self._caller = Caller(
            agent_name=rules.agent_name,
            seconds=rules.cooldown_seconds,
            timeout=min(given.request.timeout, rules.deadline_seconds),
            prompt=given.request.fingerprint,
        )
        self._order = CandidateOrder(given.request, rules.cooldowns, self._caller)
        self._spending = (
            None
            if given.budget is None
            else CallSpending(given.budget, given.request, self._order, rules.degrade_to)
        )
        self._meter: Meter | None = None
        self._began = self._started
        self._span: CallSpan | None = None
        self._answered: bool | None = None
        self._left_by_reader = False

    @property
    def candidate(self) -> Candidate:
        """The model that is called now."""
        return self._order.current.candidate

    def __enter__(self) -> Self:
        if self._rules.spans is not None:
            self._span = self._rules.spans.call(self._rules, self._usage.run_id)
        try:
            self._order.start(self._fitting())
        except BaseException as error:
            self._end_span(type(error))
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None and issubclass(kind, Exception) and not self._left_by_reader:
            self._answered = False
        self._end_span(kind)
        if self._spending is not None:
            self._spending.end()
        # Ends a probe that neither failed nor was answered.
        self._rules.cooldowns.left(self._order.current.key, self._caller)
        primary = self._candidates[0]
        self._usage.call_ended(
            answered=self._answered,
            latency_ms=self._latency_ms(),
            fallback_used=self.candidate is not primary,
        )

    def _end_span(self, error: type[BaseException] | None) -> None:
        if self._span is not None:
            by = self.candidate.model_id if self._answered else None
            error = None if self._left_by_reader else error
            self._span.end(self._report, answered_by=by, error=error, budget=self._budget)

    # -- one attempt

    def attempt(self) -> AttemptRequest:
        """Return the next attempt."""
        self._chunks = FirstChunks()
        self._meter = meter = Meter(
            self.candidate.model_id,
            self._attempt_ended,
            on_send=self._attempt_started,
            keep_content=self._request.keep_content,
        )
        if self._spending is not None:
            self._spending.attach(meter, self.candidate)
        self._time_budget = self._new_time_budget()
        self._began = self._rules.cooldowns.now()
        if self._span is not None:
            meter.span = self._new_span(self._span)
        return AttemptRequest(self._request, meter, self._time_budget)

    def _new_span(self, call: CallSpan) -> AttemptSpan:
        why = self._order.why_passed_over(self._candidates[0])
        reason = self._report.fallback_reason(self.candidate, why)
        number = len(self._report.attempts) + 1
        return call.attempt(self.candidate.settings.model, number=number, fallback_reason=reason)

    def _new_time_budget(self) -> TimeBudget:
        return TimeBudget(self._request.timeout, self._deadline, self._rules.watchdog)

    def after(self, failure: BedrockError | BudgetExceededError | ReorderedError) -> float:
        """Choose the next candidate, and return the seconds to wait before it is called.

        Raises:
            ModelManagerError: No candidate is left, or none should be tried after this failure.
        """
        if not isinstance(failure, BedrockError):
            return self._go_on_unpaid(failure)
        state = self._order.current
        self._report.failures.append((state.candidate, failure))
        is_news = self._note_health(state, failure)
        state.failures, state.failure = state.failures + 1, failure
        order = self._order
        back = None if order.larger_windows_left else self._retry_of_the_last()
        decision = self._decide(state, can_go_back=back is not None)
        if isinstance(decision, Retry):
            state.stale_retry_used |= died_before_reply(failure)
            return decision.delay
        if decision.larger_window:
            for dropped in order.drop_smaller_windows():
                self._report.skip(dropped, "Model has no larger context window")
        if isinstance(decision, Stop):
            raise self._exhausted(failure, decision) from failure.__cause__
        if order.left or back is None:
            self._go_on(failure, logging.WARNING if is_news else logging.DEBUG)
            return 0.0
        order.go_back()
        return back.delay

    def _go_on_unpaid(self, error: BudgetExceededError | ReorderedError) -> float:
        """Go on to the next candidate, because no budget pays for this one or another is first."""
        self._rules.cooldowns.left(self._order.current.key, self._caller)
        if isinstance(error, BudgetExceededError) and self._spending is not None:
            self._spending.refuse(self.candidate, error)
            self._report.skip(self.candidate, f"Budget {error.budget!r} can't pay for it")
            if not self._order.left:
                self._raise_unpaid(self._spending)
        self._order.go_on()
        return 0.0

    def _raise_unpaid(self, spending: CallSpending) -> NoReturn:
        if not self._report.failures:
            raise spending.error()
        last = self._report.failures[-1][1]
        error = self._exhausted(last, Stop())
        for note in spending.notes():
            error.add_note(note)
        raise error from last.__cause__

    def _decide(self, state: CandidateState, *, can_go_back: bool = False) -> Decision:
        """Return what to do after the last failure of a candidate.

        Args:
            state: The current candidate, or the last one in order, which is tried after all others.
            can_go_back: True if the last candidate in order can be tried again.
        """
        if state.failure is None:
            return Stop()
        is_current = state is self._order.current
        left = self._order.left if is_current else 0
        larger = self._order.larger_windows_left if is_current else 0
        history = History(
            failures_here=state.failures,
            candidates_left=left + can_go_back,
            larger_windows_left=larger + can_go_back,
            stale_retry_used=state.stale_retry_used,
            content_delivered=self._chunks.committed,
            seconds_left=self._deadline - time.perf_counter(),
            is_substitute=self._is_substitute(state),
        )
        retries = self._rules.max_retries
        return decide(state.failure, history, max_retries=retries, jitter=uniform)

    def _is_substitute(self, state: CandidateState) -> bool:
        """Return whether a fallback is called because of a transient failure before it."""
        if state.candidate is self._candidates[0]:
            return False
        return self._order.passed_over or any(f.is_retryable for _, f in self._report.failures)

    def _retry_of_the_last(self) -> Retry | None:
        """Return the retry that the last candidate in order has, after the last resorts failed."""
        last = self._order.last
        if last is None or last is self._order.current:
            return None
        decision = self._decide(last)
        return decision if isinstance(decision, Retry) else None

    def _note_health(self, state: CandidateState, failure: BedrockError) -> bool:
        effect = health_effect(failure, self._time_budget.waited, paused=self._time_budget.paused)
        return self._rules.cooldowns.failed(state.key, self._caller, effect, self._began)

    def answered(self, result: ChatResult) -> ChatResult:
        """Return the answer with its report in ``response_metadata["model_manager"]``."""
        result.generations[0].message.response_metadata["model_manager"] = self._end_answered()
        return result

    # -- a stream's chunks

    def release(self, chunk: ChatGenerationChunk) -> Sequence[ChatGenerationChunk]:
        """Return the chunks to yield now: none before this candidate's first content."""
        if self._chunks.committed:
            return self._chunks.next(chunk)
        return self._first(chunk)

    def _first(self, chunk: ChatGenerationChunk) -> Sequence[ChatGenerationChunk]:
        released = self._chunks.first(chunk)
        if self._chunks.committed:
            key = self._order.current.key
            self._rules.cooldowns.content_came(key, self._caller, self._began)
        return released

    def rest(self) -> Iterator[ChatGenerationChunk]:
        """Yield the chunks of an answer without content, then the chunk with the report."""
        yield from self._chunks.rest()
        metadata = {"model_manager": self._end_answered()}
        last = AIMessageChunk(content="", response_metadata=metadata, chunk_position="last")
        yield ChatGenerationChunk(message=last)

    # -- candidates

    def _fitting(self) -> list[Candidate]:
        """Return the candidates that can serve the request, and report why others can't."""
        fitting = []
        for position, candidate in enumerate(self._candidates):
            reason = candidate.unsuited_because(self._request)
            if position and reason is None:
                reason = self._too_small(candidate)
            if reason is None:
                fitting.append(candidate)
                continue
            self._report.skip(candidate, reason)
            if position == 0 and candidate.unsuited_because(self._request.bound):
                raise self._incompatible()  # what is bound is configuration: the primary must fit
        if not fitting:
            raise self._incompatible()
        return fitting

    def _too_small(self, candidate: Candidate) -> str | None:
        window = candidate.settings.model.context_window
        if window is None or self._request.least_tokens <= window:
            return None
        return f"Model's context window of {window} tokens is smaller than the prompt"

    def _go_on(self, failure: BedrockError, level: int) -> None:
        previous = self.candidate
        self._order.go_on()
        logger.log(
            level,
            "agent %s: falling back from %s to %s after %s (request id %s)",
            self._rules.agent_name,
            previous.public_id,
            self.candidate.public_id,
            type(failure).__name__,
            failure.request_id or "unknown",
        )

    def _note_passed_over(self) -> None:
        """Report the models in a cooldown that were not tried as a last resort either."""
        for state in self._order.resting:
            self._report.skip(state.candidate, state.passed_over)

    # -- attempts and the call's end

    def _attempt_started(self, meter: Meter) -> None:
        self._usage.attempt_started(
            meter,
            self.candidate.settings.model,
            is_fallback=self.candidate is not self._candidates[0],
        )

    def _attempt_ended(self, meter: Meter) -> None:
        self._report.attempts.append(meter.attempt)
        self._last_byte = meter.last_byte
        model = self.candidate.settings.model
        record = self._usage.attempt_ended(
            meter, model, is_fallback=self.candidate is not self._candidates[0]
        )
        self._report.cost, self._report.output_cost = record.cost_usd, None
        if record.cost_usd is not None and meter.usage is not None:
            tier = meter.service_tier
            self._report.output_cost = output_cost_of(meter.usage, model, tier)
        self._report.wasted += record.estimated_wasted_cost_usd or 0
        if self._span is not None:
            self._span.attempt_ended(meter, record)

    def _latency_ms(self) -> float:
        return round((self._last_byte - self._started) * 1000, 3)

    def _end_answered(self) -> dict[str, Any]:
        """Record that the call was answered, and return its report."""
        self._answered = True
        self._rules.cooldowns.answered(self._order.current.key, self._caller, self._began)
        self._note_passed_over()
        self._outcome.meter = self._meter
        self._outcome.report = self._report.answered_by(
            self.candidate.model_id,
            fallback_used=self.candidate is not self._candidates[0],
            latency_ms=self._latency_ms(),
        )
        if self._spending is not None:
            self._outcome.report |= self._spending.report(self._meter)
        return self._outcome.report

    def _exhausted(self, failure: BedrockError, decision: Stop) -> Exception:
        """Return the error of the whole call."""
        self._left_by_reader = self._time_budget.by_reader
        committed = self._chunks.committed
        if committed:
            failure.partial_text = self._chunks.text
            usage = None if self._meter is None else self._meter.usage
            failure.usage = None if usage is None else asdict(usage)
        logger.warning(
            "agent %s: gave up on %s after %s (attempts: %d, request id %s)",
            self._rules.agent_name,
            self.candidate.public_id,
            type(failure).__name__,
            len(self._report.attempts),
            failure.request_id or "unknown",
        )
        spent = ""
        if decision.out_of_time:
            total = time.perf_counter() - self._started
            spent = self._report.spent(total, self._rules.deadline_seconds)
            for candidate in self._order.waiting:
                self._report.skip(candidate, "The call's deadline passed before its turn")
        self._note_passed_over()
        as_it_is = (
            (bool(self._order.left) and not decision.out_of_time)
            or committed
            or always_itself(failure, is_substitute=self._is_substitute(self._order.current))
        )
        return self._report.error(as_it_is=as_it_is, spent=spent)

    def _incompatible(self) -> ModelCompatibilityError:
        return self._report.incompatible(self._rules.alternatives(self._request.needs))
