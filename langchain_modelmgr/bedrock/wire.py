"""Sends one attempt to Bedrock Runtime and reads its raw reply."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NoReturn, cast

from langchain_modelmgr.bedrock.assembly import ContentAssembler
from langchain_modelmgr.bedrock.event_frames import NOTHING_ARRIVED
from langchain_modelmgr.bedrock.exchange import Arriving
from langchain_modelmgr.bedrock.forming import Forming, for_converse, formed
from langchain_modelmgr.bedrock.kept_names import with_kept_results
from langchain_modelmgr.bedrock.replies import (
    StreamReader,
    langchain_reads,
    make_readable,
    reply_without_message,
)
from langchain_modelmgr.bedrock.transport import SENDER, asend, direct_request
from langchain_modelmgr.runtime.workers import on_a_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from langchain_core.messages import InvalidToolCall

    from langchain_modelmgr.bedrock.names import NameMap
    from langchain_modelmgr.bedrock.time_budget import TimeBudget
    from langchain_modelmgr.catalog import ModelConfig
    from langchain_modelmgr.usage.meter import Meter


class WireClient:
    """A Bedrock Runtime client for one attempt, which ChatBedrockConverse calls.

    Args:
        client: The shared boto3 client, instrumented.
        meter: The attempt's meter.
        time_budget: How long the attempt may wait.
        model: The model; the request is adapted to its rules.
        forming: Facts about the request, for the last changes to it.
    """

    def __init__(
        self,
        client: Any,
        meter: Meter,
        time_budget: TimeBudget,
        model: ModelConfig,
        forming: Forming,
    ) -> None:
        self._client = client
        self._forming = forming
        self._model = model
        self.meter = meter
        self.time_budget = time_budget
        self.meta = client.meta
        self.names: NameMap | None = None
        self.http_reply: Mapping[str, Any] = {}
        self.broken_calls: list[InvalidToolCall] = []
        self._formed: Any = None
        self._arriving: Arriving | None = None

    def converse(self, **params: Any) -> dict[str, Any]:
        """Send one Converse request."""
        return self._answer(self._send(self._client.converse, for_converse(params)))

    def _answer(self, reply: dict[str, Any]) -> dict[str, Any]:
        """Measure a reply of Converse, and return it as langchain-aws can read it."""
        self.meter.touch()
        self.meter.read(reply)
        self.meter.stop_reason = reply.get("stopReason")
        content = reply.get("output", {}).get("message", {}).get("content", [])
        if self.names is not None:
            self.names.restore(content)
        if self.meter.keep_content:
            self.meter.content = list(content)
        if content and (kept := with_kept_results(content)) is not content:
            reply["output"]["message"]["content"] = kept
        if "usage" not in reply and "stopReason" in reply:
            self.meter.received_bytes = len(json.dumps(content, default=str))
            reply["usage"] = self.meter.estimate()
        if "usage" in reply:  # otherwise langchain-aws reports that this is not a reply of Bedrock
            self.broken_calls = make_readable(reply, self.meter.model_id)
        _make_additional_fields_a_map(reply)
        return reply

    def converse_stream(self, **params: Any) -> dict[str, Any]:
        """Open one ConverseStream request."""
        reply = self._send(self._client.converse_stream, params, stream=True)
        self.meter.touch()
        stream, span = reply["stream"], self.meter.span
        if span is not None:
            stream = span.events(stream)
        reply["stream"] = _MeteredStream(stream, self.meter, self.time_budget, self.names)
        return reply

    def _send(
        self, operation: Callable[..., Any], params: dict[str, Any], *, stream: bool = False
    ) -> dict[str, Any]:
        params, changes, self.names = formed(params, self._model, self._forming)
        self.meter.adapted += changes
        if self.meter.budget is not None:
            params = self.meter.budget.reserve(params, self.time_budget.deadline)
        if (span := self.meter.span) is not None:
            span.begin(self.meter, params, stream=stream)
            operation = span.while_current(operation)
        self.meter.form(params)
        token = SENDER.set(self)
        try:
            return self._identified(operation(**params))
        except _parser_error():
            return self._identified(self._without_message())
        finally:
            SENDER.reset(token)
            self.time_budget.stop_waiting()

    # -- without a thread

    async def form(self, params: dict[str, Any], *, stream: bool = False) -> bool:
        """Form the one request to send; return whether it can be sent without boto3.

        Args:
            params: The request's parameters.
            stream: Form it for ``aopen``, as a request of ConverseStream; else for ``asend``.
        """
        given = params if stream else for_converse(params)
        params, changes, names = formed(given, self._model, self._forming)
        operation = "ConverseStream" if stream else "Converse"
        if (budget := self.meter.budget) is not None:
            params = await budget.areserve(params, self.time_budget.deadline)
        self._formed = direct_request(self._client, operation, params, self)
        if self._formed is None:
            if budget is not None:
                await on_a_thread(budget.release)
            return False
        self.names = names
        self.meter.adapted += changes
        if self.meter.span is not None:
            self.meter.span.begin(self.meter, params, stream=stream)
        self.meter.form(params)
        return True

    async def asend(self) -> dict[str, Any]:
        """Send the request of ``form``; return what ``converse`` returns."""
        return self._answer(await self._asent())

    async def aopen(self) -> dict[str, Any]:
        """Send the request of ``form``; return what ``converse_stream`` returns.

        Its events contain ``NOTHING_ARRIVED`` whenever ``areceive`` must be awaited.
        """
        reply = await self._asent()
        self.meter.touch()
        stream = _AwaitedStream(reply["stream"], self.meter, self.time_budget, self.names)
        reply["stream"] = stream
        return reply

    async def areceive(self) -> None:
        """Wait until more events of the stream, its end or its failure can be read."""
        arriving = cast("Arriving", self._arriving)
        if arriving.is_whole:
            self.time_budget.end()
            await arriving.receive()
            return
        try:
            self.time_budget.wait_again()
        except TimeoutError as error:
            arriving.fail(error)
            return
        current = None if (span := self.meter.span) is None else span.attach()
        try:
            await arriving.receive()
        finally:
            if span is not None:
                span.detach(current)
            self.time_budget.stop_waiting()

    @property
    def is_whole(self) -> bool:
        """True once the whole reply of ``aopen`` has been received."""
        return self._arriving is not None and self._arriving.is_whole

    def close(self) -> None:
        """Close the reply of ``aopen``."""
        if self._arriving is not None:
            self._arriving.close()

    async def _asent(self) -> dict[str, Any]:
        (request, replies), span = self._formed, self.meter.span
        self._formed = None
        current = None if span is None else span.attach()
        try:
            response = await asend(self._client, request, self)
        finally:
            if span is not None:
                span.detach(current)
            self.time_budget.stop_waiting()
        if isinstance(response.raw, Arriving):
            self._arriving = response.raw
        token = SENDER.set(self)
        try:
            reply = replies.read(response)
        except _parser_error():
            reply = self._without_message()
        finally:
            SENDER.reset(token)
        return self._identified(reply)

    def _without_message(self) -> dict[str, Any]:
        """Return a reply that botocore can't parse without its message, or raise its error."""
        empty = reply_without_message(self.http_reply)
        if empty is None:
            raise  # noqa: PLE0704 - called where the error is handled
        return empty

    def _identified(self, reply: dict[str, Any]) -> dict[str, Any]:
        self.meter.request_id = reply.get("ResponseMetadata", {}).get("RequestId")
        return reply


def _parser_error() -> type[Exception]:
    from botocore.parsers import ResponseParserError

    return ResponseParserError


class FormedOnly(Exception):  # noqa: N818 - not an error: it ends a request before it is sent
    """Raised in place of sending a request.

    Attributes:
        params: The request in Converse's shapes.
    """

    def __init__(self, params: dict[str, Any]) -> None:
        super().__init__("the request is formed only")
        self.params = params


class FormingClient:
    """A Bedrock Runtime client that forms a Converse request and never sends it.

    Args:
        client: The shared boto3 client.
        model: The model; the request is adapted to its rules.
        forming: Facts about the request, for the last changes to it.
    """

    def __init__(self, client: Any, model: ModelConfig, forming: Forming) -> None:
        self.meta = client.meta
        self._model = model
        self._forming = forming

    def converse(self, **params: Any) -> NoReturn:
        """Form one Converse request.

        Raises:
            FormedOnly: Always; it has the request.
        """
        raise FormedOnly(formed(for_converse(params), self._model, self._forming)[0])


class _MeteredStream:
    """A ConverseStream event stream that reports its events to the meter."""

    def __init__(
        self, stream: Any, meter: Meter, time_budget: TimeBudget, names: NameMap | None
    ) -> None:
        self._stream = stream
        self._names = names
        self._meter = meter
        self._time_budget = time_budget

    def __iter__(self) -> Iterator[dict[str, Any]]:
        assembler = ContentAssembler() if self._meter.keep_content else None
        events = self._read()
        for event in events if self._names is None else self._names.restored(events):
            if assembler is not None:
                assembler.take(event)
            if langchain_reads(event):
                yield _with_kept_result(event)
        if assembler is not None:
            self._meter.content = assembler.content()

    def _read(self) -> Iterator[dict[str, Any]]:
        reader = StreamReader(self._meter.model_id)
        for event in self._received():
            if event is NOTHING_ARRIVED:
                yield event
                continue
            self._measure(event)
            if (read := reader.read(event)) is not None:
                yield read

    def _measure(self, event: dict[str, Any]) -> None:
        self._meter.touch()
        if "contentBlockStart" in event:
            if self._meter.received(event["contentBlockStart"]["start"]):
                self._time_budget.content_came()
        elif "contentBlockDelta" in event:
            if self._meter.received(event["contentBlockDelta"]["delta"]):
                self._time_budget.content_came()
        elif "metadata" in event:
            self._meter.read(event["metadata"])
        elif "messageStop" in event:
            self._meter.stop_reason = event["messageStop"].get("stopReason")
            _make_additional_fields_a_map(event["messageStop"])

    def _received(self) -> Iterator[dict[str, Any]]:
        """Yield the stream's events; ignore errors after messageStop, which ends the answer."""
        events = self._events()
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

    def _events(self) -> Iterator[dict[str, Any]]:
        """Return the stream's events, waiting for each within the time budget."""
        return self._time_budget.each(self._stream)

    def close(self) -> None:
        self._stream.close()


class _AwaitedStream(_MeteredStream):
    """A stream that does not wait: its events contain ``NOTHING_ARRIVED`` instead."""

    def _events(self) -> Iterator[dict[str, Any]]:
        return iter(self._stream)


def _with_kept_result(event: dict[str, Any]) -> dict[str, Any]:
    changed = event.get("contentBlockDelta")
    if changed is None or "toolResult" not in changed["delta"]:
        return event
    (delta,) = with_kept_results([changed["delta"]])
    return {"contentBlockDelta": {**changed, "delta": delta}}


def _make_additional_fields_a_map(reply: dict[str, Any]) -> None:
    """Wrap ``additionalModelResponseFields`` in a map if it is another type.

    Nova sometimes sends a string; langchain-aws 1.9.1 then raises on a reply that is billed.
    """
    fields = reply.get("additionalModelResponseFields")
    if fields is not None and not isinstance(fields, dict):
        reply["additionalModelResponseFields"] = {"value": fields}
