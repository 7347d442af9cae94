"""Makes unusual replies readable for langchain-aws, so that no billed answer is lost."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

from langchain_core.messages.tool import invalid_tool_call

from langchain_modelmgr.runtime.masking import mask_account_ids

if TYPE_CHECKING:
    from collections.abc import Mapping

    from langchain_core.messages import InvalidToolCall

logger = logging.getLogger(__name__)

_EVENTS = frozenset({"messageStart", "messageStop", "metadata"})
"""Events, apart from those of blocks, that langchain-aws reads (1.9.1); it raises on others."""

_BLOCKS = frozenset(
    {
        "citationsContent",
        "document",
        "guardContent",
        "reasoningContent",
        "text",
        "toolResult",
        "toolUse",
        "video",
    }
)
"""Content blocks that langchain-aws always reads (1.9.1); it raises on others."""

_TEXT_DELTAS = frozenset({"text", "citation"})
"""Deltas that belong to one block: a text and the sources that it cites."""


_UNKNOWN = "SDK_UNKNOWN_MEMBER"
"""botocore's key (1.44.5) for an unknown member of a union; the value holds the member's name."""


class StreamReader:
    """Gives every content block of a stream a unique index.

    LangChain merges chunks by index: two blocks with one index would become one. Events that
    belong to no block, or that langchain-aws does not know, are dropped and logged.

    Args:
        model_id: The model, for the log.
    """

    def __init__(self, model_id: str) -> None:
        self._model_id = model_id
        self._open: dict[int, tuple[int, str]] = {}
        self._used: set[int] = set()
        self._left_out: set[str] = set()

    def read(self, event: dict[str, Any]) -> dict[str, Any] | None:
        """Return the event with its block's unique index; None if it is dropped."""
        if "contentBlockDelta" in event:
            return self._delta(event, event["contentBlockDelta"])
        if "contentBlockStart" in event:
            return self._start(event["contentBlockStart"])
        if "contentBlockStop" in event:
            index, _ = self._open.pop(_index(event["contentBlockStop"]), (None, ""))
            return None if index is None else event
        if _EVENTS & event.keys():
            return event
        self._without(f"an event {_name_of(event)!r}")
        return None

    def _start(self, started: dict[str, Any]) -> dict[str, Any] | None:
        given = started.get("start", {})
        kind = next(iter(given), "")
        index = self._begin(_index(started), kind)
        if kind not in ("toolUse", "toolResult", "image"):
            self._without(f"the start of a block {_name_of(given)!r}")
            return None
        return {"contentBlockStart": {**started, "contentBlockIndex": index}}

    def _delta(self, event: dict[str, Any], changed: dict[str, Any]) -> dict[str, Any] | None:
        delta = changed["delta"]
        given = next(iter(delta), "")
        if given == _UNKNOWN:
            self._without(f"a delta {_name_of(delta)!r}")
            return None
        kind = "text" if given in _TEXT_DELTAS else given
        index, opened_as = self._open.get(_index(changed), (-1, None))
        if opened_as != kind:
            if kind == "toolUse":  # without its start it has neither name nor id
                self._without("the input of a tool call that did not start")
                return None
            index = self._begin(_index(changed), kind)
        if index == changed.get("contentBlockIndex"):
            return event
        return {"contentBlockDelta": {**changed, "contentBlockIndex": index}}

    def _begin(self, wire_index: int, kind: str) -> int:
        index = wire_index if wire_index not in self._used else max(self._used) + 1
        self._used.add(index)
        self._open[wire_index] = index, kind
        return index

    def _without(self, what: str) -> None:
        """Log that something was dropped, once."""
        if what not in self._left_out:
            self._left_out.add(what)
            _warn(self._model_id, what)


def langchain_reads(event: Mapping[str, Any]) -> bool:
    """Return whether langchain-aws can read an event of a block (1.9.1 can't read images)."""
    if "contentBlockDelta" in event:
        delta = event["contentBlockDelta"]["delta"]
        return "image" not in delta and bool(delta.get("toolResult", True))
    return "image" not in event.get("contentBlockStart", {}).get("start", ())


def make_readable(reply: dict[str, Any], model_id: str) -> list[InvalidToolCall]:
    """Make a Converse reply readable for langchain-aws; return the tool calls that are not valid.

    Args:
        reply: The reply; changed in place.
        model_id: The model, for the log.
    """
    message = reply.setdefault("output", {}).setdefault("message", {})
    message.setdefault("role", "assistant")
    broken: list[InvalidToolCall] = []
    content: list[dict[str, Any]] = []
    for block in message.get("content", ()):
        if "toolUse" in block and not isinstance(block["toolUse"].get("input"), dict):
            use = block["toolUse"]
            arguments = parsed_input(use.get("input"))
            if isinstance(arguments, dict):
                content.append({"toolUse": {**use, "input": arguments}})
            else:
                broken.append(_broken(use))
        elif _BLOCKS & block.keys() or "bytes" in block.get("image", {}).get("source", ()):
            content.append(block)
        else:
            _warn(model_id, f"a block {_name_of(block)!r}")
    message["content"] = content
    return broken


def reply_without_message(http: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return a Converse reply with an empty ``output``, which botocore can't parse.

    Such an answer has no content but is billed, and a retry would be billed again.

    Args:
        http: The HTTP reply, as botocore's ``before-parse`` event has it.

    Returns:
        The reply; None if it has another defect.
    """
    try:
        reply = json.loads(http["body"])
    except (KeyError, TypeError, ValueError):
        return None
    if not isinstance(reply, dict) or "stopReason" not in reply or _holds_a_message(reply):
        return None
    headers = {name.lower(): value for name, value in http.get("headers", {}).items()}
    metadata = {
        "RequestId": headers.get("x-amzn-requestid"),
        "HTTPStatusCode": http.get("status_code"),
        "HTTPHeaders": headers,
    }
    return {**reply, "output": {}, "ResponseMetadata": metadata}


def _holds_a_message(reply: Mapping[str, Any]) -> bool:
    return bool(reply.get("output") and any(reply["output"].values()))


def parsed_input(given: Any) -> Any:
    """Return a tool's input parsed from JSON, or as text if ``max_tokens`` cut it off."""
    if not isinstance(given, str):
        return given
    try:
        return json.loads(given or "{}")
    except (RecursionError, ValueError):
        return given


def _broken(use: Mapping[str, Any]) -> InvalidToolCall:
    given = use.get("input")
    return invalid_tool_call(
        name=use.get("name"),
        args=given if isinstance(given, str) else json.dumps(given, default=str),
        id=use.get("toolUseId"),
        error="the input is not a JSON object",
    )


def _index(payload: Mapping[str, Any]) -> int:
    return int(payload.get("contentBlockIndex", 0))


def _name_of(shape: Mapping[str, Any]) -> str:
    kind = next(iter(shape), "")
    return str(shape[kind]["name"]) if kind == _UNKNOWN else kind


def _warn(model_id: str, what: str) -> None:
    logger.warning("%s: %s was left out of the answer", mask_account_ids(model_id), what)
