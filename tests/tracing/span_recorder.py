"""Records the spans of this process."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import Span

SECONDS = 50.0
"""How long a test waits at most for a span to end."""


class Spans(SpanProcessor):
    """Keeps the spans of this process; counts how often each starts and ends."""

    def __init__(self) -> None:
        self.ended: list[ReadableSpan] = []
        self.open: Counter[int] = Counter()
        self.fails_at = ""

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        if self.fails_at == "start":
            raise RuntimeError("the prompt's secret text")
        self.open[span.get_span_context().span_id] += 1

    def on_end(self, span: ReadableSpan) -> None:
        if self.fails_at == "end":
            raise RuntimeError("the prompt's secret text")
        self.open[span_id(span)] -= 1
        self.ended.append(span)

    def wait(self) -> None:
        """Wait until every span has ended; fail if one ended twice."""
        end = time.monotonic() + SECONDS
        while any(self.open.values()) and time.monotonic() < end:
            time.sleep(0.01)
        assert set(self.open.values()) <= {0}

    def named(self, start: str) -> list[ReadableSpan]:
        """Return the spans with names that start so, in their order of start."""
        self.wait()
        found = [span for span in self.ended if span.name.startswith(start)]
        return sorted(found, key=lambda span: span.start_time or 0)

    @property
    def calls(self) -> list[ReadableSpan]:
        return self.named("modelmgr.call")

    @property
    def attempts(self) -> list[ReadableSpan]:
        return [span for span in self.named("chat ") if is_ours(span)]

    def of_call(self, call: ReadableSpan) -> list[ReadableSpan]:
        """Return the attempts of a call."""
        return [span for span in self.attempts if parent(span) == span_id(call)]


def span_id(span: ReadableSpan) -> int:
    found = span.get_span_context()
    assert found is not None
    return found.span_id


def is_ours(span: ReadableSpan) -> bool:
    scope = span.instrumentation_scope
    return scope is not None and scope.name == "langchain_modelmgr"


def parent(span: ReadableSpan) -> int | None:
    return None if span.parent is None else span.parent.span_id


def of(span: ReadableSpan) -> dict[str, Any]:
    """Return a span's attributes."""
    return dict(span.attributes or {})
