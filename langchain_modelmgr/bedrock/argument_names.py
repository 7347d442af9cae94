"""Replaces tool parameter names that a model rejects, and restores them in replies."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from langchain_modelmgr.bedrock.tool_schemas import schema_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

_PLAIN = re.compile(r"[a-zA-Z0-9_.-]{1,64}")
"""Property names that Claude accepts at the top level of a schema; nested ones may be any."""

_BY_NAME = ("properties", "dependentRequired", "dependentSchemas")


@dataclass(slots=True)
class ArgumentNames:
    """The replaced parameter names of a request's tools.

    Attributes:
        sent: For each tool name, a map from the caller's parameter names to the names sent.
    """

    sent: dict[str, dict[str, str]]

    def spec(self, spec: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return a tool specification with the names to send."""
        if (names := self.sent.get(str(spec.get("name")))) is None:
            return spec
        schema = dict(spec["inputSchema"]["json"])
        for key in _BY_NAME:
            if key in schema:
                schema[key] = _renamed(schema[key], names)
        if "required" in schema:
            schema["required"] = [names.get(name, name) for name in schema["required"]]
        if "dependentRequired" in schema:
            schema["dependentRequired"] = {
                name: [names.get(n, n) for n in needed]
                for name, needed in schema["dependentRequired"].items()
            }
        return {**spec, "inputSchema": {"json": schema}}

    def call(self, use: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return an earlier tool call with the names to send."""
        names = self.sent.get(str(use.get("name")))
        if names is None or not isinstance(use.get("input"), dict):
            return use
        return {**use, "input": _renamed(use["input"], names)}

    def restore(self, use: dict[str, Any]) -> None:
        """Restore the caller's names in a reply's tool call, in place, after the tool's name."""
        names = self.sent.get(str(use.get("name")))
        if names is not None and isinstance(use.get("input"), dict):
            use["input"] = _renamed(use["input"], _reversed(names))

    def restored(self, events: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """Yield a stream's events with the caller's names.

        The input of a tool call with replaced names is yielded in one piece.
        """
        held: dict[int, tuple[dict[str, str], list[str]]] = {}
        for event in events:
            if start := event.get("contentBlockStart"):
                names = self.sent.get(str((start["start"].get("toolUse") or {}).get("name")))
                if names is not None:
                    held[start["contentBlockIndex"]] = (_reversed(names), [])
            elif delta := event.get("contentBlockDelta"):
                kept = held.get(delta["contentBlockIndex"])
                if kept is not None and "toolUse" in delta["delta"]:
                    kept[1].append(delta["delta"]["toolUse"].get("input", ""))
                    continue
            elif stop := event.get("contentBlockStop"):
                yield from _flush(held, stop["contentBlockIndex"])
            elif "messageStop" in event:
                for index in list(held):
                    yield from _flush(held, index)
            yield event


def refused_arguments(tools: Iterable[Mapping[str, Any]]) -> ArgumentNames | None:
    """Return replacements for parameter names that models may reject; None if there are none."""
    sent = {}
    for tool in tools:
        if (spec := tool.get("toolSpec")) and (names := _mapped(schema_of(tool) or {})):
            sent[str(spec.get("name"))] = names
    return ArgumentNames(sent) if sent else None


def _mapped(schema: Mapping[str, Any]) -> dict[str, str]:
    properties = schema.get("properties") or {}
    bad = [name for name in properties if not _PLAIN.fullmatch(name)]
    used, mapped = set(properties), {}
    for name in bad:
        plain = re.sub(r"[^a-zA-Z0-9_.-]+", "_", name).strip("_")
        if not _PLAIN.fullmatch(plain) or plain in used:
            plain = f"{plain[:55]}_{hashlib.sha256(name.encode()).hexdigest()[:8]}"
        mapped[name] = plain
        used.add(plain)
    return mapped


def _renamed(named: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    return {names.get(name, name): value for name, value in named.items()}


def _reversed(names: Mapping[str, str]) -> dict[str, str]:
    return {sent: own for own, sent in names.items()}


def _flush(held: dict[int, tuple[dict[str, str], list[str]]], index: int) -> Iterator[Any]:
    """Yield the buffered input of a block, with the caller's names if the JSON is complete."""
    if index not in held:
        return
    names, pieces = held.pop(index)
    text = "".join(pieces)
    try:
        given = json.loads(text or "{}")
    except ValueError:  # max_tokens cut it
        given = None
    if isinstance(given, dict):
        text = json.dumps(_renamed(given, names), ensure_ascii=False) if given else text
    yield {"contentBlockDelta": {"contentBlockIndex": index, "delta": {"toolUse": {"input": text}}}}
