"""Converts the tool schemas of a request to a form that the model accepts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from langchain_modelmgr.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

UNIONS = ("anyOf", "oneOf", "allOf")
_BARE = frozenset({"type", "properties", "required"})
_DEFINITIONS = ("$defs", "definitions")
_DEEPEST = 8
"""Maximum depth of nested unions and chained references that are followed."""


def check_tools(tools: Iterable[Any]) -> None:
    """Reject tools that no model accepts, before anything is sent.

    Raises:
        ConfigurationError: The schema of a tool does not describe an object.
    """
    for tool in tools:
        if not isinstance(tool, dict):
            continue
        if "toolSpec" in tool:
            name = tool["toolSpec"].get("name")
            schema = (tool["toolSpec"].get("inputSchema") or {}).get("json")
        else:
            function = tool.get("function") or {}
            name, schema = function.get("name"), function.get("parameters")
        if not isinstance(schema, dict) or schema.get("type") == "object":
            continue
        if kind := _other_kind(schema, schema, 0):
            raise ConfigurationError(
                f"tool {name!r}: the schema has type {kind!r}, but Bedrock requires type 'object' "
                "at the top level: make it a property of an object"
            )


def with_accepted_schemas(
    params: dict[str, Any], limits: Sequence[str]
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return a Converse request with tool schemas that the model accepts.

    Args:
        params: The request; not modified.
        limits: The model's ``tool_limits``.

    Returns:
        The request (the same object if nothing had to change), and what was changed.
    """
    config = params.get("toolConfig")
    if not config or all(_is_taken(tool, limits) for tool in config.get("tools", ())):
        return params, ()
    tools = [
        tool if _is_taken(tool, limits) else {"toolSpec": _fitted(tool["toolSpec"], limits)}
        for tool in config["tools"]
    ]
    changes = ("tool schemas converted to a form that the model accepts",)
    return {**params, "toolConfig": {**config, "tools": tools}}, changes


def _is_taken(tool: Mapping[str, Any], limits: Sequence[str]) -> bool:
    schema = schema_of(tool)
    if schema is None:
        return True
    if schema.get("type") != "object" or "$ref" in schema:
        return False
    if "bare_schema" in limits:
        return schema.keys() <= _BARE
    return "no_unions" not in limits or not any(union in schema for union in UNIONS)


def schema_of(tool: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return a tool's schema; None if it has none or botocore will reject its shape."""
    form = (tool.get("toolSpec") or {}).get("inputSchema")
    schema = form.get("json") if isinstance(form, dict) else None
    return schema if isinstance(schema, dict) else None


def _fitted(spec: Mapping[str, Any], limits: Sequence[str]) -> dict[str, Any]:
    formed = dict(spec)
    given: Mapping[str, Any] = spec["inputSchema"]["json"]
    schema = _as_object(given, given)
    bare = "bare_schema" in limits
    if bare or "no_unions" in limits:
        unions = {union: schema[union] for union in ("anyOf", "oneOf") if union in schema}
        if unions:  # merging loses them
            described = spec.get("description") or spec["name"]
            text = json.dumps(_inlined(unions, given) if bare else unions, ensure_ascii=False)
            formed["description"] = f"{described}\n\nThe arguments must match: {text}"
        schema = _merged(schema, given)
    if bare:
        schema = {key: _inlined(schema[key], given) for key in schema if key in _BARE}
    formed["inputSchema"] = {"json": schema}
    return formed


def _as_object(schema: Mapping[str, Any], root: Mapping[str, Any]) -> dict[str, Any]:
    """Return a schema with ``type: object`` at its top level."""
    return {**_resolved(schema, root), "type": "object"}


def _merged(schema: Mapping[str, Any], root: Mapping[str, Any], depth: int = 0) -> dict[str, Any]:
    """Return an object schema with top-level unions merged: the properties of all branches."""
    formed = {key: value for key, value in schema.items() if key not in UNIONS}
    if depth > _DEEPEST:
        return formed
    properties = dict(schema.get("properties") or {})
    required = list(schema.get("required") or ())
    for union in UNIONS:
        given = schema.get(union) or ()
        branches = [_merged(_resolved(branch, root), root, depth + 1) for branch in given]
        for branch in branches:
            for name, one in (branch.get("properties") or {}).items():
                other = properties.setdefault(name, one)
                if other != one:
                    properties[name] = {"anyOf": [other, one]}
        needed = [branch.get("required") or () for branch in branches]
        required += [
            name
            for names in needed
            for name in names
            if union == "allOf" or all(name in others for others in needed)
        ]
    if properties:
        formed["properties"] = properties
    if required:
        formed["required"] = list(dict.fromkeys(required))
    return formed


def _resolved(schema: Any, root: Mapping[str, Any]) -> dict[str, Any]:
    """Return a schema with its reference, and references of the target, resolved."""
    formed = dict(schema) if isinstance(schema, Mapping) else {}
    for _ in range(_DEEPEST):
        if "$ref" not in formed:
            break
        target = _target(formed.pop("$ref"), root)
        formed = {**target, **formed}
    return formed


def _target(reference: Any, root: Mapping[str, Any]) -> Mapping[str, Any]:
    here: Any = root
    for part in str(reference).removeprefix("#").strip("/").split("/"):
        name = part.replace("~1", "/").replace("~0", "~")
        here = here.get(name, {}) if isinstance(here, Mapping) and name else here
    return here if isinstance(here, Mapping) else {}


def _inlined(schema: Any, root: Mapping[str, Any], open_: tuple[str, ...] = ()) -> Any:
    """Return a schema with all references resolved; recursive ones become an empty schema."""
    if isinstance(schema, list):
        return [_inlined(item, root, open_) for item in schema]
    if not isinstance(schema, Mapping):
        return schema
    if "$ref" in schema:
        reference = str(schema["$ref"])
        rest = {key: value for key, value in schema.items() if key != "$ref"}
        target = {} if reference in open_ else _target(reference, root)
        return _inlined({**target, **rest}, root, (*open_, reference))
    return {k: _inlined(v, root, open_) for k, v in schema.items() if k not in _DEFINITIONS}


def _other_kind(schema: Mapping[str, Any], root: Mapping[str, Any], depth: int) -> str | None:
    """Return the type of a schema that can't be an object; None if it is or may be one."""
    here = _resolved(schema, root)
    kinds = here.get("type", "object")
    if "object" not in ([kinds] if isinstance(kinds, str) else kinds):
        return str(kinds if isinstance(kinds, str) else kinds[0] if kinds else "none")
    if depth > _DEEPEST or "properties" in here or "type" in here:
        return None
    for union in ("anyOf", "oneOf"):
        others = [_other_kind(b, root, depth + 1) for b in here.get(union) or ()]
        if others and all(others):
            return others[0]
    return None
