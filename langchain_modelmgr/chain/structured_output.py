"""Parses answers, complete or streamed, by a pydantic class, TypedDict or JSON schema."""

from __future__ import annotations

import json
from collections.abc import Mapping
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from langchain_core.exceptions import OutputParserException
from langchain_core.messages import AIMessage
from langchain_core.output_parsers import JsonOutputParser, PydanticOutputParser
from langchain_core.output_parsers.openai_tools import (
    JsonOutputKeyToolsParser,
    PydanticToolsParser,
)
from langchain_core.outputs import ChatGeneration
from langchain_core.runnables import RunnableLambda, RunnableMap, RunnablePassthrough
from langchain_core.utils.function_calling import convert_to_openai_tool
from langchain_core.utils.json import parse_partial_json
from langchain_core.utils.pydantic import is_basemodel_subclass
from pydantic import BaseModel

from langchain_modelmgr.tools import UNFORCED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from langchain_core.language_models import LanguageModelInput
    from langchain_core.outputs import Generation
    from langchain_core.runnables import Runnable


def schema_from_text(schema: dict[str, Any] | type) -> Runnable[Any, Any]:
    """Return a parser of JSON text for ``schema``."""
    if isinstance(schema, type) and is_basemodel_subclass(schema):
        return PydanticOutputParser(pydantic_object=schema)
    return JsonOutputParser()


def schema_from_call(schema: dict[str, Any] | type) -> Runnable[Any, Any]:
    """Return a parser of the one tool call that carries ``schema``.

    A list or object that arrives as JSON text is parsed if the schema declares it so.

    Raises:
        OutputParserException: Raised by the parser if the model called no tool and could not
            be forced to.
    """
    function = convert_to_openai_tool(schema)["function"]
    declared = function.get("parameters") or {}
    if isinstance(schema, type) and is_basemodel_subclass(schema):
        return _PydanticParser(tools=[schema], first_tool_only=True, declared=declared)
    return _JsonParser(key_name=function["name"], first_tool_only=True, declared=declared)


def parsed(
    model: Runnable[LanguageModelInput, Any], parser: Runnable[Any, Any], *, include_raw: bool
) -> Runnable[LanguageModelInput, Any]:
    """Return ``model | parser``; with ``include_raw``, a map of raw, parsed, parsing_error."""
    if not include_raw:
        return model | parser
    with_parsed = RunnablePassthrough.assign(
        parsed=itemgetter("raw") | parser, parsing_error=lambda _: None
    )
    without = RunnablePassthrough.assign(parsed=lambda _: None)
    either = with_parsed.with_fallbacks([without], exception_key="parsing_error")
    # In a stream the fallback could not run: ``raw`` would have been yielded already.
    return RunnableMap(raw=model) | RunnableLambda(either.invoke, either.ainvoke)


class _CallParser(BaseModel):
    """Base of both parsers: repairs JSON texts and detects the end of a stream."""

    declared: dict[str, Any]
    """The JSON schema of the tool's input."""

    def parse_result(self, result: list[Generation], *, partial: bool = False) -> Any:
        message = result[0].message if isinstance(result[0], ChatGeneration) else None
        if not isinstance(message, AIMessage):
            return super().parse_result(result, partial=partial)  # type: ignore[misc]
        # Only the last chunk of a stream has this metadata: after it the message is complete.
        managed = message.response_metadata.get("model_manager")
        partial = partial and managed is None
        if not partial and not message.tool_calls and managed and _was_unforced(managed):
            raise OutputParserException(
                f"{managed['model_id']} answered without a tool call and can't be forced to "
                "make one: request the call in the prompt"
            )
        calls = [
            {**call, "args": repaired(call["args"], self.declared, partial=partial)}
            for call in message.tool_calls
        ]
        if calls != message.tool_calls:
            message = message.model_copy(update={"tool_calls": calls})
            result = [ChatGeneration(message=message)]
        return super().parse_result(result, partial=partial)  # type: ignore[misc]


class _PydanticParser(_CallParser, PydanticToolsParser):
    """Parses the tool call to a pydantic object."""


class _JsonParser(_CallParser, JsonOutputKeyToolsParser):
    """Parses the tool call to a dict."""


def _was_unforced(managed: Mapping[str, Any]) -> bool:
    attempts = managed.get("attempts") or [{}]
    return UNFORCED in attempts[-1].get("adapted", ())


def repaired(value: Any, schema: Mapping[str, Any], *, partial: bool = False) -> Any:
    """Return ``value`` with JSON texts replaced by the lists and objects that they contain.

    Claude sometimes writes nested input as text. Texts that the schema allows are kept.

    Args:
        value: A tool's input.
        schema: Its JSON schema.
        partial: The JSON may be incomplete.
    """
    return _Repair(schema, parse_partial_json if partial else json.loads).of(value, schema)


_MAX_REFERENCES = 16
"""Maximum number of references and unions followed for one value: schemas may be recursive."""


class _Repair:
    """Repairs the parts of one value.

    Args:
        root: The whole schema, in which references are resolved.
        read: Reads JSON text; raises ValueError.
    """

    def __init__(self, root: Mapping[str, Any], read: Callable[[str], Any]) -> None:
        self._root = root
        self._read = read

    def of(self, value: Any, schema: Any, name: str = "") -> Any:
        branches = list(self._branches(schema))
        if isinstance(value, str):
            found = self._in_text(value, branches, name)
            return value if found is value else self.of(found, schema)
        if isinstance(value, dict):
            return {k: self.of(v, _property(branches, k), k) for k, v in value.items()}
        if isinstance(value, list):
            items: Any = next((b["items"] for b in branches if "items" in b), {})
            return [self.of(item, items) for item in value]
        return value

    def _in_text(self, text: str, branches: list[Mapping[str, Any]], name: str) -> Any:
        kinds = {kind for branch in branches for kind in _kinds(branch)}
        if "string" in kinds or not kinds & {"array", "object"}:
            return text
        try:
            found = self._read(text)
        except ValueError:
            return text
        own = any(name in branch.get("properties", ()) for branch in branches)
        if isinstance(found, dict) and list(found) == [name] and not own:
            found = found[name]  # the property inside itself
        fits = (isinstance(found, list) and "array" in kinds) or (
            isinstance(found, dict) and "object" in kinds
        )
        return found if fits else text

    def _branches(self, schema: Any, followed: int = 0) -> Iterator[Mapping[str, Any]]:
        """Yield the alternative schemas of a value, with references resolved."""
        if not isinstance(schema, Mapping) or followed > _MAX_REFERENCES:
            return
        yield {k: v for k, v in schema.items() if k not in _COMPOSED}
        if "$ref" in schema:
            yield from self._branches(self._target(str(schema["$ref"])), followed + 1)
        for union in ("anyOf", "oneOf", "allOf"):
            for branch in schema.get(union, ()):
                yield from self._branches(branch, followed + 1)

    def _target(self, reference: str) -> Any:
        target: Any = self._root
        for part in reference.removeprefix("#").split("/"):
            name = part.replace("~1", "/").replace("~0", "~")
            if part:
                target = target.get(name, {}) if isinstance(target, Mapping) else {}
        return target


_COMPOSED = frozenset({"$ref", "anyOf", "oneOf", "allOf"})


def _kinds(schema: Mapping[str, Any]) -> set[str]:
    """Return the types that a schema without references and unions allows."""
    declared = schema.get("type", ())
    kinds = {declared} if isinstance(declared, str) else set(declared)
    if "properties" in schema:
        kinds.add("object")
    if "items" in schema:
        kinds.add("array")
    if any(isinstance(value, str) for value in (schema.get("const"), *schema.get("enum", ()))):
        kinds.add("string")
    return kinds


def _property(branches: list[Mapping[str, Any]], name: str) -> Any:
    """Return the schema of an object's property."""
    for branch in branches:
        if name in branch.get("properties", ()):
            return branch["properties"][name]
    return next((b["additionalProperties"] for b in branches if "additionalProperties" in b), {})
