"""Makes an instance of a JSON schema, with values from the prompt where they fit."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
_QUOTED = re.compile(r"""'([^']+)'|"([^"]+)"|“([^”]+)”|`([^`]+)`""")

_FORMATS = {
    "date": "2026-01-31",
    "date-time": "2026-01-31T12:00:00Z",
    "time": "12:00:00Z",
    "email": "someone@example.com",
    "uri": "https://example.com",
    "uuid": "12345678-1234-5678-1234-567812345678",
    "ipv4": "192.0.2.1",
}
_MAX_DEPTH = 12
"""How deep a recursive schema is filled; below that, only required properties are."""


class InstanceMaker:
    """Makes instances from one prompt, taking its quoted texts and numbers in order.

    Args:
        schema: The JSON schema.
        prompt: The text that offers values.
    """

    def __init__(self, schema: Mapping[str, Any], prompt: str) -> None:
        self._root = schema
        self._prompt = prompt
        self._numbers = _NUMBER.findall(prompt)
        self._texts = ["".join(groups) for groups in _QUOTED.findall(prompt)]

    def make(self) -> Any:
        """Return an instance of the whole schema."""
        return self._make(self._root, 0)

    def _make(self, schema: Any, depth: int) -> Any:
        if not isinstance(schema, Mapping):
            return {}
        schema = self._resolved(schema)
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            return self._chosen(schema["enum"])
        for union in ("anyOf", "oneOf"):
            if union in schema:
                rest = {k: v for k, v in schema.items() if k != union}
                return self._make({**rest, **self._resolved(self._branch(schema[union]))}, depth)
        kind = schema.get("type", "object" if "properties" in schema else "string")
        if isinstance(kind, list):
            kind = next((k for k in kind if k != "null"), "null")
        return self._of_kind(kind, schema, depth)

    def _of_kind(self, kind: str, schema: Mapping[str, Any], depth: int) -> Any:
        if kind == "object":
            return self._object(schema, depth)
        if kind == "array":
            size = schema.get("minItems", 0 if depth > _MAX_DEPTH else 1)
            return [self._make(schema.get("items", {}), depth + 1) for _ in range(size)]
        if kind in ("integer", "number"):
            return self._number(schema, whole=kind == "integer")
        if kind == "boolean":
            return True
        return None if kind == "null" else self._text(schema)

    def _object(self, schema: Mapping[str, Any], depth: int) -> dict[str, Any]:
        required = schema.get("required", ())
        wanted = {
            name: sub
            for name, sub in schema.get("properties", {}).items()
            if name in required
            or (depth <= 1 and not (isinstance(sub, Mapping) and "default" in sub))
        }
        return {name: self._make(sub, depth + 1) for name, sub in wanted.items()}

    def _resolved(self, schema: Mapping[str, Any]) -> Mapping[str, Any]:
        """Resolve references, and merge the parts of ``allOf``."""
        if "$ref" in schema:
            target: Any = self._root
            for part in schema["$ref"].lstrip("#/").split("/"):
                target = target[part.replace("~1", "/").replace("~0", "~")] if part else target
            rest = {k: v for k, v in schema.items() if k != "$ref"}
            return self._resolved({**target, **rest})
        if "allOf" in schema:
            merged: dict[str, Any] = {k: v for k, v in schema.items() if k != "allOf"}
            for part in map(self._resolved, schema["allOf"]):
                properties = {**merged.get("properties", {}), **part.get("properties", {})}
                required = [*merged.get("required", ()), *part.get("required", ())]
                merged = {**merged, **part, "required": required}
                if properties:
                    merged["properties"] = properties
            return self._resolved(merged)
        return schema

    @staticmethod
    def _branch(branches: list[Any]) -> Mapping[str, Any]:
        return next((b for b in branches if b.get("type") != "null"), branches[0])

    def _chosen(self, options: list[Any]) -> Any:
        return next((o for o in options if str(o) and str(o) in self._prompt), options[0])

    def _number(self, schema: Mapping[str, Any], *, whole: bool) -> float:
        """Return the next number of the prompt, within the schema's bounds."""
        number = float(self._numbers.pop(0)) if self._numbers else 1.0
        step = schema.get("multipleOf", 1 if whole else 0)
        low, high = schema.get("minimum"), schema.get("maximum")
        if "exclusiveMinimum" in schema:
            low = schema["exclusiveMinimum"] + (step or 1e-6)
        if "exclusiveMaximum" in schema:
            high = schema["exclusiveMaximum"] - (step or 1e-6)
        number = number if low is None else max(number, low)
        number = number if high is None else min(number, high)
        if step:
            number = -(-number // step) * step
            if high is not None and number > high:
                number -= step
        return int(number) if whole else number

    def _text(self, schema: Mapping[str, Any]) -> str:
        """Return a quoted text of the prompt, else the prompt's own words."""
        if schema.get("format") in _FORMATS:
            return _FORMATS[schema["format"]]
        text = self._texts.pop(0) if self._texts else self._prompt.strip() or "text"
        text = text[: schema.get("maxLength", 200)]
        return text.ljust(schema.get("minLength", 0), ".")
