"""Makes a request fit the model that is asked: a conversation may have begun with another."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from langchain_modelmgr.bedrock import cache_points
from langchain_modelmgr.bedrock.inventory import losses
from langchain_modelmgr.bedrock.raw_turns import resendable
from langchain_modelmgr.bedrock.request_fields import THINKING_FIELDS, fit_fields

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from langchain_core.messages import BaseMessage

    from langchain_modelmgr.catalog import ModelConfig

_EMPTY = {"text": "."}
"""Stands for an assistant's turn of which nothing is left: Bedrock takes no empty content. The
same as langchain-aws's."""


@dataclass(frozen=True, slots=True)
class OriginalRequest:
    """What the caller asked for, where the request that langchain-aws formed does not tell it.

    Attributes:
        messages: LangChain messages; empty for a conversation in Bedrock's own shapes.
        system: System blocks of a conversation in Bedrock's own shapes; None: those formed.
        cache_control: Where to add cache points: ``{"ttl": "1h"}``; None: nowhere.
        parameters: Request parameters, ``temperature`` and ``top_p`` among them.
        left_out: Names of the request fields that were left out before.
    """

    messages: Sequence[BaseMessage] = ()
    system: list[Any] | None = None
    cache_control: Mapping[str, Any] | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()


NOTHING = OriginalRequest()


@dataclass(slots=True)
class _Fitting:
    """One request on its way to fit."""

    model: ModelConfig
    changes: dict[str, None] = field(default_factory=dict)

    def note(self, change: str) -> None:
        self.changes[change] = None


def fitted(
    params: Mapping[str, Any], model: ModelConfig, asked: OriginalRequest = NOTHING
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return a Converse request that ``model`` takes, and what was changed.

    Args:
        params: The request in Converse's shapes; it is left as it is.
        model: The catalog's facts. Of a model outside the catalog nothing is changed, nor what
            nobody told of one that the YAML describes.
        asked: What the caller asked for.

    Returns:
        The request, and a short text for each change.
    """
    fitting = _Fitting(model)
    formed = dict(params)
    if asked.system is not None:
        formed["system"] = asked.system
        formed["messages"] = resendable(formed["messages"], fitting.note)
        _fill_empty_turns(formed)
    _note_left_out(formed, asked, fitting)
    if model.base_model_id is not None and model.in_catalog:
        _fit(formed, fitting)
    if asked.cache_control is not None:
        lifetime = asked.cache_control.get("ttl")
        cache_points.added(formed, lifetime, model, fitting.note)
    for loss in losses(asked.messages, formed["messages"]):
        fitting.note(loss)
    return formed, tuple(fitting.changes)


def _note_left_out(formed: Mapping[str, Any], asked: OriginalRequest, fitting: _Fitting) -> None:
    for name in asked.left_out:
        fitting.note(f"{name} not sent: the model does not accept it")
    sent = formed.get("inferenceConfig", {})
    for name, on_the_wire in (("temperature", "temperature"), ("top_p", "topP")):
        if asked.parameters.get(name) is not None and on_the_wire not in sent:
            fitting.note(f"{name} not sent: the model refuses it")


def _fit(formed: dict[str, Any], fitting: _Fitting) -> None:
    formed["messages"] = [_turn(message, fitting) for message in formed.get("messages", ())]
    cache_points.taken(formed, fitting.model, fitting.note)
    _fill_empty_turns(formed)
    _move_system(formed, fitting)
    _stop_thinking_in_a_foreign_turn(formed, fitting)
    fit_fields(formed, fitting.model, fitting.note)


def _turn(message: Mapping[str, Any], fitting: _Fitting) -> Mapping[str, Any]:
    said = message["role"] == "assistant"
    content = [
        fit
        for block in message["content"]
        for fit in (_said(block, fitting) if said else _given(block, fitting),)
        if fit is not None
    ]
    return message if content == message["content"] else {**message, "content": content}


def _said(block: Mapping[str, Any], fitting: _Fitting) -> Mapping[str, Any] | None:
    """Return a block of an assistant's turn as the model takes it; None: it does not."""
    if "reasoningContent" in block:
        return _reasoning(block, fitting)
    if "citationsContent" in block and fitting.model.supports_citations is False:
        fitting.note("citations sent as text")
        texts = block["citationsContent"].get("content", ())
        return {"text": "".join(part.get("text", "") for part in texts) or _EMPTY["text"]}
    return block


def _given(block: Mapping[str, Any], fitting: _Fitting) -> Mapping[str, Any] | None:
    """Return a block of a user's turn as the model takes it; None: it does not."""
    if "citations" in block.get("document", ()) and fitting.model.supports_citations is False:
        fitting.note("citations of a document not requested")
        document = {k: v for k, v in block["document"].items() if k != "citations"}
        return {**block, "document": document}
    if "toolResult" in block and fitting.model.supports_tool_result_status is False:
        return _without_status(block, fitting)
    return block


def _reasoning(block: Mapping[str, Any], fitting: _Fitting) -> Mapping[str, Any] | None:
    reasoned = block["reasoningContent"]
    signed = "redactedContent" in reasoned or "signature" in reasoned.get("reasoningText", {})
    taken = fitting.model.reasoning_history
    if taken is None or taken == ("signed" if signed else "unsigned"):
        return block
    fitting.note("reasoning of earlier turns left out")
    return None


def _without_status(block: Mapping[str, Any], fitting: _Fitting) -> Mapping[str, Any]:
    result = dict(block["toolResult"])
    if result.pop("status", "success") == "error":
        fitting.note("error status of a tool result sent as text")
        result["content"] = [{"text": "Error:"}, *result.get("content", ())]
    return {**block, "toolResult": result}


def _fill_empty_turns(formed: dict[str, Any]) -> None:
    """Give an assistant's turn of which nothing is left a stand-in."""
    formed["messages"] = [
        {**message, "content": [_EMPTY]}
        if not message["content"] and message["role"] == "assistant"
        else message
        for message in formed["messages"]
    ]


def _move_system(formed: dict[str, Any], fitting: _Fitting) -> None:
    """Put the system prompt before the first user turn, for models that take none."""
    system = formed.get("system")
    if not system or fitting.model.supports_system_prompt is not False:
        return
    fitting.note("system prompt sent as text of the first turn")
    del formed["system"]
    first, *rest = formed["messages"]
    formed["messages"] = [{**first, "content": [*system, *first["content"]]}, *rest]


def _stop_thinking_in_a_foreign_turn(formed: dict[str, Any], fitting: _Fitting) -> None:
    """Leave thinking off where a tool call of another model is being answered.

    Claude wants a turn that calls tools to begin with its reasoning while it thinks; a turn of
    another model has none that it takes.
    """
    fields = formed.get("additionalModelRequestFields")
    if not isinstance(fields, dict) or not fields.keys() & set(THINKING_FIELDS):
        return
    if fitting.model.reasoning_history != "signed":
        return
    turns = [m for m in formed["messages"] if m["role"] == "assistant"]
    open_call = turns and "toolResult" in formed["messages"][-1]["content"][0]
    if open_call and "reasoningContent" not in turns[-1]["content"][0]:
        fitting.note("thinking turned off: the tool call came from another model")
        rest = {k: v for k, v in fields.items() if k not in THINKING_FIELDS}
        if rest:
            formed["additionalModelRequestFields"] = rest
        else:
            del formed["additionalModelRequestFields"]
