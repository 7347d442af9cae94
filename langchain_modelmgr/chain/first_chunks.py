"""Buffers a stream's chunks until its first content, and keeps the text that was yielded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_modelmgr.usage.stream_content import has_content

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_core.messages import BaseMessage
    from langchain_core.outputs import ChatGenerationChunk


class FirstChunks:
    """Buffers one attempt's chunks until the first with content, which commits the stream.

    Attributes:
        committed: True once a chunk was yielded, after which no other model may answer.
    """

    def __init__(self) -> None:
        self.committed = False
        self._held: list[ChatGenerationChunk] = []
        self._text: list[str] = []

    @property
    def text(self) -> str:
        """The text that was yielded."""
        return "".join(self._text)

    def next(self, chunk: ChatGenerationChunk) -> Sequence[ChatGenerationChunk]:
        """Return the chunks to pass on after the stream was committed."""
        self._text.append(chunk.text)
        return (chunk,)

    def first(self, chunk: ChatGenerationChunk) -> Sequence[ChatGenerationChunk]:
        """Return the chunks to pass on before; none until a chunk has content."""
        self._held.append(chunk)
        return self.rest() if holds_content(chunk.message) else ()

    def rest(self) -> Sequence[ChatGenerationChunk]:
        """Commit the stream and return the buffered chunks."""
        self.committed = True
        held, self._held = self._held, []
        self._text.extend(chunk.text for chunk in held)
        return held


def holds_content(message: BaseMessage) -> bool:
    """Return whether a chunk holds content of any kind, a tool call, or usage.

    Bedrock's first event (``messageStart``) has none; passed on, it would commit the stream.
    """
    if getattr(message, "tool_call_chunks", None) or getattr(message, "usage_metadata", None):
        return True
    if isinstance(message.content, str):
        return bool(message.content)
    return any(_is_content(block) for block in message.content)


def _is_content(block: str | dict[str, Any]) -> bool:
    if isinstance(block, str):
        return bool(block)
    return has_content({k: v for k, v in block.items() if k not in ("type", "index")})
