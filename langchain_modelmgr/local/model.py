"""The scripted model: gives deterministic answers with token counts, as the request demands."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
import threading
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from langchain_modelmgr.local import tokens
from langchain_modelmgr.local.facts import base_of, facts_of
from langchain_modelmgr.local.schema import InstanceMaker
from langchain_modelmgr.local.scripted import Answer, ScriptedReply, ScriptedRequest

if TYPE_CHECKING:
    from collections.abc import Sequence

_WORD = re.compile(r"[a-z]{4,}")
_FRAME_TOKENS = 3
"""Tokens of a message's role."""


class ScriptedModel:
    """Answers requests by simple rules, and remembers which prompts are cached."""

    def __init__(self) -> None:
        self._calls = itertools.count(1)
        self._cached: set[str] = set()
        self._lock = threading.Lock()

    def answer(self, request: ScriptedRequest, scripted: ScriptedReply | None = None) -> Answer:
        """Return the whole answer: the script's, or one made from the request."""
        reply = scripted or default_reply(request)
        content, stop_reason = self._content(request, reply)
        usage = reply.usage or self._usage(request.body, content)
        return Answer(
            content, reply.stop_reason or stop_reason, dict(usage), reply.additional_fields
        )

    def count_tokens(self, body: Mapping[str, Any]) -> int:
        """Return the input tokens of a Converse request."""
        return sum(size for size, _ in _parts(body))

    def _content(
        self, request: ScriptedRequest, reply: ScriptedReply
    ) -> tuple[list[dict[str, Any]], str]:
        config = request.body.get("inferenceConfig", {})
        text, stop_reason = _held_to(reply.text, config)
        content: list[dict[str, Any]] = []
        if reply.reasoning:
            reasoned = {"text": reply.reasoning}
            if facts_of(base_of(request.model_id)).get("reasoning_history") == "signed":
                reasoned["signature"] = "c2lnbmVk"
            content.append({"reasoningContent": {"reasoningText": reasoned}})
        content += (dict(block) for block in reply.blocks)
        if text or not (reply.tool_calls or reply.blocks):
            content.append({"text": text})
        for name, arguments, *given in reply.tool_calls:
            use_id = given[0] if given else None
            use = {"toolUseId": use_id or f"tooluse_{next(self._calls):06d}", "name": name}
            sent = arguments if isinstance(arguments, str) else dict(arguments)
            content.append({"toolUse": {**use, "input": sent}})
            stop_reason = "tool_use"
        return content, stop_reason

    def _usage(
        self, body: Mapping[str, Any], content: Sequence[Mapping[str, Any]]
    ) -> dict[str, Any]:
        parts = list(_parts(body))
        total = sum(size for size, _ in parts)
        read, written = self._cache(parts)
        output = tokens.of_blocks(content)
        usage: dict[str, Any] = {
            "inputTokens": total - read - sum(written.values()),
            "outputTokens": output,
            "totalTokens": total + output,
        }
        if read or written:
            usage["cacheReadInputTokens"] = read
            usage["cacheWriteInputTokens"] = sum(written.values())
        if written:
            usage["cacheDetails"] = [{"ttl": t, "inputTokens": n} for t, n in written.items()]
        return usage

    def _cache(self, parts: list[tuple[int, Any]]) -> tuple[int, dict[str, int]]:
        """Return the tokens read from the cache, and the tokens written to it by lifetime."""
        read, reached, written = 0, 0, dict[str, int]()
        digest = hashlib.sha256()
        for size, part in parts:
            if not isinstance(part, Mapping) or "cachePoint" not in part:
                reached += size
                digest.update(json.dumps(part, sort_keys=True).encode())
                continue
            with self._lock:
                known = digest.hexdigest() in self._cached
                self._cached.add(digest.hexdigest())
            if known:
                read = reached
            else:
                ttl = part["cachePoint"].get("ttl", "5m")
                written[ttl] = written.get(ttl, 0) + reached - read - sum(written.values())
        return read, {ttl: size for ttl, size in written.items() if size}


def default_reply(request: ScriptedRequest) -> ScriptedReply:
    """Return the default answer, for requests without a script."""
    last = request.body["messages"][-1]["content"]
    forced = not {"any", "tool"}.isdisjoint(_choice(request))
    if any("toolResult" in block for block in last) and not forced:
        found = "; ".join(request.tool_results)
        return ScriptedReply(text=f"The tools say: {found}")
    if called := _tool_to_call(request):
        schema = called["inputSchema"]["json"]
        arguments = InstanceMaker(schema, request.prompt).make()
        return ScriptedReply(tool_calls=[(called["name"], arguments)])
    wanted = request.body.get("outputConfig", {}).get("textFormat", {}).get("structure", {})
    if "jsonSchema" in wanted:
        schema = json.loads(wanted["jsonSchema"]["schema"])
        made = InstanceMaker(schema, request.prompt).make()
        return ScriptedReply(text=json.dumps(made, ensure_ascii=False))
    kinds = sorted({k for block in last for k in block} & {"image", "document", "video"})
    seen = f" I see {' and '.join(kinds)} too." if kinds else ""
    return ScriptedReply(text=f"You said: {request.prompt}{seen}")


def _tool_to_call(request: ScriptedRequest) -> Mapping[str, Any] | None:
    """Return the tool that the tool choice forces, or that the prompt names."""
    choice = _choice(request)
    if "tool" in choice:
        name = choice["tool"]["name"]
        return next((t for t in request.tools if t["name"] == name), None)
    words = set(_WORD.findall(request.prompt.lower()))
    called = _called(request)
    # Tools that were not called yet come first: a forced model must not repeat one for ever.
    best = max(
        request.tools,
        key=lambda t: (t["name"] not in called, len(words & _words(t))),
        default=None,
    )
    if best is None or "any" in choice or words & _words(best):
        return best
    return None


def _choice(request: ScriptedRequest) -> Mapping[str, Any]:
    choice: Mapping[str, Any] = request.body.get("toolConfig", {}).get("toolChoice", {})
    return choice


def _called(request: ScriptedRequest) -> set[str]:
    """Return the tools that the conversation has called."""
    return {
        block["toolUse"]["name"]
        for message in request.body["messages"]
        for block in message["content"]
        if "toolUse" in block
    }


def _words(tool: Mapping[str, Any]) -> set[str]:
    spoken = f"{tool['name']} {tool.get('description', '')}".lower().replace("_", " ")
    return {*_WORD.findall(spoken), "tool"}


def _held_to(text: str, config: Mapping[str, Any]) -> tuple[str, str]:
    """Return the text up to a stop sequence and within ``maxTokens``, and why it ends."""
    ends = [(text.find(stop), stop) for stop in config.get("stopSequences", ()) if stop in text]
    reason = "end_turn"
    if ends:
        text, reason = text[: min(ends)[0]], "stop_sequence"
    most = config.get("maxTokens")
    if most is not None and tokens.of_text(text) > most:
        kept = text.encode()[: most * tokens.BYTES_PER_TOKEN]
        text, reason = kept.decode(errors="ignore"), "max_tokens"
    return text, reason


def _parts(body: Mapping[str, Any]) -> Iterator[tuple[int, Any]]:
    """Yield the input's parts in the order in which Bedrock caches them, with their tokens."""
    for tool in body.get("toolConfig", {}).get("tools", ()):
        yield tokens.of_block(tool), tool
    for block in body.get("system", ()):
        yield tokens.of_block(block), block
    for message in body.get("messages", ()):
        yield _FRAME_TOKENS, message["role"]
        for block in message["content"]:
            yield tokens.of_block(block), block
