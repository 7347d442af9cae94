"""Compares what a request needs with what a model can do."""

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

_OF_TYPE = {
    "audio": "audio",
    "document": "documents",
    "file": "documents",
    "image": "images",
    "image_url": "images",
    "input_audio": "audio",
    "input_file": "documents",
    "search_result": "search_results",
    "video": "video",
    "video_url": "video",
}
"""Need of each LangChain content block, by its type."""

_OF_KEY = {
    "audio": "audio",
    "document": "documents",
    "image": "images",
    "searchResult": "search_results",
    "search_result": "search_results",
    "video": "video",
}
"""Need of each Bedrock content block, by its only key; such blocks have no ``type``."""

_TOOL_KEYS = frozenset({"toolUse", "toolResult"})
_MEDIA_KEYS = ("audio", "document", "image", "video")
_S3_KEYS = frozenset({"s3Location", "s3_location"})
_INNER_KEYS = ("content", "toolResult", "tool_result", "value")
"""Keys that may hold further content blocks."""


@dataclass(frozen=True, slots=True)
class Needs:
    """Capabilities that a model must have to serve a request.

    Attributes:
        tools: Tools are bound.
        tool_choice: ``any``: some tool must be called; ``tool``: a certain one; None: free.
        streaming: The model must be able to stream.
        images: The messages hold images.
        documents: The messages hold documents.
        video: The messages hold video.
        audio: The messages hold audio.
        search_results: The messages hold search results.
        s3_sources: The messages name images, documents or video by their place in Amazon S3.
        prefill: The messages end with the start of the answer.
        tool_history: The messages hold tool calls or results of earlier turns.
        structured_output: The reply must follow a JSON schema natively.
    """

    tools: bool = False
    tool_choice: ToolChoice | None = None
    streaming: bool = False
    images: bool = False
    documents: bool = False
    video: bool = False
    audio: bool = False
    search_results: bool = False
    s3_sources: bool = False
    prefill: bool = False
    tool_history: bool = False
    structured_output: bool = False

    @classmethod
    def of_agent(cls, requires: Iterable[str]) -> Needs:
        """Return the needs that an agent's ``requires`` names."""
        return cls(**dict.fromkeys(requires, True))  # type: ignore[arg-type]

    def __or__(self, other: Needs) -> Needs:
        """Return the union of both needs."""
        return Needs(
            **{f.name: getattr(self, f.name) or getattr(other, f.name) for f in fields(self)}
        )

    @property
    def bound(self) -> Needs:
        """The needs that the caller's code determines, without those of the messages."""
        return Needs(
            tools=self.tools,
            tool_choice=self.tool_choice,
            streaming=self.streaming,
            structured_output=self.structured_output,
        )


_NONE = Needs()


def needs_of(messages: Sequence[BaseMessage], kwargs: Mapping[str, Any]) -> Needs:
    """Return the needs of a request.

    Args:
        messages: LangChain messages.
        kwargs: The call's keywords: ``tools``, ``tool_choice``, ``response_format``, ...
    """
    blocks = [b for m in messages if not isinstance(m.content, str) for b in m.content]
    last = messages[-1] if messages else None
    prefill = isinstance(last, AIMessage) and not last.tool_calls
    needs = needs_of_blocks(blocks, kwargs, prefill=prefill)
    called = any(
        isinstance(m, ToolMessage) or (isinstance(m, AIMessage) and m.tool_calls) for m in messages
    )
    return replace(needs, tool_history=True) if called else needs


def needs_of_blocks(
    blocks: Sequence[Any], kwargs: Mapping[str, Any], *, prefill: bool = False
) -> Needs:
    """Return the needs of a request with these content blocks, Bedrock's or LangChain's."""
    if not (blocks or kwargs or prefill):
        return _NONE
    tools = kwargs.get("tools")
    is_forced = tools and not kwargs.get("for_structured_output")
    held = {need for block in _flatten(blocks) for need in _held(block)}
    return Needs(
        tools=bool(tools),
        tool_choice=forced_choice(kwargs.get("tool_choice")) if is_forced else None,
        prefill=prefill,
        structured_output=bool(kwargs.get("response_format") or kwargs.get("output_config")),
        **dict.fromkeys(held, True),
    )


def forced_choice(choice: str | None) -> ToolChoice | None:
    """Return ``any`` or ``tool`` for a choice that forces a call; None for a free one."""
    if choice in (None, "auto", NO_TOOL):
        return None
    return "any" if choice == "any" else "tool"


def check(needs: Needs, model: ModelConfig, *, tool_count: int = 1) -> str | None:
    """Return why ``model`` can't serve ``needs``; None if it can or if it is unknown.

    Args:
        needs: The needs of the request.
        model: The catalog's facts; None in a fact means unknown, and unknown is allowed.
        tool_count: How many tools are bound: with one, a named tool and "any" are the same.
    """
    if needs == _NONE and model.not_served is None:
        return None
    return next(_lacks(needs, model, tool_count), None)


def _lacks(needs: Needs, model: ModelConfig, tool_count: int) -> Iterator[str]:
    if model.not_served is not None:
        yield model.not_served
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
        (needs.video, model.supports_video, "video"),
        (needs.audio, model.supports_audio, "audio"),
        (needs.search_results, model.supports_search_results, "search results"),
        (needs.s3_sources, model.supports_s3_sources, "sources in Amazon S3"),
        (needs.prefill, model.supports_prefill, "a prefilled answer"),
        (needs.structured_output, model.supports_structured_output, "structured output"),
    ):
        if needed and able_to is False:
            yield f"Model does not support {what}"


def _flatten(content: Iterable[Any]) -> Iterator[Mapping[str, Any]]:
    """Yield every content block, including those inside tool results and wrappers."""
    for block in content:
        if isinstance(block, Mapping):
            yield block
            for key in _INNER_KEYS:
                inner = block.get(key)
                if isinstance(inner, Mapping):
                    yield from _flatten([inner] if key == "value" else inner.get("content") or ())
                elif isinstance(inner, list):
                    yield from _flatten(inner)


def _held(block: Mapping[str, Any]) -> Iterator[str]:
    """Yield the needs of one block."""
    kind = block.get("type")
    if kind is not None:
        if kind in _OF_TYPE:
            yield _OF_TYPE[kind]
    else:
        yield from (need for key, need in _OF_KEY.items() if key in block)
    if not _TOOL_KEYS.isdisjoint(block):
        yield "tool_history"
    if any(_is_in_s3(block.get(key)) for key in _MEDIA_KEYS) or _is_in_s3(block):
        yield "s3_sources"


def _is_in_s3(media: Any) -> bool:
    source = media.get("source") if isinstance(media, Mapping) else None
    if not isinstance(source, Mapping):
        return False
    return source.get("type") == "s3Location" or not _S3_KEYS.isdisjoint(source)
