"""Where an attempt reaches Bedrock, and where its raw reply is read: tokens, times, request id."""

from __future__ import annotations

import contextlib
import json
import logging
import threading
import time
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from langchain_modelmgr.bedrock.adaptation import fitted
from langchain_modelmgr.bedrock.assembly import ContentAssembler
from langchain_modelmgr.bedrock.content import has_content
from langchain_modelmgr.bedrock.estimate import estimated_usage, output_bytes
from langchain_modelmgr.bedrock.kept_names import with_own_names
from langchain_modelmgr.bedrock.replies import (
    StreamReader,
    langchain_reads,
    make_readable,
    reply_without_message,
)
from langchain_modelmgr.errors import Attempt
from langchain_modelmgr.pricing import TokenCounts
from langchain_modelmgr.privacy import mask_account_ids

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from langchain_core.messages import InvalidToolCall

    from langchain_modelmgr.bedrock.patience import Patience
    from langchain_modelmgr.catalog import ModelConfig
    from langchain_modelmgr.records import Outcome

logger = logging.getLogger(__name__)

LATENCY_OPTIMIZED = "latency-optimized"
"""Stands for a service tier: latency-optimized inference has prices of its own."""

_CURRENT: ContextVar[WireClient | None] = ContextVar("modelmgr_wire", default=None)
"""Whose request botocore's event handlers are working for: they run in the calling thread."""


class Meter:
    """What one attempt took: read off the wire, reported once, however the attempt ends.

    Args:
        model_id: The model that is asked.
        on_end: Called exactly once, in the thread that ends the attempt.
        keep_content: Keep the answer's content blocks, in Bedrock's shapes.
    """

    def __init__(
        self, model_id: str, on_end: Callable[[Meter], None], *, keep_content: bool = False
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
        self.params: Mapping[str, Any] = {}
        self.request_id: str | None = None
        self.outcome: Outcome | None = None
        self.error: str | None = None
        self.sent = False
        self.cancelled = False
        self._on_end = on_end
        self._started = self.last_byte = time.perf_counter()
        self._raw: Any = None
        self._lock = threading.Lock()

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
        return Attempt(self.model_id, self.error, self.latency_ms, self.request_id, self.adapted)

    @property
    def wasted_usage(self) -> TokenCounts | None:
        """What Bedrock probably billed for an attempt that broke; None: nothing, or known."""
        broke = self.outcome in {"failed", "aborted"} and self.usage is None
        got_content = self.first_content is not None
        billed = self.may_be_billed or self.outcome == "aborted" or got_content
        return estimated_usage(self.params, self.received_bytes) if broke and billed else None

    def finish(self, outcome: Outcome, error: str | None = None) -> None:
        """End the attempt; only the first end counts. Nothing sent, nothing to report."""
        with self._lock:
            if self.outcome is not None:
                return
            self.outcome = outcome
            self.error = error
        if outcome != "answered":
            self.touch()
        if self.sent:
            self._on_end(self)

    def cancel(self) -> None:
        """End the attempt as aborted, from any thread, and free its socket if it streams."""
        self.cancelled = True
        self.finish("aborted")
        self.shut()

    def shut(self) -> None:
        """Break the open reply of a stream, from any thread."""
        if self._raw is not None:
            # urllib3 2.3+: wakes a read in another thread, where close() would wait for it.
            with contextlib.suppress(OSError, ValueError, RuntimeError):
                self._raw.shutdown()

    def touch(self) -> None:
        """Note that bytes were received."""
        self.last_byte = time.perf_counter()

    def read(self, reply: Mapping[str, Any]) -> None:
        """Take what a raw reply, or the last event of a stream, tells of its price."""
        if usage := reply.get("usage"):
            self.usage = token_counts(usage)
        self.service_tier = (reply.get("serviceTier") or {}).get("type")
        if (reply.get("performanceConfig") or {}).get("latency") == "optimized":
            self.service_tier = LATENCY_OPTIMIZED

    def estimate(self) -> dict[str, Any]:
        """Estimate the token counts that a whole answer did not tell; return them as Bedrock would.

        They are not priced: an answer whose cost is unknown is counted as unpriced.
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
        """Count a block's start or delta; return whether it holds content."""
        if not has_content(part):
            return False
        if self.first_content is None:
            self.first_content = time.perf_counter()
        self.received_bytes += output_bytes(part)
        return True

    def opened(self, raw: Any) -> None:
        """Take the open reply of a stream, so that it can be shut from outside."""
        self._raw = raw
        if self.cancelled:
            self.cancel()


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


@dataclass(frozen=True, slots=True)
class Forming:
    """What is still done to a request that ChatBedrockConverse formed.

    Attributes:
        system: The system blocks of a conversation in Bedrock's own shapes; None: what
            ChatBedrockConverse formed.
        names_kept: ``with_kept_names`` changed names in the messages.
    """

    system: list[Any] | None = None
    names_kept: bool = False


class WireClient:
    """Bedrock Runtime for one attempt: ChatBedrockConverse calls it, the meter hears all.

    Args:
        client: The shared boto3 client, instrumented.
        meter: The attempt's meter.
        patience: How long it may wait.
        model: The model that is asked, whose rules the request is made to fit.
        forming: What is still done to a request.
    """

    def __init__(
        self,
        client: Any,
        meter: Meter,
        patience: Patience,
        model: ModelConfig,
        forming: Forming,
    ) -> None:
        self._client = client
        self._forming = forming
        self._model = model
        self.meter = meter
        self.patience = patience
        self.meta = client.meta
        self.http_reply: Mapping[str, Any] = {}
        self.broken_calls: list[InvalidToolCall] = []

    def converse(self, **params: Any) -> dict[str, Any]:
        """Send one Converse request."""
        reply = self._send(self._client.converse, params)
        self.meter.touch()
        self.meter.read(reply)
        self.meter.stop_reason = reply.get("stopReason")
        content = reply.get("output", {}).get("message", {}).get("content", [])
        if self.meter.keep_content:
            self.meter.content = list(content)
        if "usage" not in reply and "stopReason" in reply:
            self.meter.received_bytes = len(json.dumps(content, default=str))
            reply["usage"] = self.meter.estimate()
        if "usage" in reply:  # else it is no reply of Bedrock's, and langchain-aws says so
            self.broken_calls = make_readable(reply, self.meter.model_id)
        _make_additional_fields_a_map(reply)
        return reply

    def converse_stream(self, **params: Any) -> dict[str, Any]:
        """Open one ConverseStream request."""
        reply = self._send(self._client.converse_stream, params)
        self.meter.touch()
        reply["stream"] = _MeteredStream(reply["stream"], self.meter, self.patience)
        return reply

    def _send(self, operation: Callable[..., Any], params: dict[str, Any]) -> dict[str, Any]:
        if self._forming.system is not None:
            params["system"] = self._forming.system
        if self._forming.names_kept:
            params["messages"] = with_own_names(params["messages"])
        params, self.meter.adapted = fitted(params, self._model)
        self.meter.sent = True
        self.meter.params = params
        token = _CURRENT.set(self)
        try:
            reply: dict[str, Any] = operation(**params)
        except Exception as error:
            told = reply_without_message(error, self.http_reply)
            if told is None:
                raise
            reply = told
        finally:
            _CURRENT.reset(token)
        self.meter.request_id = reply.get("ResponseMetadata", {}).get("RequestId")
        return reply


class _MeteredStream:
    """A ConverseStream event stream that tells the meter what passes."""

    def __init__(self, stream: Any, meter: Meter, patience: Patience) -> None:
        self._stream = stream
        self._meter = meter
        self._patience = patience

    def __iter__(self) -> Iterator[dict[str, Any]]:
        with self._patience.over(self._meter.shut):
            yield from self._events()

    def _events(self) -> Iterator[dict[str, Any]]:
        assembler = ContentAssembler() if self._meter.keep_content else None
        reader = StreamReader(self._meter.model_id)
        for event in self._received():
            self._measure(event)
            if (read := reader.read(event)) is None:
                continue
            if assembler is not None:
                assembler.take(read)
            if langchain_reads(read):
                yield read
        if assembler is not None:
            self._meter.content = assembler.content()

    def _measure(self, event: dict[str, Any]) -> None:
        self._meter.touch()
        if "contentBlockStart" in event:
            if self._meter.received(event["contentBlockStart"]["start"]):
                self._patience.content_came()
        elif "contentBlockDelta" in event:
            if self._meter.received(event["contentBlockDelta"]["delta"]):
                self._patience.content_came()
        elif "metadata" in event:
            self._meter.read(event["metadata"])
        elif "messageStop" in event:
            self._meter.stop_reason = event["messageStop"].get("stopReason")
            _make_additional_fields_a_map(event["messageStop"])

    def _received(self) -> Iterator[dict[str, Any]]:
        """Yield the stream's events; after messageStop the answer is whole, whatever breaks."""
        events = self._patience.each(self._stream)
        whole = False
        while True:
            try:
                event = next(events)
            except StopIteration:
                break
            except Exception:
                if not whole:
                    raise
                break
            whole |= "messageStop" in event
            if "metadata" in event and "usage" not in event["metadata"]:
                continue
            yield event
        if whole and self._meter.usage is None:
            yield {"metadata": {"usage": self._meter.estimate(), "metrics": {}}}

    def close(self) -> None:
        self._stream.close()


def _make_additional_fields_a_map(reply: dict[str, Any]) -> None:
    """Wrap ``additionalModelResponseFields`` that is no map.

    Nova sends a string at times; langchain-aws 1.9.1 then dies on a reply that is billed.
    """
    fields = reply.get("additionalModelResponseFields")
    if fields is not None and not isinstance(fields, dict):
        reply["additionalModelResponseFields"] = {"value": fields}


def instrument(client: Any) -> None:
    """Let a shared Bedrock Runtime client take each attempt's own time-out and open reply."""
    events = client.meta.events
    events.register("before-call.bedrock-runtime", _set_timeout)
    events.register("before-parse.bedrock-runtime.ConverseStream", _keep_reply)
    events.register("before-parse.bedrock-runtime.Converse", _keep_http_reply)


def _set_timeout(context: dict[str, Any], **_: Any) -> None:
    # botocore >= 1.43.68 reads a request's own read_timeout from its context. A shared client's
    # Config can't hold it: it is one for all.
    if wire := _CURRENT.get():
        context["read_timeout"] = wire.patience.seconds()


def _keep_reply(response_dict: dict[str, Any], **_: Any) -> None:
    if wire := _CURRENT.get():
        wire.meter.opened(response_dict.get("body"))


def _keep_http_reply(response_dict: dict[str, Any], **_: Any) -> None:
    if wire := _CURRENT.get():
        wire.http_reply = response_dict
