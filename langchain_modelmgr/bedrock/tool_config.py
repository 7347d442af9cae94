"""Builds a request's ``toolConfig`` from tools in their neutral form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from langchain_modelmgr.bedrock.tool_schemas import check_tools
from langchain_modelmgr.errors import ConfigurationError
from langchain_modelmgr.tools import neutral_tools

if TYPE_CHECKING:
    from collections.abc import Sequence

_OWN_FORMS = frozenset({"cachePoint", "systemTool"})

_SCHEMAS = frozenset(
    {
        "additionalProperties",
        "contains",
        "else",
        "if",
        "items",
        "not",
        "propertyNames",
        "then",
        "unevaluatedItems",
        "unevaluatedProperties",
    }
)
"""JSON Schema keywords with a schema as their value."""

_SCHEMAS_BY_NAME = frozenset(
    {"$defs", "definitions", "dependentSchemas", "patternProperties", "properties"}
)
"""JSON Schema keywords with a map of the caller's names to schemas as their value."""

_SCHEMA_LISTS = frozenset({"allOf", "oneOf", "prefixItems"})
_DATA = frozenset({"const", "default", "enum", "examples", "required"})


def tool_config(
    tools: Sequence[Any], choice: str | None, *, strict: bool | None = None
) -> dict[str, Any]:
    """Return Converse's ``toolConfig``.

    langchain-aws is not used for this because it renames keys inside schemas (1.9.1):
    ``line_item`` under ``$defs`` becomes ``lineItem``, but its ``$ref`` is not changed.

    Args:
        tools: Tools as ``neutral_tools`` returns them; others are converted.
        choice: ``auto``, ``any`` or a tool's name; None sends no choice.
        strict: Request arguments that follow the schema.

    Raises:
        ConfigurationError: The schema of a tool does not describe an object, or two tools have
            the same name.
    """
    config: dict[str, Any] = {"tools": [_formed(tool, strict) for tool in tools]}
    check_tools(config["tools"])
    names = [tool["toolSpec"].get("name") for tool in config["tools"] if "toolSpec" in tool]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ConfigurationError(f"tool {twice!r} is bound twice: give each tool its own name")
    if choice is not None:
        named = choice not in ("auto", "any")
        config["toolChoice"] = {"tool": {"name": choice}} if named else {choice: {}}
    return config


def _formed(tool: Any, strict: bool | None) -> dict[str, Any]:  # noqa: FBT001 - private
    if isinstance(tool, str):
        return {"systemTool": {"name": tool}}
    if hasattr(tool, "to_bedrock_format"):
        formed: dict[str, Any] = tool.to_bedrock_format()
        return formed
    if isinstance(tool, Mapping) and "toolSpec" in tool:
        spec = dict(tool["toolSpec"])
    elif isinstance(tool, Mapping) and _OWN_FORMS & tool.keys():
        return dict(tool)
    else:
        spec = _spec(tool, strict)
    spec["description"] = spec.get("description") or spec["name"]
    if strict is not None:
        spec["strict"] = strict
    return {"toolSpec": spec}


def _spec(tool: Any, strict: bool | None) -> dict[str, Any]:  # noqa: FBT001 - private
    neutral = isinstance(tool, Mapping) and "function" in tool
    function = dict((tool if neutral else neutral_tools([tool], strict=strict)[0])["function"])
    parameters = function.pop("parameters", None) or {"type": "object", "properties": {}}
    return {**function, "inputSchema": {"json": without_null(parameters)}}


def without_null(schema: Any) -> Any:
    """Return a schema without the ``null`` branch of optional parameters.

    Like langchain-aws: Bedrock accepts at most 16 parameters with a union type over all
    tools of a request, and a parameter that may be omitted needs no ``null``.
    """
    if not isinstance(schema, dict):
        return schema
    formed = {}
    for key, value in schema.items():
        if isinstance(value, str) or key in _DATA:
            formed[key] = value
        elif isinstance(value, dict):
            if key in _SCHEMAS_BY_NAME:
                formed[key] = {name: without_null(inner) for name, inner in value.items()}
            else:
                formed[key] = without_null(value) if key in _SCHEMAS else value
        elif isinstance(value, list):
            if key == "anyOf":
                formed |= _any_of(value)
            elif key == "type":
                kinds = [kind for kind in value if kind != "null"]
                formed[key] = kinds[0] if len(kinds) == 1 else kinds or value
            else:
                formed[key] = [without_null(i) for i in value] if key in _SCHEMA_LISTS else value
        else:
            formed[key] = value
    return formed


def _any_of(branches: list[Any]) -> dict[str, Any]:
    """Return the union without ``null`` branches, or its only branch."""
    some = [without_null(branch) for branch in branches if not _is_null(branch)]
    if len(some) == 1 and isinstance(some[0], dict):
        return some[0]
    return {"anyOf": some or branches}


def _is_null(schema: Any) -> bool:
    return isinstance(schema, dict) and schema.get("type") == "null"
