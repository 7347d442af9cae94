"""Tools, tool choices and schemas, kept in neutral forms from which any model makes its own."""

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
"""What an attempt's ``adapted`` says of structured output that was asked for unforced."""

PARALLEL_CALLS = "parallel_tool_calls=False not sent: the Converse API has no such field"
"""What ``adapted`` says where a caller wants one tool call at a time."""

NO_TOOL = "none"
"""The tool choice that forbids tool calls. Bedrock has none such: the tools are not sent."""

_BEDROCK_TOOL_KEYS = frozenset({"toolSpec", "cachePoint", "systemTool"})
"""The members of Bedrock's own ``Tool`` shape: taken as they are."""

_SCHEMA_KEYS = frozenset({"type", "anyOf", "oneOf", "allOf", "$ref"})


def bound_tools(
    tools: Sequence[Tool],
    choice: str | bool | Mapping[str, Any] | None = None,  # noqa: FBT001 - LangChain's own forms
    *,
    strict: bool | None = None,
) -> dict[str, Any]:
    """Return the keywords that bind tools to a model.

    Raises:
        ConfigurationError: The tools or the choice have a wrong form, or the choice names no tool
            that is bound.
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
    """Return tools in OpenAI's form, which langchain-aws turns into each model's own.

    Bedrock's own tool dicts, and what LangChain can't convert (Nova's system tools), stay as
    they are. Plain data is bound, so that response caches and traces can read it.

    Raises:
        ConfigurationError: They are no list, or one of them is no tool.
        ValueError: LangChain can't convert one.
    """
    if isinstance(tools, str | Mapping) or not isinstance(tools, Iterable):
        hint = ": of Bedrock's toolConfig give its 'tools'" if isinstance(tools, Mapping) else ""
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
            # As OpenAI's Responses API has it: the function's keys beside the type.
            tool = {"type": "function", "function": {k: v for k, v in tool.items() if k != "type"}}
        elif not (_NAMING | {"input_schema"}) & tool.keys():
            kind = tool.get("type")
            what = f"of type {kind!r}" if isinstance(kind, str) else f"with the keys {sorted(tool)}"
            raise ConfigurationError(
                f"{where}: a tool {what} is none of Bedrock's: give a function, a pydantic class, "
                "a LangChain tool, or {'toolSpec': ...}"
            )
    neutral = _function_of(tool) or convert_to_openai_tool(tool, strict=strict)
    if not isinstance(neutral.get("function", {}).get("name"), str):
        raise ConfigurationError(f"{where}: the tool has no name")
    return neutral


def _function_of(tool: Any) -> dict[str, Any] | None:
    """Return a JSON schema that has no properties at its top as a function; None: another form.

    langchain-core 1.7.2 drops the schema then: an array, or a union.
    """
    if not isinstance(tool, Mapping) or "properties" in tool or not _SCHEMA_KEYS & tool.keys():
        return None
    if not isinstance(tool.get("title"), str) or "name" in tool:
        return None
    schema = {key: value for key, value in tool.items() if key not in ("title", "description")}
    function = {"name": tool["title"], "description": tool.get("description", tool["title"])}
    return {"type": "function", "function": {**function, "parameters": schema}}


def neutral_choice(choice: str | bool | Mapping[str, Any] | None) -> str | None:  # noqa: FBT001 - LangChain's own forms
    """Return a tool choice as ``auto``, ``any``, ``none`` or a tool's name; None: not chosen.

    Raises:
        ConfigurationError: The form is not one of LangChain's, OpenAI's, Anthropic's or Bedrock's.
    """
    if choice is None or choice is False:
        return None
    if choice is True or choice in ("any", "required"):
        return "any"
    if isinstance(choice, str):
        return choice
    if not isinstance(choice, Mapping):
        raise ConfigurationError(f"tool_choice: {type(choice).__name__} is not known; {_CHOICES}")
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
        f"tool_choice: a mapping with the keys {sorted(choice)} is not known; {_CHOICES}"
    )


_CHOICES = "give 'auto', 'any', 'none', or a tool's name"


def settled(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return a call's keywords with a neutral tool choice, without tools that it forbids."""
    given = dict(kwargs)
    if "tool_choice" in given:
        given["tool_choice"] = neutral_choice(given["tool_choice"])
    if given.get("tool_choice") == NO_TOOL:
        del given["tool_choice"]
        given.pop("tools", None)
    return given


def _asks_for_structure(choice: str | None, tools: Sequence[Any]) -> bool:
    """Return whether a forced choice only serves structured output, as of ``ToolStrategy``.

    LangChain's agents (``create_agent`` of langchain 1.4.7) then force ``any`` and bind the schema
    as a tool without a function: nothing runs it. The agent wants the structure, nobody the force.
    """
    return choice == "any" and any(
        isinstance(tool, StructuredTool)
        and tool.func is None
        and tool.coroutine is None
        and isinstance(tool.args_schema, dict)
        for tool in tools
    )


def check_choice(choice: str | None, tools: Sequence[Any]) -> None:
    """Refuse to force a tool that is not bound, before Bedrock does.

    Raises:
        ConfigurationError: ``choice`` names none of the neutral ``tools``.
    """
    named = [t for t in tools if not (isinstance(t, Mapping) and "cachePoint" in t)]
    names = [_name_of(tool) for tool in named]
    if choice in (None, "auto", "any", NO_TOOL, *names) or None in names:
        return
    bound = ", ".join(repr(name) for name in names)
    raise ConfigurationError(f"tool_choice: no tool {choice!r} is bound; bound: {bound or 'none'}")


def _name_of(tool: Any) -> str | None:
    """Return a neutral tool's name; None if it is in a form of its own."""
    if isinstance(tool, Mapping):
        for key in ("function", "toolSpec", "systemTool"):
            if key in tool:
                return str(tool[key].get("name"))
    return None


def named_schema(schema: dict[str, Any] | type) -> dict[str, Any] | type:
    """Return a schema that has a name: a JSON schema without a title gets one."""
    if not isinstance(schema, dict) or _NAMING & schema.keys():
        return schema
    return {"title": "output_schema", **schema}


_NAMING = frozenset({"title", "name", "function", "toolSpec"})
"""Keys that name a schema, in all forms that LangChain's ``convert_to_openai_tool`` takes."""


def json_schema_format(schema: dict[str, Any] | type) -> dict[str, Any]:
    """Return a ``response_format`` that asks for replies by ``schema``."""
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
