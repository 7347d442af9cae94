"""Adapts a request to its model; another model may have begun the conversation."""

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
"""Placeholder for an assistant turn that would be empty, which Bedrock rejects. langchain-aws uses
the same text."""


@dataclass(frozen=True, slots=True)
class OriginalRequest:
    """The caller's request, as far as the request formed by langchain-aws does not show it.

    Attributes:
        messages: LangChain messages; empty for a conversation in Bedrock's own shapes.
        system: System blocks of a conversation in Bedrock's own shapes; None: keep those of the
            formed request.
        cache_control: Settings of added cache points, such as ``{"ttl": "1h"}``; None: add none.
        parameters: Request parameters, including ``temperature`` and ``top_p``.
        left_out: Names of request fields that were removed earlier.
    """

    messages: Sequence[BaseMessage] = ()
    system: list[Any] | None = None
    cache_control: Mapping[str, Any] | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()


NOTHING = OriginalRequest()


@dataclass(slots=True)
class _Fitting:
    """The adaptation of one request: the model, and the changes made so far."""

    model: ModelConfig
    changes: dict[str, None] = field(default_factory=dict)

    def note(self, change: str) -> None:
        self.changes[change] = None


def fitted(
    params: Mapping[str, Any], model: ModelConfig, original: OriginalRequest = NOTHING
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return a Converse request that ``model`` accepts, and what was changed.

    Args:
        params: The request in Converse's shapes; not modified.
        model: The catalog's facts. Requests to a model outside the catalog are not changed; for
            a model described in the YAML, only described properties cause changes.
        original: The caller's request.

    Returns:
        The request, and a short text for each change.
    """
    fitting = _Fitting(model)
    formed = dict(params)
    if original.system is not None:
        formed["system"] = original.system
        formed["messages"] = resendable(formed["messages"], fitting.note)
        _fill_empty_turns(formed)
    _note_left_out(formed, original, fitting)
    if model.base_model_id is not None and model.in_catalog:
        _fit(formed, fitting)
    if original.cache_control is not None:
        lifetime = original.cache_control.get("ttl")
        cache_points.add(formed, lifetime, model, fitting.note)
    for loss in losses(original.messages, formed["messages"]):
        fitting.note(loss)
    return formed, tuple(fitting.changes)


def _note_left_out(formed: Mapping[str, Any], original: OriginalRequest, fitting: _Fitting) -> None:
    for name in original.left_out:
        fitting.note(f"{name} not sent: the model does not accept it")
    sent = formed.get("inferenceConfig", {})
    for name, on_the_wire in (("temperature", "temperature"), ("top_p", "topP")):
        if original.parameters.get(name) is not None and on_the_wire not in sent:
            fitting.note(f"{name} not sent: the model refuses it")


def _fit(formed: dict[str, Any], fitting: _Fitting) -> None:
    formed["messages"] = [_turn(message, fitting) for message in formed.get("messages", ())]
    cache_points.remove_unsupported(formed, fitting.model, fitting.note)
    _fill_empty_turns(formed)
    _move_system(formed, fitting)
    _disable_thinking_in_foreign_turn(formed, fitting)
    fit_fields(formed, fitting.model, fitting.note)


def _turn(message: Mapping[str, Any], fitting: _Fitting) -> Mapping[str, Any]:
    is_assistant = message["role"] == "assistant"
    content = [
        fit
        for block in message["content"]
        for fit in (
            _assistant_block(block, fitting) if is_assistant else _user_block(block, fitting),
        )
        if fit is not None
    ]
    return message if content == message["content"] else {**message, "content": content}


def _assistant_block(block: Mapping[str, Any], fitting: _Fitting) -> Mapping[str, Any] | None:
    """Return a block of an assistant turn in a form that the model accepts; None: drop it."""
    if "reasoningContent" in block:
        return _reasoning(block, fitting)
    if "citationsContent" in block and fitting.model.supports_citations is False:
        fitting.note("citations sent as text")
        texts = block["citationsContent"].get("content", ())
        return {"text": "".join(part.get("text", "") for part in texts) or _EMPTY["text"]}
    return block


def _user_block(block: Mapping[str, Any], fitting: _Fitting) -> Mapping[str, Any] | None:
    """Return a block of a user turn in a form that the model accepts; None: drop it."""
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
    """Put a placeholder text into assistant turns that are empty."""
    formed["messages"] = [
        {**message, "content": [_EMPTY]}
        if not message["content"] and message["role"] == "assistant"
        else message
        for message in formed["messages"]
    ]


def _move_system(formed: dict[str, Any], fitting: _Fitting) -> None:
    """Move the system prompt into the first user turn, for models without system prompts."""
    system = formed.get("system")
    if not system or fitting.model.supports_system_prompt is not False:
        return
    fitting.note("system prompt sent as text of the first turn")
    del formed["system"]
    first, *rest = formed["messages"]
    formed["messages"] = [{**first, "content": [*system, *first["content"]]}, *rest]


def _disable_thinking_in_foreign_turn(formed: dict[str, Any], fitting: _Fitting) -> None:
    """Turn thinking off while the last turn answers a tool call of another model.

    With thinking on, Claude requires a turn that calls tools to begin with signed reasoning,
    which a turn of another model lacks.
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
