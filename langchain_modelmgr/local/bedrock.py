"""Bedrock Runtime and Bedrock over HTTP: Converse, ConverseStream, CountTokens and a few lists."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from aiohttp import web

from langchain_modelmgr.local import frames
from langchain_modelmgr.local.answers import (
    answer_to,
    check_request,
    check_shape,
    converse_output,
)
from langchain_modelmgr.local.batch_requests import OPERATIONS as BATCH_OPERATIONS
from langchain_modelmgr.local.batch_requests import BatchRequests
from langchain_modelmgr.local.control import ControlPlane
from langchain_modelmgr.local.facts import load_facts
from langchain_modelmgr.local.replies import (
    AwsError,
    error_reply,
    json_body,
    meet,
    named,
    new_headers,
    reply,
    reset_connection,
)
from langchain_modelmgr.local.state import RecordedCall, State

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping

    from langchain_modelmgr.local.batch import BatchJobs
    from langchain_modelmgr.local.faults import Fault, Place
    from langchain_modelmgr.local.scripted import Answer

_OPERATIONS = {
    "converse": "Converse",
    "converse-stream": "ConverseStream",
    "count-tokens": "CountTokens",
}
_PLACES_IN_REPLIES: Mapping[str, frozenset[Place]] = {
    "Converse": frozenset({"headers", "body"}),
    "ConverseStream": frozenset({"headers", "stream", "end"}),
}
_EVENT_STREAM = "application/vnd.amazon.eventstream"
_NOTHING = {"contentBlockIndex": 0, "delta": {"text": ""}}
_DELTA_CHARACTERS = 12
"""Characters in one text delta: a few words, as with Bedrock."""


class Bedrock:
    """Handles requests to Bedrock with the server's state."""

    def __init__(self, state: State, batch: BatchJobs) -> None:
        self._state = state
        self._control = ControlPlane(state)
        self._batch = BatchRequests(state, batch)
        load_facts()  # here, not on the server's loop

    async def handle(self, request: web.BaseRequest, body: bytes) -> web.StreamResponse:
        """Answer one request."""
        parts = request.raw_path.partition("?")[0].strip("/").split("/")
        try:
            if parts[0] == "model" and parts[-1] in _OPERATIONS:
                model_id = unquote("/".join(parts[1:-1]))
                return await self._model(request, _OPERATIONS[parts[-1]], model_id, body)
            if parts[0] in BATCH_OPERATIONS:
                return await self._batch.answer(request, parts, body)
            return await self._control.answer(request, parts)
        except AwsError as error:
            return error_reply(error.code, error.message, error.retry_after)

    async def _model(
        self, request: web.BaseRequest, operation: str, model_id: str, raw: bytes
    ) -> web.StreamResponse:
        body = json_body(raw)
        state = self._state
        state.record(RecordedCall(operation, model_id, body, dict(request.headers)))
        if operation == "CountTokens":
            check_shape(body, operation)
            counted = state.model.count_tokens(body["input"].get("converse", {}))
            return reply({"inputTokens": counted})
        await meet(request, state.faults.take(model_id, frozenset({"request"})))
        if (replayed := state.replayed(operation, model_id)) is not None:
            return web.Response(
                body=replayed.body, status=replayed.status, headers=named(replayed.headers)
            )
        check_request(state, operation, model_id, body)
        latency, delay = state.latency_of(model_id)
        if latency:
            await asyncio.sleep(latency)
        answer = answer_to(state, operation, model_id, body)
        later = state.faults.take(model_id, _PLACES_IN_REPLIES[operation])
        if operation == "Converse":
            return await self._whole(request, answer, later)
        return await self._streamed(request, answer, later, delay)

    async def _whole(
        self, request: web.BaseRequest, answer: Answer, fault: Fault | None
    ) -> web.StreamResponse:
        body = converse_output(answer)
        if fault is None:
            return reply(body)
        sent = json.dumps(body).encode()
        response = web.StreamResponse(headers=new_headers())
        response.content_length = len(sent)
        await response.prepare(request)
        if fault.kind == "reset":
            reset_connection(request)
        for i in range(round(fault.seconds / fault.every)):
            await response.write(sent[i : i + 1])
            await asyncio.sleep(fault.every)
        await response.write(sent[round(fault.seconds / fault.every) :])
        return response

    async def _streamed(
        self, request: web.BaseRequest, answer: Answer, fault: Fault | None, delay: float
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers={**new_headers(), "Content-Type": _EVENT_STREAM})
        response.enable_chunked_encoding()
        with self._state.open_stream():
            await response.prepare(request)
            async for frame in self._frames(request, answer, fault, delay):
                await response.write(frame)
            await response.write_eof()
        return response

    async def _frames(
        self, request: web.BaseRequest, answer: Answer, fault: Fault | None, delay: float
    ) -> AsyncIterator[bytes]:
        sent = 0
        if fault is not None and fault.at == "headers":
            reset_connection(request)
        for kind, payload in _events(answer):
            if fault is not None and _meets(fault, kind, sent):
                if fault.kind == "stall":
                    await asyncio.sleep(fault.seconds)
                elif fault.kind == "trickle":
                    for _ in range(round(fault.seconds / fault.every)):
                        yield frames.event("contentBlockDelta", _NOTHING)
                        await asyncio.sleep(fault.every)
                elif fault.kind == "reset":
                    reset_connection(request)
                else:
                    if fault.kind == "error":
                        code = fault.code[0].lower() + fault.code[1:]
                        yield frames.exception(code, fault.message)
                    return
                fault = None
            yield frames.event(kind, payload)
            sent += kind in ("contentBlockStart", "contentBlockDelta")
            if delay:
                await asyncio.sleep(delay)


def _meets(fault: Fault, kind: str, sent: int) -> bool:
    """Return whether the fault of a stream happens before this event."""
    if fault.at == "end":
        return kind == "metadata"
    return sent == fault.after and kind != "messageStart"


def _events(answer: Answer) -> Iterator[tuple[str, dict[str, Any]]]:
    yield "messageStart", {"role": "assistant"}
    for index, block in enumerate(answer.content):
        if start := _start(block):
            yield "contentBlockStart", {"contentBlockIndex": index, "start": start}
        for delta in _deltas(block):
            yield "contentBlockDelta", {"contentBlockIndex": index, "delta": delta}
        yield "contentBlockStop", {"contentBlockIndex": index}
    stop: dict[str, Any] = {"stopReason": answer.stop_reason}
    if answer.additional_fields is not None:
        stop["additionalModelResponseFields"] = answer.additional_fields
    yield "messageStop", stop
    yield "metadata", {"usage": answer.usage, "metrics": {"latencyMs": 1}, **answer.echo}


def _start(block: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of a block's start event: empty for most kinds."""
    for kind, said in _SAID_AT_START.items():
        if kind in block:
            return {kind: {key: block[kind][key] for key in said if key in block[kind]}}
    return {}


_SAID_AT_START = {
    "toolUse": ("toolUseId", "name", "type"),
    "toolResult": ("toolUseId", "type", "status"),
    "image": ("format",),
}


def _deltas(block: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    if "text" in block:
        yield from ({"text": piece} for piece in _pieces(block["text"]))
    elif "toolUse" in block:
        given = block["toolUse"]["input"]
        text = given if isinstance(given, str) else json.dumps(given, ensure_ascii=False)
        yield from ({"toolUse": {"input": piece}} for piece in _pieces(text))
    elif "toolResult" in block:
        yield from ({"toolResult": [part]} for part in block["toolResult"]["content"])
    elif "citationsContent" in block:
        cited = block["citationsContent"]
        for part in cited.get("content", ()):
            yield from ({"text": piece} for piece in _pieces(part["text"]))
        yield from ({"citation": citation} for citation in cited.get("citations", ()))
    elif "image" in block:
        yield {"image": {"source": block["image"]["source"]}}
    else:
        yield from _reasoning_deltas(block["reasoningContent"])


def _reasoning_deltas(reasoned: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    if "redactedContent" in reasoned:
        for piece in _pieces(reasoned["redactedContent"]):  # 12 characters are 9 bytes in base64
            yield {"reasoningContent": {"redactedContent": piece}}
        return
    text = reasoned["reasoningText"]
    for piece in _pieces(text["text"]):
        yield {"reasoningContent": {"text": piece}}
    if "signature" in text:
        yield {"reasoningContent": {"signature": text["signature"]}}


def _pieces(text: str) -> Iterator[str]:
    for start in range(0, len(text), _DELTA_CHARACTERS):
        yield text[start : start + _DELTA_CHARACTERS]
