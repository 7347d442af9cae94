"""Converts tools, tool choices and schemas to a neutral form that is fitted to each model later."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from langchain_core.tools import StructuredTool
from langchain_core.utils.function_calling import convert_to_openai_tool
from langchain_core.utils.pydantic import is_basemodel_subclass

from langchain_modelmgr.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from langchain_core.tools import BaseTool

    Tool = dict[str, Any] | type | Callable[..., Any] | BaseTool

UNFORCED = "no tool choice forced: the model does not take one; structured output may be missing"
"""Note in an attempt's ``adapted``: structured output was requested without a forced choice."""

PARALLEL_CALLS = "parallel_tool_calls=False not sent: the Converse API has no such field"
"""Note in an attempt's ``adapted``: the request for one tool call at a time was not sent."""

NO_TOOL = "none"
"""The tool choice that forbids tool calls. Bedrock has no such choice: the tools are not sent."""

_BEDROCK_TOOL_KEYS = frozenset({"toolSpec", "cachePoint", "systemTool"})
"""The members of Bedrock's own ``Tool`` shape, which are sent unchanged."""

_SCHEMA_KEYS = frozenset({"type", "anyOf", "oneOf", "allOf", "$ref"})


def bound_tools(
    tools: Sequence[Tool],
    choice: str | bool | Mapping[str, Any] | None = None,  # noqa: FBT001 - LangChain's own forms
    *,
    strict: bool | None = None,
) -> dict[str, Any]:
    """Return the keywords that bind tools to a model.

    Raises:
        ConfigurationError: The tools or the choice have an invalid form, or the choice is not the
            name of a bound tool.
        ValueError: LangChain can't convert a tool.
    """
    choice = neutral_choice(choice)
    bound: dict[str, Any] = {"tools": neutral_tools(tools, strict=strict)}
    check_choice(choice, bound["tools"])
    if choice is not None:
        bound["tool_choice"] = choice
    if _asks_for_structure(choice, tools):
        bound["for_structured_output"] = True
    return bound


def neutral_tools(tools: Sequence[Tool], *, strict: bool | None = None) -> list[Any]:
    """Return tools in OpenAI's form, which langchain-aws converts for each model.

    Bedrock's own tool dicts and tools that LangChain can't convert (Nova's system tools) are
    unchanged. The result is plain data, so that response caches and traces can read it.

    Raises:
        ConfigurationError: The tools are not a list, or one of them is not a tool.
        ValueError: LangChain can't convert a tool.
    """
    if isinstance(tools, str | Mapping) or not isinstance(tools, Iterable):
        hint = ": pass the 'tools' of Bedrock's toolConfig" if isinstance(tools, Mapping) else ""
        kind = type(tools).__name__
        raise ConfigurationError(f"tools must be a list of tools, got {kind}{hint}")
    return [_neutral(tool, f"tools[{i}]", strict) for i, tool in enumerate(tools)]


def _neutral(tool: Any, where: str, strict: bool | None) -> Any:  # noqa: FBT001 - private
    if isinstance(tool, str) or hasattr(tool, "to_bedrock_format"):
        return tool
    if isinstance(tool, Mapping):
        if _BEDROCK_TOOL_KEYS & tool.keys():
            return tool
        if tool.get("type") == "function" and "function" not in tool:
            # The form of OpenAI's Responses API: the function's keys are beside the type.
            tool = {"type": "function", "function": {k: v for k, v in tool.items() if k != "type"}}
        elif not (_NAMING | {"input_schema"}) & tool.keys():
            kind = tool.get("type")
            what = f"of type {kind!r}" if isinstance(kind, str) else f"with the keys {sorted(tool)}"
            raise ConfigurationError(
                f"{where}: a tool {what} is not supported: give a function, a pydantic class, "
                "a LangChain tool, or {'toolSpec': ...}"
            )
    neutral = _function_of(tool) or convert_to_openai_tool(tool, strict=strict)
    if not isinstance(neutral.get("function", {}).get("name"), str):
        raise ConfigurationError(f"{where}: the tool has no name")
    return neutral


def _function_of(tool: Any) -> dict[str, Any] | None:
    """Convert a JSON schema without top-level properties to a function; None for other forms.

    langchain-core 1.7.2 drops such a schema, for example of an array or a union.
    """
    if not isinstance(tool, Mapping) or "properties" in tool or not _SCHEMA_KEYS & tool.keys():
        return None
    if not isinstance(tool.get("title"), str) or "name" in tool:
        return None
    schema = {key: value for key, value in tool.items() if key not in ("title", "description")}
    function = {"name": tool["title"], "description": tool.get("description", tool["title"])}
    return {"type": "function", "function": {**function, "parameters": schema}}


def neutral_choice(choice: str | bool | Mapping[str, Any] | None) -> str | None:  # noqa: FBT001 - LangChain's own forms
    """Return a tool choice as ``auto``, ``any``, ``none``, a tool's name, or None if not set.

    Raises:
        ConfigurationError: It has no form of LangChain, OpenAI, Anthropic or Bedrock.
    """
    if choice is None or choice is False:
        return None
    if choice is True or choice in ("any", "required"):
        return "any"
    if isinstance(choice, str):
        return choice
    if not isinstance(choice, Mapping):
        raise ConfigurationError(f"invalid tool_choice: got {type(choice).__name__}; {_CHOICES}")
    kind = choice.get("type")
    is_named = kind in ("tool", "function")
    named = choice.get("tool") or choice.get("function") or (choice if is_named else None)
    if isinstance(named, Mapping) and isinstance(named.get("name"), str):
        return str(named["name"])
    if kind == "required":
        return "any"
    for word in ("any", "auto", NO_TOOL):
        if word in choice or kind == word:
            return word
    raise ConfigurationError(
        f"invalid tool_choice: got a mapping with the keys {sorted(choice)}; {_CHOICES}"
    )


_CHOICES = "give 'auto', 'any', 'none', or a tool's name"


def settled(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return a call's keywords with a neutral tool choice, and without tools if it forbids them."""
    given = dict(kwargs)
    if "tool_choice" in given:
        given["tool_choice"] = neutral_choice(given["tool_choice"])
    if given.get("tool_choice") == NO_TOOL:
        del given["tool_choice"]
        given.pop("tools", None)
    return given


def _asks_for_structure(choice: str | None, tools: Sequence[Any]) -> bool:
    """Return whether a forced choice only serves structured output, as with ``ToolStrategy``.

    LangChain's agents (``create_agent`` of langchain 1.4.7) then force ``any`` and bind the schema
    as a tool without a function. The agent needs the structure, not the forced choice.
    """
    return choice == "any" and any(
        isinstance(tool, StructuredTool)
        and tool.func is None
        and tool.coroutine is None
        and isinstance(tool.args_schema, dict)
        for tool in tools
    )


def check_choice(choice: str | None, tools: Sequence[Any]) -> None:
    """Check that a forced tool is bound, which Bedrock requires.

    Raises:
        ConfigurationError: ``choice`` is not the name of one of the neutral ``tools``.
    """
    named = [t for t in tools if not (isinstance(t, Mapping) and "cachePoint" in t)]
    names = [_name_of(tool) for tool in named]
    if choice in (None, "auto", "any", NO_TOOL, *names) or None in names:
        return
    bound = ", ".join(repr(name) for name in names)
    raise ConfigurationError(f"tool_choice: no tool {choice!r} is bound; bound: {bound or 'none'}")


def _name_of(tool: Any) -> str | None:
    """Return a neutral tool's name; None if the tool has another form."""
    if isinstance(tool, Mapping):
        for key in ("function", "toolSpec", "systemTool"):
            if key in tool:
                return str(tool[key].get("name"))
    return None


def named_schema(schema: dict[str, Any] | type) -> dict[str, Any] | type:
    """Return the schema, with a default title if it is a JSON schema without a name."""
    if not isinstance(schema, dict) or _NAMING & schema.keys():
        return schema
    return {"title": "output_schema", **schema}


_NAMING = frozenset({"title", "name", "function", "toolSpec"})
"""Keys that name a schema, in all forms that LangChain's ``convert_to_openai_tool`` takes."""


def json_schema_format(schema: dict[str, Any] | type) -> dict[str, Any]:
    """Return a ``response_format`` for replies that follow ``schema``."""
    if isinstance(schema, type) and is_basemodel_subclass(schema):
        body: dict[str, Any] = schema.model_json_schema()  # type: ignore[attr-defined]
        name = schema.__name__
    elif isinstance(schema, dict) and "title" in schema:
        body, name = schema, str(schema["title"])
    else:
        function = convert_to_openai_tool(schema)["function"]
        body, name = function["parameters"], function["name"]
    described = body.get("description", name)
    return {
        "type": "json_schema",
        "json_schema": {"name": name, "description": described, "schema": body},
    }
