"""Tools, tool choices and schemas, kept in neutral forms from which any model makes its own."""

from __future__ import annotations

from collections.abc import Mapping
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from langchain_core.output_parsers import JsonOutputParser, PydanticOutputParser
from langchain_core.output_parsers.openai_tools import (
    JsonOutputKeyToolsParser,
    PydanticToolsParser,
)
from langchain_core.runnables import RunnableMap, RunnablePassthrough
from langchain_core.utils.function_calling import convert_to_openai_tool
from langchain_core.utils.pydantic import is_basemodel_subclass

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from langchain_core.language_models import LanguageModelInput
    from langchain_core.runnables import Runnable
    from langchain_core.tools import BaseTool

    Tool = dict[str, Any] | type | Callable[..., Any] | BaseTool

_BEDROCK_TOOL_KEYS = frozenset({"toolSpec", "cachePoint", "systemTool"})
"""The members of Bedrock's own ``Tool`` shape: taken as they are."""


def neutral_tools(tools: Sequence[Tool], *, strict: bool | None = None) -> list[Any]:
    """Return tools in OpenAI's form, which langchain-aws turns into each model's own.

    Bedrock's own tool dicts, and what LangChain can't convert (Nova's system tools), stay as
    they are. Plain data is bound, so that response caches and traces can read it.
    """
    return [
        tool
        if isinstance(tool, str)
        or (isinstance(tool, Mapping) and _BEDROCK_TOOL_KEYS & tool.keys())
        or hasattr(tool, "to_bedrock_format")
        else convert_to_openai_tool(tool, strict=strict)
        for tool in tools
    ]


def neutral_choice(choice: str | bool | Mapping[str, Any] | None) -> str | None:  # noqa: FBT001 - LangChain's own forms
    """Return a tool choice as ``auto``, ``any`` or a tool's name; None if none was made.

    Raises:
        ValueError: The form is not one of LangChain's, OpenAI's, Anthropic's or Bedrock's.
    """
    if choice is None or choice is False:
        return None
    if choice is True or choice in ("any", "required"):
        return "any"
    if isinstance(choice, str):
        return choice
    kind = choice.get("type")
    named = choice.get("tool") or choice.get("function") or (choice if kind == "tool" else None)
    if isinstance(named, Mapping) and isinstance(named.get("name"), str):
        return str(named["name"])
    for word in ("any", "auto"):
        if word in choice or kind == word:
            return word
    raise ValueError(
        f"tool_choice: a mapping with the keys {sorted(choice)} is not known; "
        "give 'auto', 'any', or a tool's name"
    )


def check_choice(choice: str | None, tools: Sequence[Any]) -> None:
    """Refuse to force a tool that is not bound, before Bedrock does.

    Raises:
        ValueError: ``choice`` names none of the neutral ``tools``.
    """
    named = [t for t in tools if not (isinstance(t, Mapping) and "cachePoint" in t)]
    names = [_name_of(tool) for tool in named]
    if choice in (None, "auto", "any", *names) or None in names:
        return
    bound = ", ".join(repr(name) for name in names)
    raise ValueError(f"tool_choice: no tool {choice!r} is bound; bound: {bound or 'none'}")


def _name_of(tool: Any) -> str | None:
    """Return a neutral tool's name; None if it is in a form of its own."""
    if isinstance(tool, Mapping):
        for key in ("function", "toolSpec", "systemTool"):
            if key in tool:
                return str(tool[key].get("name"))
    return None


def json_schema_format(schema: dict[str, Any] | type) -> dict[str, Any]:
    """Return a ``response_format`` that asks for replies by ``schema``."""
    if isinstance(schema, type) and is_basemodel_subclass(schema):
        body: dict[str, Any] = schema.model_json_schema()  # type: ignore[attr-defined]
        name = schema.__name__
    else:
        function = convert_to_openai_tool(schema)["function"]
        body, name = function["parameters"], function["name"]
    described = body.get("description", name)
    return {
        "type": "json_schema",
        "json_schema": {"name": name, "description": described, "schema": body},
    }


def schema_from_text(schema: dict[str, Any] | type) -> Runnable[Any, Any]:
    """Return a parser of JSON text by ``schema``."""
    if isinstance(schema, type) and is_basemodel_subclass(schema):
        return PydanticOutputParser(pydantic_object=schema)
    return JsonOutputParser()


def schema_from_call(schema: dict[str, Any] | type) -> Runnable[Any, Any]:
    """Return a parser of the one tool call that carries ``schema``."""
    if isinstance(schema, type) and is_basemodel_subclass(schema):
        return PydanticToolsParser(tools=[schema], first_tool_only=True)
    name = convert_to_openai_tool(schema)["function"]["name"]
    return JsonOutputKeyToolsParser(key_name=name, first_tool_only=True)


def parsed(
    model: Runnable[LanguageModelInput, Any], parser: Runnable[Any, Any], *, include_raw: bool
) -> Runnable[LanguageModelInput, Any]:
    """Return ``model | parser``; with ``include_raw`` LangChain's raw, parsed, parsing_error."""
    if not include_raw:
        return model | parser
    with_parsed = RunnablePassthrough.assign(
        parsed=itemgetter("raw") | parser, parsing_error=lambda _: None
    )
    without = RunnablePassthrough.assign(parsed=lambda _: None)
    return RunnableMap(raw=model) | with_parsed.with_fallbacks(
        [without], exception_key="parsing_error"
    )
