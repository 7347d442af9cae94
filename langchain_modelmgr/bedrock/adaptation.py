"""Makes a request fit the model that is asked: a conversation may have begun with another."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from langchain_modelmgr.catalog import ModelConfig

_EMPTY = {"text": "."}
"""Stands for an assistant's turn of which nothing is left: Bedrock takes no empty content. The
same as langchain-aws's."""


@dataclass(slots=True)
class _Fitting:
    """One request on its way to fit."""

    model: ModelConfig
    changes: dict[str, None] = field(default_factory=dict)

    def note(self, change: str) -> None:
        self.changes[change] = None


def fitted(params: Mapping[str, Any], model: ModelConfig) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return a Converse request that ``model`` takes, and what was changed.

    Args:
        params: The request in Converse's shapes; it is left as it is.
        model: The catalog's facts. Of a model outside the catalog nothing is changed, nor what
            nobody told of one that the YAML describes.

    Returns:
        The request, the given one where nothing had to change, and a short text for each change.
    """
    if model.base_model_id is None or not model.in_catalog:
        return dict(params), ()
    fitting = _Fitting(model)
    formed = dict(params)
    formed["messages"] = [_turn(message, fitting) for message in params.get("messages", ())]
    for key in ("system", "toolConfig"):
        if key in params:
            formed[key] = _without_cache_points(params[key], fitting)
    _move_system(formed, fitting)
    _stop_thinking_in_a_foreign_turn(formed, fitting)
    _drop_refused(formed, fitting)
    return formed, tuple(fitting.changes)


def _turn(message: Mapping[str, Any], fitting: _Fitting) -> Mapping[str, Any]:
    said = message["role"] == "assistant"
    content = [
        fit
        for block in message["content"]
        for fit in (_said(block, fitting) if said else _given(block, fitting),)
        if fit is not None
    ]
    if content == message["content"]:
        return message
    return {**message, "content": content or [_EMPTY]}


def _said(block: Mapping[str, Any], fitting: _Fitting) -> Mapping[str, Any] | None:
    """Return a block of an assistant's turn as the model takes it; None: it does not."""
    if "cachePoint" in block:
        return _cache_point(block, fitting)
    if "reasoningContent" in block:
        return _reasoning(block, fitting)
    if "citationsContent" in block and fitting.model.supports_citations is False:
        fitting.note("citations sent as text")
        texts = block["citationsContent"].get("content", ())
        return {"text": "".join(part.get("text", "") for part in texts) or _EMPTY["text"]}
    return block


def _given(block: Mapping[str, Any], fitting: _Fitting) -> Mapping[str, Any] | None:
    """Return a block of a user's turn as the model takes it; None: it does not."""
    if "cachePoint" in block:
        return _cache_point(block, fitting)
    if "citations" in block.get("document", ()) and fitting.model.supports_citations is False:
        fitting.note("citations of a document not asked for")
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
    fitting.note("reasoning of another model left out")
    return None


def _cache_point(block: Mapping[str, Any], fitting: _Fitting) -> Mapping[str, Any] | None:
    if fitting.model.supports_prompt_caching:
        return block
    fitting.note("cache points left out")
    return None


def _without_status(block: Mapping[str, Any], fitting: _Fitting) -> Mapping[str, Any]:
    result = dict(block["toolResult"])
    if result.pop("status", "success") == "error":
        fitting.note("a tool's error told as text")
        result["content"] = [{"text": "Error:"}, *result.get("content", ())]
    return {**block, "toolResult": result}


def _without_cache_points(section: Any, fitting: _Fitting) -> Any:
    if isinstance(section, dict):
        tools = _without_cache_points(section.get("tools", []), fitting)
        return {**section, "tools": tools}
    return [
        block
        for block in section
        if "cachePoint" not in block or _cache_point(block, fitting) is not None
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
    if not isinstance(fields, dict) or "thinking" not in fields:
        return
    if fitting.model.reasoning_history != "signed":
        return
    turns = [m for m in formed["messages"] if m["role"] == "assistant"]
    open_call = turns and "toolResult" in formed["messages"][-1]["content"][0]
    if open_call and "reasoningContent" not in turns[-1]["content"][0]:
        fitting.note("thinking left off: the tool call being answered is another model's")
        rest = {k: v for k, v in fields.items() if k != "thinking"}
        if rest:
            formed["additionalModelRequestFields"] = rest
        else:
            del formed["additionalModelRequestFields"]


_ON_THE_WIRE = {"temperature": "temperature", "top_p": "topP", "stop_sequences": "stopSequences"}


def _drop_refused(formed: dict[str, Any], fitting: _Fitting) -> None:
    refused = {_ON_THE_WIRE.get(name, name): name for name in fitting.model.refused_parameters}
    given = formed.get("inferenceConfig", {})
    dropped = given.keys() & refused.keys()
    if not dropped:
        return
    for name in sorted(dropped):
        fitting.note(f"{refused[name]} not sent: the model refuses it")
    rest = {k: v for k, v in given.items() if k not in dropped}
    if rest:
        formed["inferenceConfig"] = rest
    else:
        del formed["inferenceConfig"]
