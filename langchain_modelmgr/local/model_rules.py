"""Checks a request against the facts of its model. Error texts are AWS's where known."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

_MODEL_ERROR = "The model returned the following errors: "
"""Bedrock's prefix of errors that come from the model's own API."""

_BLOCKS = {
    "image": "supports_images",
    "document": "supports_documents",
    "video": "supports_video",
    "audio": "supports_audio",
    "searchResult": "supports_search_results",
}
MAX_CACHE_POINTS = 4


def model_violations(
    facts: Mapping[str, Any], operation: str, body: Mapping[str, Any]
) -> Iterator[str]:
    """Yield each error that a model with these facts raises for a request."""
    messages = body["messages"]
    said = [b for m in messages for b in m["content"] if m["role"] == "assistant"]
    given = [b for m in messages for b in m["content"] if m["role"] == "user"]
    yield from _of_tools(facts, operation, body)
    if body.get("system") and facts.get("supports_system_prompt") is False:
        yield "This model doesn't support the system field. Remove system and try again."
    if messages[-1]["role"] == "assistant" and facts.get("supports_prefill") is False:
        yield (
            f"{_MODEL_ERROR}This model does not support assistant message prefill. The "
            "conversation must end with a user message."
        )
    yield from _of_cache_points(facts, body)
    yield from _of_blocks(facts, said, given)
    yield from _of_reasoning(facts, said)


def _of_tools(facts: Mapping[str, Any], operation: str, body: Mapping[str, Any]) -> Iterator[str]:
    if "toolConfig" not in body:
        return
    if facts.get("supports_tools") is False:
        yield "This model doesn't support tool use."
    if operation == "ConverseStream" and facts.get("supports_streaming_tools") is False:
        yield "This model doesn't support tool use in streaming mode."
    choices = facts.get("tool_choices")
    for choice in body["toolConfig"].get("toolChoice", ()):
        if choices is not None and choice != "auto" and choice not in choices:
            field = f"toolConfig.toolChoice.{choice}"
            yield f"This model doesn't support the {field} field. Remove {field} and try again."


def _of_cache_points(facts: Mapping[str, Any], body: Mapping[str, Any]) -> Iterator[str]:
    found = [
        (place, f"{path}/{index}", index > 0 and "toolResult" in section[index - 1], block)
        for place, path, section in _sections(body)
        for index, block in enumerate(section)
        if "cachePoint" in block
    ]
    places = facts.get("cache_point_places")
    for place, path, after_result, _ in found:
        needed = {place, "tool_results"} if after_result else {place}
        if not facts.get("supports_prompt_caching"):
            yield "You invoked an unsupported model or your request did not allow prompt caching."
        elif places is not None and not needed <= set(places):
            yield (
                f"Malformed input request: #/{path}: extraneous key [cachePoint] is not permitted, "
                "please reformat your input and try again."
            )
    lifetimes = [block["cachePoint"].get("ttl", "5m") for *_, block in found]
    if not set(lifetimes) <= set(facts.get("cache_lifetimes", lifetimes)):
        yield "This model doesn't support the ttl field in cachePoint."
    if len(lifetimes) > MAX_CACHE_POINTS:
        yield f"A request may have {MAX_CACHE_POINTS} cache points at most, found {len(lifetimes)}."
    if lifetimes != sorted(lifetimes):  # "1h" before "5m"
        yield f"{_MODEL_ERROR}a ttl='1h' cache point must not come after a ttl='5m' one"


def _sections(body: Mapping[str, Any]) -> Iterator[tuple[str, str, list[Any]]]:
    yield "tools", "toolConfig/tools", body.get("toolConfig", {}).get("tools", [])
    yield "system", "system", body.get("system", [])
    for index, message in enumerate(body["messages"]):
        yield "messages", f"messages/{index}/content", message["content"]


def _of_blocks(
    facts: Mapping[str, Any], said: list[Mapping[str, Any]], given: list[Mapping[str, Any]]
) -> Iterator[str]:
    results = (b for g in given for b in g.get("toolResult", {}).get("content", ()))
    for block in chain(said, given, results):
        for kind, fact in _BLOCKS.items():
            if kind not in block:
                continue
            if facts.get(fact) is False:
                yield f"This model doesn't support the {kind} field. Remove {kind} and try again."
            source = block[kind].get("source", {}) if kind != "searchResult" else {}
            if "s3Location" in source and facts.get("supports_s3_sources") is False:
                yield f"{_MODEL_ERROR}messages.0.content.0.{kind}.source.type: Field required"
    citations = facts.get("supports_citations")
    requested = any((b.get("document") or {}).get("citations") for b in given)
    if citations is False and (requested or any("citationsContent" in b for b in said)):
        yield "This model doesn't support the citationsContent field."
    status = any("status" in b.get("toolResult", ()) for b in given)
    if status and facts.get("supports_tool_result_status") is False:
        yield "This model doesn't support the status field in toolResult."


def _of_reasoning(facts: Mapping[str, Any], said: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    takes = facts.get("reasoning_history")
    for block in said:
        if takes is None or "reasoningContent" not in block:
            continue
        reasoned = block["reasoningContent"]
        signed = "redactedContent" in reasoned or "signature" in reasoned["reasoningText"]
        if takes == "signed" and not signed:
            yield f"{_MODEL_ERROR}thinking.signature: Field required"
        elif takes != ("signed" if signed else "unsigned"):
            yield "User messages cannot contain reasoning content. Remove it and try again."
