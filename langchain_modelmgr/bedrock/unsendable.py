"""Finds the value of a request that can't be sent as JSON, and says what to use instead."""

from __future__ import annotations

import dataclasses
import datetime as dt
import math
import re
from collections.abc import Mapping
from decimal import Decimal
from enum import Enum
from typing import TYPE_CHECKING, Any
from uuid import UUID

from langchain_core.messages import AIMessage
from pydantic import BaseModel, ValidationError

from langchain_modelmgr.errors import BedrockError, BedrockInvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from langchain_core.messages import BaseMessage

_INSTEAD: tuple[tuple[type | tuple[type, ...], str], ...] = (
    (Decimal, "a float or str() of it"),
    ((dt.date, dt.time), "its isoformat()"),
    (dt.timedelta, "its total_seconds()"),
    (UUID, "str() of it"),
    (Enum, "its value"),
    ((set, frozenset, tuple), "list() of it"),
    ((bytes, bytearray, memoryview), "text, base64 for example"),
    (BaseModel, "its model_dump(mode='json')"),
    (float, "a number, or leave it out: JSON has neither NaN nor infinity"),
)
_DEEPEST = 200
"""Maximum depth that is searched, because a value may contain itself."""

_PLAIN_KEY = re.compile(r"[\w.-]{1,64}")
"""Keys that an error may show because they look like parameter names; others may be data."""

_REFUSED = re.compile(
    r"(?:Invalid type for parameter|Invalid value for parameter|Invalid length for parameter) "
    r"(?P<path>[\w.\[\]]+)"
)
_EXPECTED = re.compile(r"valid types: ((?:<class '[\w.]+'>(?:, )?)+)$")
_STEP = re.compile(r"(\w+)|\[(\d+)\]")


def explained(
    error: BaseException,
    failure: BedrockError | None,
    params: Mapping[str, Any],
    messages: Sequence[BaseMessage],
) -> BedrockError | None:
    """Return the failure, with the invalid value of the request named if there is one.

    Args:
        error: The exception raised by sending or forming the request.
        failure: The classified error; None if it was not classified.
        params: The request in Converse's shapes; empty if it was not formed.
        messages: The LangChain messages of the request.
    """
    if failure is None and not isinstance(error, TypeError | ValueError | RecursionError):
        return None
    if failure is not None and not isinstance(failure, BedrockInvalidRequestError):
        return failure
    if text := unsendable(params, messages):
        failure = failure or BedrockInvalidRequestError(text, code=type(error).__name__)
        failure.args = (text,)
    elif failure is not None:
        report = str(getattr(error, "kwargs", {}).get("report", ""))
        failure.args = (with_type(str(failure), report, params),)
    return failure


def wrong_parameters(error: ValidationError) -> str:
    """Return the names of the parameters that ChatBedrockConverse rejected, with the reasons."""
    return "; ".join(
        f"{'.'.join(map(str, detail['loc'])) or 'parameters'}: "
        + ("not supported by this model" if detail["type"] == "value_error" else detail["msg"])
        for detail in error.errors(include_url=False, include_input=False)
    )


def unsendable(params: Mapping[str, Any], messages: Sequence[BaseMessage] = ()) -> str | None:
    """Return a description of the first value that JSON can't hold; None if there is none.

    Args:
        params: A Converse request; may be incomplete.
        messages: The LangChain messages of the request.
    """
    for where, value in (*_documents(params), *_arguments(messages)):
        if found := _found(value, "", 0):
            path, kind, instead = found
            return (
                f"{where}: {path or 'the value'} is of type {kind}, which can't be sent: {instead}"
            )
    return None


def with_type(text: str, report: str, params: Mapping[str, Any]) -> str:
    """Return an error's text with the type of the value that botocore rejected.

    Args:
        text: The error's text, which includes the place.
        report: botocore's report.
        params: The request.
    """
    if (refused := _REFUSED.match(report)) is None:
        return text
    value: Any = params
    for key, index in _STEP.findall(refused["path"]):
        try:
            value = value[key] if key else value[int(index)]
        except (KeyError, IndexError, TypeError):
            return text
    expected = _EXPECTED.search(report.partition("\n")[0])
    kinds = re.findall(r"<class '([\w.]+)'>", expected[1]) if expected else []
    wanted = f"; give {' or '.join(kinds)}" if kinds else ""
    place = f": {refused[0]}"
    return text.replace(place, f" (a value of type {_name(value)}{wanted}){place}")


def _documents(params: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the parts of a request that hold arbitrary JSON, each with a description."""
    for i, message in enumerate(params.get("messages", ())):
        for block in message.get("content", ()):
            use, result = (block.get(key) for key in ("toolUse", "toolResult"))
            if isinstance(use, Mapping):
                name = use.get("name")
                yield f"messages[{i}]: the arguments of a call of {name!r}", use.get("input")
            for part in (result or {}).get("content", ()):
                if "json" in part:
                    yield f"messages[{i}]: the JSON of a tool's result", part["json"]
    for tool in params.get("toolConfig", {}).get("tools", ()):
        if spec := tool.get("toolSpec"):
            schema = (spec.get("inputSchema") or {}).get("json")
            yield f"the schema of the tool {spec.get('name')!r}", schema
    fields = params.get("additionalModelRequestFields")
    yield "additional_model_request_fields", fields


def _arguments(messages: Sequence[BaseMessage]) -> Iterator[tuple[str, Any]]:
    for i, message in enumerate(messages):
        for call in message.tool_calls if isinstance(message, AIMessage) else ():
            yield f"messages[{i}]: the arguments of a call of {call['name']!r}", call["args"]


def _found(value: Any, path: str, depth: int) -> tuple[str, str, str] | None:
    """Return the path and type of the first value that JSON can't hold, and what to do."""
    if depth > _DEEPEST:
        return path.split(".", maxsplit=1)[0], _name(value), "it contains itself"
    if isinstance(value, dict):
        inner = [(f"{path}.{_shown(key)}".lstrip("."), item) for key, item in value.items()]
    elif isinstance(value, list):
        inner = [(f"{path}[{i}]", item) for i, item in enumerate(value)]
    elif isinstance(value, float) and not math.isfinite(value):
        return path, _name(value), f"give {_instead(value)}"
    elif value is None or isinstance(value, str | int | float | bool):
        return None
    else:
        return path, _name(value), f"give {_instead(value)}"
    return next((f for p, item in inner if (f := _found(item, p, depth + 1))), None)


def _shown(key: Any) -> str:
    return key if isinstance(key, str) and _PLAIN_KEY.fullmatch(key) else "…"


def _name(value: Any) -> str:
    kind = type(value)
    return kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"


def _instead(value: Any) -> str:
    if type(value).__module__.partition(".")[0] in ("numpy", "pandas"):
        return "its tolist() or item()"
    for kinds, instead in _INSTEAD:
        if isinstance(value, kinds):
            return instead
    if dataclasses.is_dataclass(value):
        return "dataclasses.asdict() of it"
    return "text, a number, a list or a map"
