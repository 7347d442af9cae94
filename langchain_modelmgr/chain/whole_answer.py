"""Returns an answer that came whole as the chunk of a stream."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.messages.tool import tool_call_chunk
from langchain_core.outputs import ChatGenerationChunk

if TYPE_CHECKING:
    from langchain_core.outputs import ChatGeneration


def as_chunk(generation: ChatGeneration) -> ChatGenerationChunk:
    """Return a whole answer as one chunk."""
    message = generation.message
    calls = message.tool_calls if isinstance(message, AIMessage) else []
    chunk = AIMessageChunk(
        content=message.content,
        response_metadata=message.response_metadata,
        additional_kwargs=message.additional_kwargs,
        usage_metadata=message.usage_metadata if isinstance(message, AIMessage) else None,
        id=message.id,
        tool_call_chunks=[
            tool_call_chunk(
                name=call["name"], args=json.dumps(call["args"]), id=call["id"], index=index
            )
            for index, call in enumerate(calls)
        ],
    )
    return ChatGenerationChunk(message=chunk)
