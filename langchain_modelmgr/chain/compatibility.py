"""What a request needs, held against what a model can do: None, or the reason why not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Literal

from langchain_core.messages import AIMessage, ToolMessage

from langchain_modelmgr.tools import NO_TOOL

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from langchain_core.messages import BaseMessage

    from langchain_modelmgr.catalog import ModelConfig

ToolChoice = Literal["any", "tool"]

_IMAGE_BLOCKS = frozenset({"image", "image_url"})
_DOCUMENT_BLOCKS = frozenset({"document", "file", "input_file"})
_IMAGE_KEYS = frozenset({"image"})
"""Bedrock's own blocks have no ``type``; their one key says what they are."""
_DOCUMENT_KEYS = frozenset({"document"})


@dataclass(frozen=True, slots=True)
class Needs:
    """What serving a request takes.

    Attributes:
        tools: Tools are bound.
        tool_choice: ``any``: some tool must be called; ``tool``: a certain one; None: free.
        streaming: The model must be able to stream.
        images: The messages hold images.
        documents: The messages hold documents.
        tool_history: The messages hold tool calls or results of earlier turns.
        structured_output: The reply must follow a JSON schema natively.
    """

    tools: bool = False
    tool_choice: ToolChoice | None = None
    streaming: bool = False
    images: bool = False
    documents: bool = False
    tool_history: bool = False
    structured_output: bool = False

    @classmethod
    def of_agent(cls, requires: Iterable[str]) -> Needs:
        """Return the needs that an agent's ``requires`` names."""
        return cls(**dict.fromkeys(requires, True))  # type: ignore[arg-type]

    def __or__(self, other: Needs) -> Needs:
        """Return what either needs."""
        return Needs(
            **{f.name: getattr(self, f.name) or getattr(other, f.name) for f in fields(self)}
        )

    @property
    def bound(self) -> Needs:
        """The part that the caller's code fixes, whatever the messages hold."""
        return replace(self, images=False, documents=False, tool_history=False)


def needs_of(messages: Sequence[BaseMessage], kwargs: Mapping[str, Any]) -> Needs:
    """Return what this request needs.

    Args:
        messages: LangChain messages.
        kwargs: The call's keywords: ``tools``, ``tool_choice``, ``response_format``, ...
    """
    blocks = [b for m in messages if not isinstance(m.content, str) for b in m.content]
    needs = needs_of_blocks(blocks, kwargs)
    called = any(
        isinstance(m, ToolMessage) or (isinstance(m, AIMessage) and m.tool_calls) for m in messages
    )
    return replace(needs, tool_history=True) if called else needs


def needs_of_blocks(blocks: Iterable[Any], kwargs: Mapping[str, Any]) -> Needs:
    """Return what a request with these content blocks needs: Bedrock's or LangChain's."""
    tools = kwargs.get("tools")
    is_forced = tools and not kwargs.get("for_structured_output")
    flat = list(_flatten(blocks))
    return Needs(
        tools=bool(tools),
        tool_choice=forced_choice(kwargs.get("tool_choice")) if is_forced else None,
        images=any(_is(block, _IMAGE_BLOCKS, _IMAGE_KEYS) for block in flat),
        documents=any(_is(block, _DOCUMENT_BLOCKS, _DOCUMENT_KEYS) for block in flat),
        tool_history=any({"toolUse", "toolResult"} & block.keys() for block in flat),
        structured_output=bool(kwargs.get("response_format") or kwargs.get("output_config")),
    )


def forced_choice(choice: str | None) -> ToolChoice | None:
    """Return ``any`` or ``tool`` for a choice that forces a call; None for a free one."""
    if choice in (None, "auto", NO_TOOL):
        return None
    return "any" if choice == "any" else "tool"


def check(needs: Needs, model: ModelConfig, *, tool_count: int = 1) -> str | None:
    """Return why ``model`` can't serve ``needs``; None if it can, or if nobody knows.

    Args:
        needs: What the request takes.
        model: The catalog's facts; None in a fact means unknown, and unknown is allowed.
        tool_count: How many tools are bound: with one, a named tool and "any" are the same.
    """
    return next(_lacks(needs, model, tool_count), None)


def _lacks(needs: Needs, model: ModelConfig, tool_count: int) -> Iterator[str]:
    if (needs.tools or needs.tool_history) and model.supports_tools is False:
        yield "Model does not support tools"
    if needs.tool_choice and model.tool_choices is not None:
        able = {needs.tool_choice} | ({"any", "tool"} if tool_count == 1 else set())
        if not able & set(model.tool_choices):
            yield "Model does not support a forced tool choice"
    for needed, able_to, what in (
        (needs.streaming, model.supports_streaming, "streaming"),
        (needs.images, model.supports_images, "images"),
        (needs.documents, model.supports_documents, "documents"),
        (needs.structured_output, model.supports_structured_output, "structured output"),
    ):
        if needed and able_to is False:
            yield f"Model does not support {what}"


def _flatten(content: Iterable[Any]) -> Iterator[Mapping[str, Any]]:
    """Yield every content block, those inside tool results too."""
    for block in content:
        if isinstance(block, Mapping):
            yield block
            for key in ("content", "toolResult", "tool_result"):
                inner = block.get(key)
                if isinstance(inner, Mapping):
                    inner = inner.get("content")
                if isinstance(inner, list):
                    yield from _flatten(inner)


def _is(block: Mapping[str, Any], types: frozenset[str], keys: frozenset[str]) -> bool:
    kind = block.get("type")
    return kind in types if kind is not None else bool(keys & block.keys())
