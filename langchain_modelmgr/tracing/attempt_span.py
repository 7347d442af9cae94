"""AttemptSpan: the OpenTelemetry span of one attempt."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, NamedTuple

from opentelemetry import context as contexts
from opentelemetry import trace

from langchain_modelmgr.runtime.masking import mask_account_ids
from langchain_modelmgr.tracing import content, names

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from contextvars import Token

    from opentelemetry.context import Context
    from opentelemetry.trace import Span, Tracer

    from langchain_modelmgr.runtime.guard import Guard
    from langchain_modelmgr.tracing.clock import Clock
    from langchain_modelmgr.usage.meter import Meter
    from langchain_modelmgr.usage.record import ModelUsageMetrics

_REQUEST = {
    "maxTokens": names.REQUEST_MAX_TOKENS,
    "temperature": names.REQUEST_TEMPERATURE,
    "topP": names.REQUEST_TOP_P,
    "stopSequences": names.REQUEST_STOP_SEQUENCES,
}
"""The attribute of each of Converse's inference parameters."""


class AttemptFacts(NamedTuple):
    """What is known about an attempt before it begins.

    Attributes:
        model_id: The model id that is sent to Bedrock.
        served_by: The model that answers to it: the same, or the model of an ARN.
        ready_at: When the attempt before it ended, or the call began, by ``time.perf_counter``.
        attributes: More attributes of the span.
    """

    model_id: str
    served_by: str
    ready_at: float
    attributes: Mapping[str, Any]


class AttemptSpan:
    """The span of one attempt, which begins when the request is formed and ends with the meter.

    It can be ended from any thread, also before it begins; then there is no span.

    Args:
        tracer: The tracer.
        guard: Keeps OpenTelemetry's failures away from the call.
        clock: The clock of the call.
        parent: The context with the call's span; None: there is no span.
        facts: What is known about the attempt.
    """

    def __init__(
        self,
        tracer: Tracer,
        guard: Guard,
        clock: Clock,
        parent: Context | None,
        facts: AttemptFacts,
    ) -> None:
        self._tracer = tracer
        self._guard = guard
        self._clock = clock
        self._parent = parent
        self._facts = facts
        self._lock = threading.Lock()
        self._span: Span | None = None
        self._is_over = False
        self._end_time: int | None = None
        self._keeps_content = content.is_captured()

    # -- in the thread that does the work

    def begin(self, meter: Meter, params: Mapping[str, Any], *, stream: bool) -> None:
        """Start the span: the request is formed, and about to be sent."""
        with self._guard, self._lock:
            if self._is_over or self._parent is None or self._span is not None:
                return
            model = mask_account_ids(self._facts.model_id)
            attributes = {
                names.OPERATION_NAME: names.CHAT,
                names.PROVIDER_NAME: names.BEDROCK,
                names.REQUEST_MODEL: model,
                names.REQUEST_STREAM: stream,
                names.ATTEMPT_WAIT: max(0.0, meter.started - self._facts.ready_at),
                **self._facts.attributes,
            }
            inference = params.get("inferenceConfig") or {}
            attributes |= {_REQUEST[key]: inference[key] for key in _REQUEST if key in inference}
            if self._keeps_content:
                meter.keep_content = True
                with self._guard:  # without its content, the span is still worth having
                    attributes |= content.of_request(params)
            self._span = self._tracer.start_span(
                f"{names.CHAT} {model}",
                context=self._parent,
                kind=trace.SpanKind.CLIENT,
                attributes=attributes,
                start_time=self._clock.at(meter.started),
            )

    def while_current(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function, with this span as the current one while it runs."""

        def run(*args: Any, **kwargs: Any) -> Any:
            token = self.attach()
            try:
                return function(*args, **kwargs)
            finally:
                self.detach(token)

        return run

    def events(self, stream: Iterable[Any]) -> Iterator[Any]:
        """Return a stream, with this span as the current one only while an event is awaited."""
        return _Events(stream, self)

    def attach(self) -> Token[Context] | None:
        """Make this span the current one; return what ``detach`` needs."""
        with self._guard:
            if self._span is not None:
                return contexts.attach(trace.set_span_in_context(self._span))
        return None

    def detach(self, token: Token[Context] | None) -> None:
        """Make the previous span the current one again."""
        if token is not None:
            with self._guard:
                contexts.detach(token)

    # -- in any thread

    def describe(self, meter: Meter, record: ModelUsageMetrics) -> None:
        """Set the attributes of an attempt that has ended and was recorded."""
        with self._guard, self._lock:
            if self._span is None or self._is_over:
                return
            self._end_time = self._clock.at(meter.last_byte)
            if not self._span.is_recording():
                return
            self._span.set_attributes(self._results(meter, record))
            if record.outcome == "failed":
                self._span.set_status(trace.StatusCode.ERROR, record.error_message)

    def close(self) -> None:
        """End the span, if it began; only the first call counts."""
        with self._lock:
            span, is_over = self._span, self._is_over
            self._is_over = True
        if span is None or is_over:
            return
        with self._guard:
            if self._end_time is None:
                span.set_attribute(names.OUTCOME, "not_sent")
            span.end(self._end_time or self._clock.now())

    def _results(self, meter: Meter, record: ModelUsageMetrics) -> dict[str, Any]:
        is_answered, failed = record.outcome == "answered", record.outcome == "failed"
        first, cost, wasted = (
            record.time_to_first_token_ms,
            record.cost_usd,
            record.estimated_wasted_cost_usd,
        )
        found = {
            names.OUTCOME: record.outcome,
            names.RESPONSE_MODEL: mask_account_ids(self._facts.served_by) if is_answered else None,
            names.FINISH_REASONS: None if meter.stop_reason is None else (meter.stop_reason,),
            names.TIME_TO_FIRST_CHUNK: None if first is None else first / 1000,
            names.ERROR_TYPE: record.error_message if failed else None,
            names.ERROR_CODE: meter.failure[0] if failed else None,
            names.AWS_REQUEST_ID: record.request_id,
            names.COST: None if cost is None else float(cost),
            names.UNPRICED: True if is_answered and cost is None else None,
            names.WASTED_COST: None if wasted is None else float(wasted),
            names.SERVICE_TIER: record.service_tier,
            names.ADAPTED: meter.adapted or None,
            **(_tokens(record) if record.has_usage else {}),
        }
        if self._keeps_content and (is_answered or meter.content):
            with self._guard:
                found |= content.of_answer(meter.content, meter.stop_reason)
        return {name: value for name, value in found.items() if value is not None}


def _tokens(record: ModelUsageMetrics) -> dict[str, int | None]:
    tokens = record.tokens
    written = tokens.cache_write_5m_tokens + tokens.cache_write_1h_tokens
    return {
        names.INPUT_TOKENS: tokens.prompt_tokens,
        names.OUTPUT_TOKENS: tokens.output_tokens,
        names.CACHE_READ_TOKENS: tokens.cache_read_tokens or None,
        names.CACHE_WRITE_TOKENS: written or None,
    }


class _Events:
    """The events of a stream, each awaited with the attempt's span as the current one."""

    def __init__(self, stream: Iterable[Any], span: AttemptSpan) -> None:
        self._stream: Any = stream
        self._events = iter(stream)
        self._span = span

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        token = self._span.attach()
        try:
            return next(self._events)
        finally:
            self._span.detach(token)

    def close(self) -> None:
        self._stream.close()
