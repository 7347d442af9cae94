"""OpenTelemetrySpans and CallSpan: the spans of a manager's calls."""

from __future__ import annotations

from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Protocol

from opentelemetry import context as contexts
from opentelemetry import trace

from langchain_modelmgr.runtime.guard import Guard
from langchain_modelmgr.runtime.masking import mask_account_ids
from langchain_modelmgr.tracing import names
from langchain_modelmgr.tracing.attempt_span import AttemptFacts, AttemptSpan
from langchain_modelmgr.tracing.clock import Clock

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from decimal import Decimal

    from opentelemetry.context import Context
    from opentelemetry.trace import Span, Tracer

    from langchain_modelmgr.catalog import ModelConfig
    from langchain_modelmgr.usage.meter import Meter
    from langchain_modelmgr.usage.record import ModelUsageMetrics


class Caller(Protocol):
    """The agent that a call is for."""

    @property
    def agent_name(self) -> str:
        """The agent's name."""

    @property
    def environment(self) -> str:
        """The configuration's environment."""


class Report(Protocol):
    """The parts of a call's report that its span shows."""

    @property
    def attempts(self) -> Sequence[object]:
        """The attempts, in order."""

    @property
    def skipped(self) -> Sequence[Mapping[str, str]]:
        """The models that were not called, each with the reason."""

    @property
    def wasted(self) -> Decimal:
        """USD that attempts that broke probably cost."""


class Budget(Protocol):
    """The budgets of a call."""

    def report(self) -> Sequence[Mapping[str, Any]]:
        """Return name, limit, unit and remaining of each."""


class OpenTelemetrySpans:
    """Makes the spans of a manager's calls with the application's tracer provider.

    Args:
        failed: Called with this object and each error of OpenTelemetry.
    """

    def __init__(self, failed: Callable[[object, Exception], object]) -> None:
        self._guard = Guard(partial(failed, self))
        self._tracer = trace.get_tracer(
            names.SCOPE, version("langchain-modelmgr"), schema_url=names.SCHEMA_URL
        )

    def call(self, caller: Caller, run_id: str | None) -> CallSpan:
        """Start the span of a call, as a child of the caller's current span.

        Args:
            caller: The agent and the environment.
            run_id: LangChain's run id.
        """
        name = caller.agent_name
        attributes = {names.AGENT_NAME: name, names.ENVIRONMENT: caller.environment}
        if run_id is not None:
            attributes[names.RUN_ID] = run_id
        return CallSpan(self._tracer, self._guard, name, attributes)


class CallSpan:
    """The span of one call, which is never the current one.

    It has neither an operation's name nor token counts, so that nothing adds it to the spans of
    its attempts.

    Args:
        tracer: The tracer.
        guard: Keeps OpenTelemetry's failures away from the call.
        agent_name: The agent.
        attributes: The span's first attributes.
    """

    def __init__(
        self, tracer: Tracer, guard: Guard, agent_name: str, attributes: Mapping[str, str]
    ) -> None:
        self._tracer = tracer
        self._guard = guard
        self._agent_name = agent_name
        self._clock = Clock()
        self._span: Span | None = None
        self._context: Context | None = None
        self._attempt: AttemptSpan | None = None
        self._cost: Decimal | None = None
        self._is_unpriced = False
        self._seconds = 0.0
        self._last_byte = self._clock.reading
        with guard:
            parent = contexts.get_current()
            self._span = tracer.start_span(
                f"modelmgr.call {agent_name}",
                context=parent,
                kind=trace.SpanKind.INTERNAL,
                attributes=attributes,
                start_time=self._clock.start,
            )
            self._context = trace.set_span_in_context(self._span, parent)

    def attempt(
        self, model: ModelConfig, *, number: int, fallback_reason: str | None
    ) -> AttemptSpan:
        """Return the span of the next attempt, which has not begun.

        Args:
            model: The model that is called.
            number: 1 is the first attempt of the call.
            fallback_reason: Why another than the primary is called; None: the primary is.
        """
        attributes: dict[str, Any] = {
            names.AGENT_NAME: self._agent_name,
            names.ATTEMPT_NUMBER: number,
            names.FALLBACK: fallback_reason is not None,
        }
        if fallback_reason is not None:
            attributes[names.FALLBACK_REASON] = fallback_reason
        is_arn = model.model_id.startswith("arn:")
        served_by = (model.base_model_id if is_arn else None) or model.model_id
        facts = AttemptFacts(model.model_id, served_by, self._last_byte, attributes)
        self._attempt = AttemptSpan(self._tracer, self._guard, self._clock, self._context, facts)
        return self._attempt

    def attempt_ended(self, meter: Meter, record: ModelUsageMetrics) -> None:
        """Show the record of the attempt that has just ended."""
        if record.cost_usd is not None:
            self._cost = (self._cost or 0) + record.cost_usd
        elif record.outcome == "answered":
            self._is_unpriced = True
        self._seconds += meter.last_byte - meter.started
        self._last_byte = meter.last_byte
        if self._attempt is not None:
            self._attempt.describe(meter, record)

    def end(
        self,
        report: Report,
        *,
        answered_by: str | None = None,
        error: type[BaseException] | None = None,
        budget: Budget | None = None,
    ) -> None:
        """End the span, and that of an attempt that is still open.

        Args:
            report: What the call did.
            answered_by: The model that answered; None: none did.
            error: The class of the error that ended the call, if one did.
            budget: The call's budgets.
        """
        if self._attempt is not None:
            self._attempt.close()
        span, self._span = self._span, None
        if span is None:
            return
        with self._guard:
            if span.is_recording():
                span.set_attributes(self._results(report, answered_by, error, budget))
                if _outcome(answered_by, error) == "failed" and error is not None:
                    span.set_status(trace.StatusCode.ERROR, error.__name__)
        with self._guard:
            span.end(self._clock.now())

    def _results(
        self,
        report: Report,
        answered_by: str | None,
        error: type[BaseException] | None,
        budget: Budget | None,
    ) -> dict[str, Any]:
        outcome = _outcome(answered_by, error)
        if self._is_unpriced:
            self._cost = None
        found = {
            names.OUTCOME: outcome,
            names.ERROR_TYPE: error.__name__ if error and outcome == "failed" else None,
            names.CALL_MODEL: None if answered_by is None else mask_account_ids(answered_by),
            names.CALL_ATTEMPTS: len(report.attempts),
            names.CALL_COST: None if self._cost is None else float(self._cost),
            names.UNPRICED: self._is_unpriced or None,
            names.CALL_WASTED_COST: float(report.wasted) or None,
            names.CALL_WAIT: max(0.0, self._clock.seconds(self._last_byte) - self._seconds),
            names.CALL_SKIPPED: _skipped(report) or None,
            names.CALL_BUDGETS: _budgets(budget) or None,
        }
        return {name: value for name, value in found.items() if value is not None}


def _outcome(answered_by: str | None, error: type[BaseException] | None) -> str:
    if answered_by is not None:
        return "answered"
    return "failed" if error is not None and issubclass(error, Exception) else "aborted"


def _skipped(report: Report) -> list[str]:
    return [mask_account_ids(f"{each['model_id']}: {each['reason']}") for each in report.skipped]


def _budgets(budget: Budget | None) -> list[str]:
    """Return the budgets by name; their keys are the application's data."""
    return [
        f"{each['name']}: {each['remaining']} of {each['limit']} {each['unit']} left"
        for each in (budget.report() if budget is not None else ())
    ]
