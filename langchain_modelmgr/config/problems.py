"""Turns pydantic's errors into problems: place, what is wrong, what would be right.

A message never quotes a value that came from the environment.
"""

from __future__ import annotations

import difflib
import types
import typing
from datetime import date
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel
from typing_extensions import is_typeddict

from langchain_modelmgr.config.filling import (
    VARIABLE_HINT,
    comes_from_environment,
    looks_like_a_variable,
)
from langchain_modelmgr.config.parameters import PROBLEM
from langchain_modelmgr.config.schema import (
    AGENT_SCALARS,
    PLACES,
    REQUEST_FIELDS,
    UnknownParameterError,
)
from langchain_modelmgr.config.yaml_tree import Located, Problem
from langchain_modelmgr.errors import ConfigurationError
from langchain_modelmgr.runtime.aws_regions import nearest_region

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pydantic import ValidationError

_EXPECTED = {
    "string_type": "must be text",
    "string_too_short": "must not be empty",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "dict_type": "must be a map",
    "model_type": "must be a map",
    "model_attributes_type": "must be a map",
    "tuple_type": "must be a list",
    "list_type": "must be a list",
    "missing": "is missing",
    "finite_number": "must be a finite number",
    "string_too_long": "is too long",
    "too_long": "has too many entries",
}
_BOUNDS = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}
_MOVED: dict[tuple[str | int, ...], str] = {
    ("metrics", "journal"): "unknown key; the ledger has replaced the journal: set ledger: (beside "
    "metrics:) to auto, off, or a folder",
}
_PATTERNS = {
    "guardrailVersion": "must be DRAFT or a version number",
    "additional_model_response_field_paths": "must be a JSON pointer such as /stop_sequence",
    "request_metadata": "must be letters, digits, spaces, or : _ @ $ # = / + , - .",
    "default_headers": "must be valid names and values of HTTP headers",
    "region": "must be the name of an AWS region such as us-east-1",
    "endpoint_url": "must start with http:// or https://",
    "state": "must be auto, memory, or the URL of a Valkey server such as valkey://host:6379/0",
    "by": "must be agent, or metadata. and a key, such as metadata.tenant",
    "project_prefix": "must be 1 to 240 letters, digits, . _ / # or -, and not start with AWS/",
}


def check_field_names(model: type[BaseModel], given: Iterable[str]) -> None:
    """Check that a pydantic class which forbids unknown fields has all of the given ones.

    Raises:
        ConfigurationError: It does not have one of them.
    """
    fields = model.model_fields
    known = {*fields, *(field.alias for field in fields.values() if field.alias)}
    if model.model_config.get("extra") == "forbid" and (unknown := sorted({*given} - known)):
        name = unknown[0]
        hint = f": in the YAML, {PLACES[name]}" if name in PLACES else nearest(name, known)
        raise ConfigurationError(f"{model.__name__} has no field {name!r}{hint}")


def nearest(word: str, known: Iterable[str]) -> str:
    """Return ``; did you mean ...?`` with the nearest known word, or a list of all known words."""
    words = sorted(known)
    close = difflib.get_close_matches(word, words, n=1, cutoff=0.6)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; known: {', '.join(words)}" if words else ""


def problems_of(error: ValidationError, root: type[BaseModel], tree: Located) -> Iterable[Problem]:
    """Yield a problem for each error that pydantic found.

    Args:
        error: Pydantic's error; its own text is not used, because it quotes input.
        root: The model that was validated.
        tree: The tree that was validated, in the shape of ``root``.
    """
    for detail in error.errors(include_url=False):
        location = [part for part in detail["loc"] if part != "[key]"]
        place, located = _place(location, tree)
        path = dotted(location)
        if "[key]" in detail["loc"] and location[0] == "agents":
            text = "an agent's name must be 1 to 64 letters, digits, or . _ -"
        elif "[key]" in detail["loc"] and location[0] == "budgets":
            text = "a budget's name must be 1 to 64 letters, digits, or . _ -"
        else:
            text = _text(detail, location, root, located)
        yield Problem(place.file, place.line, f"{path}: {text}")


def _text(
    detail: Mapping[str, Any],
    location: Sequence[str | int],
    root: type[BaseModel],
    at: Located | None,
) -> str:
    kind: str = detail["type"]
    context: Mapping[str, Any] = detail.get("ctx") or {}
    if kind == "extra_forbidden":
        if moved := _MOVED.get(tuple(location)):
            return moved
        return f"unknown key{nearest(str(location[-1]), _known_keys(root, location[:-1]))}"
    if isinstance(context.get("error"), UnknownParameterError):
        name = context["error"].name
        place = PLACES.get(name)
        hint = f": {place}" if place else nearest(name, REQUEST_FIELDS)
        return f"unknown request field {name!r}{hint}"
    if kind == "literal_error":
        expected = f"must be one of {context['expected']}"
        known = [w.strip("' ") for w in context["expected"].replace(" or ", ",").split(",")]
        shown = at is not None and isinstance(at.value, str) and not comes_from_environment(at)
        return expected + (nearest(at.value, known) if shown and at else "")
    for bound, words in _BOUNDS.items():
        if bound in context:
            return f"must be {words} {context[bound]:g}"
    return str(detail["msg"]) if kind == PROBLEM else _of_form(kind, location, at)


def _of_form(kind: str, location: Sequence[str | int], at: Located | None) -> str:
    if kind == "string_pattern_mismatch":
        named = [_PATTERNS[str(part)] for part in location if str(part) in _PATTERNS]
        expected = named[-1] if named else "has an invalid format"
        return expected + _hint(location, at)
    if kind in {"model_type", "model_attributes_type"} and location[-2:-1] == ["fallbacks"]:
        return f"must be a model id or a map{_quotes(at)}"
    if kind == "string_type":
        return f"must be text{_quotes(at)}"
    return _EXPECTED.get(kind, "has an invalid value")


def _quotes(at: Located | None) -> str:
    """Return a hint to put a value in quotes, if that would make it valid text."""
    if at is None:
        return ""
    if at.plain and comes_from_environment(at):
        return ': put the reference in quotes, as "${NAME}"'
    return ": put it in quotes" if isinstance(at.value, int | float | date) else ""


def _hint(location: Sequence[str | int], at: Located | None) -> str:
    """Return a hint for a text in an invalid format, or an empty text."""
    if at is None or comes_from_environment(at):
        return ""
    if looks_like_a_variable(at.value):
        return f"; {VARIABLE_HINT}"
    region = nearest_region(str(at.value)) if location[-1] == "region" else None
    return f"; did you mean {region!r}?" if region else ""


def _place(location: Sequence[str | int], tree: Located) -> tuple[Located, Located | None]:
    """Return the value at a location or the nearest one above, and the value itself or None."""
    here = tree
    for part in location:
        value = here.value
        if isinstance(value, dict) and part in value:
            here = value[str(part)]
        elif isinstance(value, list) and isinstance(part, int) and part < len(value):
            here = value[part]
        else:
            return here, None
    return here, here


def dotted(location: Sequence[str | int]) -> str:
    """Return the path of a value of ``ConfigFile`` as it is written in the YAML."""
    in_yaml = ("agents", *location) if location and location[0] in AGENT_SCALARS else location
    parts = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in in_yaml)
    return "".join(parts).removeprefix(".")


def _known_keys(root: type[BaseModel], location: Sequence[str | int]) -> set[str]:
    """Return the keys that a map at ``location`` may have."""
    here: Any = root
    for part in location:
        fields = _fields(here)
        inner = [kind for kind in typing.get_args(here) if kind is not ...]
        here = _bare(fields[str(part)] if fields else inner[-1])
    return set(_fields(here))


def _fields(kind: Any) -> Mapping[str, Any]:
    """Return the fields of a model or a TypedDict, with their types; empty for other types."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return {name: field.annotation for name, field in kind.model_fields.items()}
    return typing.get_type_hints(kind, include_extras=True) if is_typeddict(kind) else {}


def _bare(kind: Any) -> Any:
    """Return ``X`` of ``Annotated[X, ...]`` and of ``X | None``."""
    origin = typing.get_origin(kind)
    if origin is typing.Annotated:
        return _bare(typing.get_args(kind)[0])
    if origin in (types.UnionType, typing.Union):
        return _bare(next(a for a in typing.get_args(kind) if a is not types.NoneType))
    return kind
