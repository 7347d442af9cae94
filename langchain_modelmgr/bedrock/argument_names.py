"""Maps names of a tool's parameters that a model refuses: out into a request, and back."""

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
"""What Claude takes as the name of a property at the top of a schema; deeper ones are free."""

_BY_NAME = ("properties", "dependentRequired", "dependentSchemas")


@dataclass(slots=True)
class ArgumentNames:
    """The parameters' names that are not the caller's own.

    Attributes:
        sent: By the tool's name, the names that were sent by the caller's.
    """

    sent: dict[str, dict[str, str]]

    def spec(self, spec: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return a tool's specification with the names that are sent."""
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
        """Return an earlier call with the names that are sent."""
        names = self.sent.get(str(use.get("name")))
        if names is None or not isinstance(use.get("input"), dict):
            return use
        return {**use, "input": _renamed(use["input"], names)}

    def restore(self, use: dict[str, Any]) -> None:
        """Give a call of a reply the caller's names, in place; its tool has its own already."""
        names = self.sent.get(str(use.get("name")))
        if names is not None and isinstance(use.get("input"), dict):
            use["input"] = _renamed(use["input"], _reversed(names))

    def restored(self, events: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """Yield a stream's events; the input of a call with changed names comes in one piece."""
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
                yield from _let_go(held, stop["contentBlockIndex"])
            elif "messageStop" in event:
                for index in list(held):
                    yield from _let_go(held, index)
            yield event


def refused_arguments(tools: Iterable[Mapping[str, Any]]) -> ArgumentNames | None:
    """Return the names to send for those that a model with plain property names refuses."""
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


def _let_go(held: dict[int, tuple[dict[str, str], list[str]]], index: int) -> Iterator[Any]:
    """Yield what was held of a block: with the caller's names if it is whole."""
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
