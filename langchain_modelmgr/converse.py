"""Converts the arguments and results of ``invoke_model``, which use Bedrock's own shapes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NotRequired, TypedDict

from langchain_core.messages import BaseMessage, SystemMessage

from langchain_modelmgr.chain.compatibility import needs_of, needs_of_blocks
from langchain_modelmgr.chain.keywords import keywords_of
from langchain_modelmgr.chain.request import ChatRequest, RawConversation
from langchain_modelmgr.errors import ConfigurationError
from langchain_modelmgr.tools import check_choice, neutral_choice, neutral_tools, settled
from langchain_modelmgr.usage.pricing import TokenCounts
from langchain_modelmgr.usage.totals import Run

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from langchain_core.outputs import ChatGenerationChunk

    from langchain_modelmgr.chain.call_input import CallOutcome


class TokenUsage(TypedDict):
    """Token counts of an answer as Bedrock reports them: input excludes the prompt cache."""

    input_tokens: int
    output_tokens: int
    total_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int


class InvokeResult(TypedDict):
    """The result of ``invoke_model``.

    Attributes:
        success: Always True; a call that fails raises an error.
        model_id: The model that answered.
        latency_ms: Milliseconds from the start of the call to the last byte of its answer.
        cost: USD of the attempt that answered; None if its price is unknown.
        usage: Token counts of the attempt that answered.
        fallback_used: True if a fallback answered.
        response: The answer's text.
        content: The answer's content blocks, in Converse's shapes.
        tool_uses: The ``toolUse`` blocks that can be called. A block that ``max_tokens`` cut off
            is only in ``content``, with the received text as its ``input``.
        stop_reason: Bedrock's stop reason.
        attempts: The attempts: ``model_id``, ``error``, ``latency_ms``, ``request_id``.
        skipped: Models that could not serve the request: ``model_id``, ``reason``.
    """

    success: bool
    model_id: str
    latency_ms: float
    cost: float | None
    usage: TokenUsage
    fallback_used: bool
    response: str
    content: list[dict[str, Any]]
    tool_uses: list[dict[str, Any]]
    stop_reason: str
    attempts: list[dict[str, Any]]
    skipped: list[dict[str, str]]


class StreamEvent(TypedDict):
    """One item of ``stream_model``: a piece of text or reasoning, or the result as the last one."""

    text: NotRequired[str]
    reasoning: NotRequired[str]
    result: NotRequired[InvokeResult]


def request_of(
    messages: Sequence[Any],
    system_prompt: str,
    tools: Sequence[Any] | None,
    keywords: Mapping[str, Any],
) -> ChatRequest:
    """Return the request for the chain.

    Args:
        messages: Converse messages, which are sent unchanged, or LangChain's. A Converse
            message's ``content`` may be text.
        system_prompt: The system prompt; may be empty.
        tools: Converse tools or LangChain's.
        keywords: Request fields of ChatBedrockConverse, ``timeout`` and ``model``.

    Raises:
        ConfigurationError: Messages, system prompt or tools have a wrong form, or a keyword is
            unknown.
    """
    keywords = keywords_of(keywords, of="invoke_model", langchain=False)
    model, timeout = keywords.pop("model", None), keywords.pop("timeout", None)
    messages, system_prompt = conversation_of(messages), system_of(system_prompt)
    # Without cache_control the agent's setting is used; None disables caching.
    kwargs = {k: v for k, v in keywords.items() if v is not None or k == "cache_control"}
    if tools:
        kwargs["tools"] = neutral_tools(tools)
        check_choice(neutral_choice(kwargs.get("tool_choice")), kwargs["tools"])
    kwargs = settled(kwargs)
    if isinstance(messages[0], BaseMessage):
        system = [SystemMessage(system_prompt)] if system_prompt else []
        return ChatRequest(
            messages=[*system, *messages],
            stop=None,
            kwargs=kwargs,
            needs=needs_of(messages, kwargs),
            timeout=timeout or 0.0,
            model=model,
            keep_content=True,
        )
    blocks = [block for message in messages for block in message["content"]]
    prefill = bool(messages) and messages[-1]["role"] == "assistant"
    return ChatRequest(
        messages=[],
        stop=None,
        kwargs=kwargs,
        needs=needs_of_blocks(blocks, kwargs, prefill=prefill),
        timeout=timeout or 0.0,
        model=model,
        raw=RawConversation(messages, [{"text": system_prompt}] if system_prompt else []),
        keep_content=True,
    )


def run_of(metadata: Any, tags: Any) -> Run:
    """Return the run of a call with metadata and tags, as a RunnableConfig has them.

    Raises:
        ConfigurationError: One of them has a wrong form.
    """
    if metadata is not None and not isinstance(metadata, Mapping):
        raise ConfigurationError("metadata must be a dict")
    if isinstance(tags, str) or not isinstance(tags or (), Iterable):
        raise ConfigurationError("tags must be a list of texts")
    return Run(metadata=dict(metadata or {}), tags=tuple(map(str, tags or ())))


def result_of(outcome: CallOutcome) -> InvokeResult:
    """Return the result of an answered call."""
    meter, report = outcome.meter, outcome.report
    if meter is None or report is None:
        raise RuntimeError("the call was not answered")
    usage = meter.usage or TokenCounts()
    cost = report["cost_usd"]
    return InvokeResult(
        success=True,
        model_id=meter.model_id,
        latency_ms=report["latency_ms"],
        cost=None if cost is None else float(cost),
        usage=TokenUsage(
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
            total_tokens=usage.total_tokens,
            cache_read_tokens=usage.cache_read_tokens,
            cache_write_tokens=usage.cache_write_5m_tokens + usage.cache_write_1h_tokens,
        ),
        fallback_used=report["fallback_used"],
        response=text_of(meter.content),
        content=meter.content,
        tool_uses=[
            block["toolUse"]
            for block in meter.content
            if isinstance(block.get("toolUse", {}).get("input"), dict)
        ],
        stop_reason=meter.stop_reason or "",
        attempts=report["attempts"],
        skipped=report["skipped"],
    )


def text_of(content: Sequence[Mapping[str, Any]]) -> str:
    """Return the text of an answer in Bedrock's shapes."""
    return "".join(_texts(content))


def _texts(content: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for block in content:
        for part in block.get("citationsContent", {}).get("content", ()):
            yield part.get("text", "")
        yield block.get("text", "")


def events_of(chunk: ChatGenerationChunk) -> Iterator[StreamEvent]:
    """Yield the text and the reasoning in a chunk."""
    content = chunk.message.content
    for block in [content] if isinstance(content, str) else content:
        if isinstance(block, str):
            if block:
                yield StreamEvent(text=block)
        elif block.get("type") == "text" and block.get("text"):
            yield StreamEvent(text=block["text"])
        elif block.get("type") == "reasoning_content":
            reasoned = block.get("reasoning_content", {})
            if reasoned.get("text"):
                yield StreamEvent(reasoning=reasoned["text"])


_EXAMPLE = "[{'role': 'user', 'content': [{'text': 'Hello'}]}]"

_ROLES = {
    # Roles in other services' messages, and what Converse uses instead.
    "ai": "'assistant'",
    "developer": "system_prompt",
    "function": "a 'toolResult' block of a 'user' message",
    "human": "'user'",
    "model": "'assistant'",
    "tool": "a 'toolResult' block of a 'user' message",
}


def conversation_of(messages: Any) -> list[Any]:
    """Return a conversation as a list: Converse messages with blocks, or LangChain's messages.

    In a Converse message with text as ``content``, the text becomes a block, in a copy; everything
    else is unchanged.

    Raises:
        ConfigurationError: The conversation is not valid; the error says where, and what is valid.
    """
    if isinstance(messages, str | bytes | Mapping | BaseMessage) or not isinstance(
        messages, Iterable
    ):
        raise _wrong(f"messages must be a list of messages, got {_kind(messages)}: give {_EXAMPLE}")
    given = list(messages)
    if not given:
        raise _wrong(f"messages is empty: give {_EXAMPLE}")
    if all(isinstance(message, BaseMessage) for message in given):
        return given
    return [_message(message, f"messages[{i}]", first=not i) for i, message in enumerate(given)]


def system_of(system_prompt: Any) -> str:
    """Return the system prompt, or empty text for None.

    Raises:
        ConfigurationError: It is not text.
    """
    if system_prompt is None or isinstance(system_prompt, str):
        return system_prompt or ""
    raise _wrong(f"system_prompt must be text, got {_kind(system_prompt)}")


def _message(message: Any, where: str, *, first: bool) -> Mapping[str, Any]:
    if isinstance(message, BaseMessage):
        raise _wrong(f"{where} is a LangChain message among Converse messages: use one kind")
    if not isinstance(message, Mapping):
        raise _wrong(f"{where} must be a message, got {_kind(message)}: give {_EXAMPLE}")
    role = message.get("role")
    if not isinstance(role, str):
        raise _wrong(f"{where} has no 'role': give 'user' or 'assistant'")
    if role in _ROLES:
        raise _wrong(f"{where}: Converse has no role {role!r}: use {_ROLES[role]}")
    if role == "system" and first:
        raise _wrong(f"{where}: a conversation begins with 'user': use system_prompt")
    content = message.get("content")
    if isinstance(content, str):
        return {**message, "content": [{"text": content}]}
    if not isinstance(content, list | tuple):
        what = "has no 'content'" if content is None else f"has {_kind(content)} as 'content'"
        raise _wrong(f"{where} {what}: give text or a list of blocks, [{{'text': 'Hello'}}]")
    for i, block in enumerate(content):
        _check_block(block, f"{where}.content[{i}]")
    return message


def _check_block(block: Any, where: str) -> None:
    if not isinstance(block, Mapping):
        raise _wrong(f"{where} must be a block, got {_kind(block)}: give {{'text': 'Hello'}}")
    if "type" in block:
        raise _wrong(
            f"{where} has the key 'type', which Converse blocks don't have: give "
            "{'text': 'Hello'}, or LangChain messages"
        )


def _kind(value: Any) -> str:
    return "None" if value is None else type(value).__name__


def _wrong(text: str) -> ConfigurationError:
    return ConfigurationError(f"invoke_model: {text}")
