"""Meter: measures one attempt (tokens, times, outcome), and reports it once."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from socket import SHUT_RDWR
from typing import TYPE_CHECKING, Any, Protocol

from langchain_modelmgr.errors import Attempt
from langchain_modelmgr.runtime.masking import mask_account_ids
from langchain_modelmgr.usage.estimate import estimated_usage, output_bytes, text_bytes
from langchain_modelmgr.usage.pricing import TokenCounts
from langchain_modelmgr.usage.stream_content import has_content

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from http.client import HTTPConnection

    from langchain_modelmgr.usage.record import Outcome

logger = logging.getLogger(__name__)

LATENCY_OPTIMIZED = "latency-optimized"
"""Stands for a service tier: latency-optimized inference has prices of its own."""


class Reserved(Protocol):
    """The budgets of an attempt."""

    @property
    def may_wait(self) -> bool:
        """Whether ``reserve`` may wait longer than for the store."""

    def reserve(self, params: dict[str, Any], deadline: float) -> dict[str, Any]:
        """Reserve what a request may cost; return the request to send."""

    async def areserve(self, params: dict[str, Any], deadline: float) -> dict[str, Any]:
        """Reserve as ``reserve`` does, without blocking the event loop."""

    def release(self) -> None:
        """Give everything back: the request is not sent. It may be reserved again."""

    def settle(self) -> None:
        """Settle what the attempt did cost. Only the first call counts."""

    async def settled(self) -> None:
        """Wait, at most until the call's deadline, for what ``settle`` left to other threads."""


class Traced(Protocol):
    """The span of an attempt."""

    def begin(self, meter: Meter, params: Mapping[str, Any], *, stream: bool) -> None:
        """Start the span: the request is formed, and about to be sent."""

    def while_current(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function, with the span as the current one while it runs."""

    def events(self, stream: Any) -> Any:
        """Return a stream, with the span as the current one only while an event is awaited."""

    def attach(self) -> Any:
        """Make the span the current one; return what ``detach`` needs."""

    def detach(self, token: Any) -> None:
        """Make the previous span the current one again, in the same context."""

    def close(self) -> None:
        """End the span. Only the first call counts."""


class NotSentError(Exception):
    """The attempt ended before its request was sent, so it is not sent at all."""


class Meter:
    """Measures one attempt: reads it off the wire and reports it once, however it ends.

    Whether it was sent is decided under one lock, immediately before the wire (``send``): an
    attempt that was cancelled before is not sent, and one that was sent is reported.

    Args:
        model_id: The model that is called.
        on_end: Called exactly once, in the thread that ends the attempt.
        on_send: Called right before the request leaves.
        keep_content: Keep the answer's content blocks, in Bedrock's shapes.

    Attributes:
        is_abandoned: Returns whether the attempt is about to be cancelled, because its task was.
        budget: The budgets that the attempt is reserved in; None: no budget applies.
        span: Its span; None: spans are not made.
        was_rejected: True if its failure means that it is not billed.
        failure: AWS's error code and text, if the request failed.
    """

    def __init__(
        self,
        model_id: str,
        on_end: Callable[[Meter], None],
        *,
        on_send: Callable[[Meter], None] | None = None,
        keep_content: bool = False,
    ) -> None:
        self.model_id = model_id
        self.keep_content = keep_content
        self.content: list[dict[str, Any]] = []
        self.stop_reason: str | None = None
        self.usage: TokenCounts | None = None
        self.usage_estimated = False
        self.service_tier: str | None = None
        self.received_bytes = 0
        self.first_content: float | None = None
        self.adapted: tuple[str, ...] = ()
        self.may_be_billed = False
        self.was_rejected = False
        self.budget: Reserved | None = None
        self.span: Traced | None = None
        self.params: Mapping[str, Any] = {}
        self.request_id: str | None = None
        self.outcome: Outcome | None = None
        self.error: str | None = None
        self.failure: tuple[str | None, str | None] = None, None
        self.formed = False
        self.sent = False
        self.open_attempt: object | None = None
        self.is_abandoned: Callable[[], bool] = _never
        self._on_end = on_end
        self._on_send = on_send
        self._started = self.last_byte = time.perf_counter()
        self._raw: Any = None
        self._connection: HTTPConnection | None = None
        self._lock = threading.Lock()

    @property
    def started(self) -> float:
        """When the attempt began, by ``time.perf_counter``."""
        return self._started

    @property
    def latency_ms(self) -> float:
        """Milliseconds from the start of the attempt to its last byte, to a microsecond."""
        return round((self.last_byte - self._started) * 1000, 3)

    @property
    def time_to_first_token_ms(self) -> float | None:
        """Milliseconds to the first content of a stream; None: none came, or it was no stream."""
        if self.first_content is None:
            return None
        return round((self.first_content - self._started) * 1000, 3)

    @property
    def attempt(self) -> Attempt:
        """The attempt as the caller sees it."""
        return Attempt(
            self.model_id,
            self.error,
            self.latency_ms,
            self.request_id,
            self.adapted,
            *self.failure,
        )

    @property
    def wasted_usage(self) -> TokenCounts | None:
        """What Bedrock probably billed for an attempt that broke; None: nothing, or known."""
        broke = self.outcome in {"failed", "aborted"} and self.usage is None
        got_content = self.first_content is not None
        billed = self.may_be_billed or self.outcome == "aborted" or got_content
        return estimated_usage(self.params, self.received_bytes) if broke and billed else None

    def restart(self) -> None:
        """Restart the clock: the attempt waited for a slot until now."""
        self._started = self.last_byte = time.perf_counter()

    def form(self, params: Mapping[str, Any]) -> None:
        """Store the request: from now on a failure belongs to this attempt."""
        self.formed = True
        self.params = params

    def withhold(self) -> None:
        """Record that the request is not sent: there is nothing to report."""
        self.formed = False

    def send(self) -> None:
        """Record that the request is sent now.

        Raises:
            NotSentError: The attempt has ended: it must not be sent.
        """
        with self._lock:
            if self.outcome is None and not self.is_abandoned():
                if self._on_send is not None:  # within the lock: an end is recorded after it
                    self._on_send(self)
                self.sent = True
                return
            self.outcome = self.outcome or "aborted"
        self._settle()
        if self.span is not None:
            self.span.close()
        raise NotSentError

    def finish(self, outcome: Outcome, error: str | None = None) -> bool:
        """End the attempt; only the first end counts. Return whether this was it.

        An attempt that was cancelled before it was sent is not reported.
        """
        with self._lock:
            if self.outcome is not None:
                return False
            self.outcome = outcome
            self.error = error
            reported = self.sent or (self.formed and outcome != "aborted")
            # The call refers to its meter: without these the two are freed as soon as it ends.
            on_end, self._on_end, self._on_send = self._on_end, _ignored, None
        if outcome != "answered":
            self.touch()
        self._settle()
        if reported:
            on_end(self)
        if self.span is not None:
            self.span.close()
        return True

    def _settle(self) -> None:
        budget, self.budget = self.budget, None
        if budget is not None:
            budget.settle()

    def cancel(self) -> None:
        """End the attempt as aborted, from any thread, and shut its reply if it is open."""
        self.finish("aborted")
        self.shut()

    def shut(self) -> None:
        """Break the open reply, or the wait for its headers, from any thread."""
        raw, connection = self._raw, self._connection
        with contextlib.suppress(OSError, ValueError, RuntimeError):
            if raw is not None:
                # urllib3 2.3+: wakes a read in another thread, where close() would wait for it.
                raw.shutdown()
            elif connection is not None and (socket := connection.sock) is not None:
                socket.shutdown(SHUT_RDWR)  # urllib3 never reuses a connection that broke here

    def close(self) -> None:
        """Close the reply's connection, unless the reply was read to its end."""
        if self._raw is not None:
            with contextlib.suppress(OSError, ValueError, RuntimeError):
                self._raw.close()

    def touch(self) -> None:
        """Record that bytes were received."""
        self.last_byte = time.perf_counter()

    def read(self, reply: Mapping[str, Any]) -> None:
        """Read token counts and service tier from a raw reply or the last event of a stream."""
        if usage := reply.get("usage"):
            self.usage = token_counts(usage)
        self.service_tier = (reply.get("serviceTier") or {}).get("type")
        if (reply.get("performanceConfig") or {}).get("latency") == "optimized":
            self.service_tier = LATENCY_OPTIMIZED

    def estimate(self) -> dict[str, Any]:
        """Estimate the token counts missing from a complete answer; return them in Bedrock's form.

        They are not priced: the answer is counted as unpriced.
        """
        self.usage = estimated_usage(self.params, self.received_bytes)
        self.usage_estimated = True
        logger.warning(
            "%s: the answer came without its token counts: they are estimated, and it is counted "
            "as unpriced (request id %s)",
            mask_account_ids(self.model_id),
            self.request_id or "unknown",
        )
        return {
            "inputTokens": self.usage.input_tokens,
            "outputTokens": self.usage.output_tokens,
            "totalTokens": self.usage.total_tokens,
        }

    def received(self, part: Mapping[str, Any]) -> bool:
        """Count a block's start or delta; return whether it contains content."""
        text = part.get("text") if len(part) == 1 else None
        if isinstance(text, str):  # nearly every part: counted without walking through it
            size, is_content = text_bytes(text), text != ""
        else:
            size, is_content = output_bytes(part), has_content(part)
        if not is_content:
            return False
        if self.first_content is None:
            self.first_content = time.perf_counter()
        self.received_bytes += size
        return True

    def awaits_headers(self, connection: HTTPConnection) -> None:
        """Store the connection that waits for reply headers, so that other threads can shut it."""
        self._connection = connection
        if self.outcome is not None:
            self.shut()

    def opened(self, raw: Any) -> None:
        """Store the open reply, so that other threads can shut it."""
        self._raw = raw
        if self.outcome is not None:
            self.shut()

    @property
    def is_open(self) -> bool:
        """True once ``shut`` ends its reader, who waits for reply headers or reads the reply."""
        return self._raw is not None or self._connection is not None


def _never() -> bool:
    return False


def _ignored(_: Meter) -> None:
    pass


def token_counts(usage: Mapping[str, Any]) -> TokenCounts:
    """Return Bedrock's ``TokenUsage`` as disjoint counts.

    ``inputTokens`` excludes cache reads and writes. Without ``cacheDetails`` a write is a
    5-minute one: Bedrock's default.
    """
    written = int(usage.get("cacheWriteInputTokens") or 0)
    hour = sum(
        int(detail.get("inputTokens") or 0)
        for detail in usage.get("cacheDetails") or ()
        if detail.get("ttl") == "1h"
    )
    return TokenCounts(
        input_tokens=int(usage.get("inputTokens") or 0),
        output_tokens=int(usage.get("outputTokens") or 0),
        cache_read_tokens=int(usage.get("cacheReadInputTokens") or 0),
        cache_write_5m_tokens=max(0, written - hour),
        cache_write_1h_tokens=hour,
    )
