"""Says what is wrong in a configuration, where, and what would be right; never an input's value."""

from __future__ import annotations

import difflib
import types
import typing
from datetime import date
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel
from typing_extensions import is_typeddict

from langchain_modelmgr.config.filling import VARIABLE_HINT, has_reference, looks_like_a_variable
from langchain_modelmgr.config.parameters import PROBLEM
from langchain_modelmgr.config.schema import PLACES, REQUEST_FIELDS, UnknownParameterError
from langchain_modelmgr.config.yaml_tree import Located, Problem
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
    ("metrics", "journal"): "unknown key; the ledger has replaced the journal: give ledger, beside "
    "metrics, as auto, off, or a folder",
}
_PATTERNS = {
    "guardrailVersion": "must be DRAFT, or the number of a version",
    "additional_model_response_field_paths": "must be a JSON pointer, as /stop_sequence",
    "request_metadata": "may have letters, digits, blanks, and : _ @ $ # = / + , - .",
    "default_headers": "must be names and values that an HTTP header may have",
    "region": "must be the name of an AWS region, as us-east-1",
    "endpoint_url": "must start with http:// or https://",
    "project_prefix": "must be letters, digits, . _ / # or -, 240 at most, and not start with AWS/",
}


def unknown_field(owner: str, name: str, known: Iterable[str]) -> str:
    """Return the text of the error for a field that a class does not have."""
    hint = f": in the YAML, {PLACES[name]}" if name in PLACES else nearest(name, known)
    return f"{owner} has no field {name!r}{hint}"


def nearest(word: str, known: Iterable[str]) -> str:
    """Return ``; did you mean ...?`` for the nearest of the known words, or all of them."""
    words = sorted(known)
    close = difflib.get_close_matches(word, words, n=1, cutoff=0.6)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; known: {', '.join(words)}" if words else ""


def problems_of(error: ValidationError, root: type[BaseModel], raw: Located) -> Iterable[Problem]:
    """Yield one problem for each mistake that pydantic found.

    Args:
        error: Pydantic's error; its own text is not used, since it quotes input.
        root: The model that was validated.
        raw: The tree before its references were filled: places, and what came from outside.
    """
    for detail in error.errors(include_url=False):
        location = [part for part in detail["loc"] if part != "[key]"]
        place, located = _place(location, raw)
        path = _dotted(location)
        if "[key]" in detail["loc"] and location[0] == "agents":
            text = "an agent's name must be 1 to 64 letters, digits, or . _ -"
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
        return f"{name!r} is no request field of ChatBedrockConverse{hint}"
    if kind == "literal_error":
        expected = f"must be one of {context['expected']}"
        known = [w.strip("' ") for w in context["expected"].replace(" or ", ",").split(",")]
        shown = at is not None and isinstance(at.value, str) and not has_reference(at)
        return expected + (nearest(at.value, known) if shown and at else "")
    for bound, words in _BOUNDS.items():
        if bound in context:
            return f"must be {words} {context[bound]:g}"
    return str(detail["msg"]) if kind == PROBLEM else _of_form(kind, location, at)


def _of_form(kind: str, location: Sequence[str | int], at: Located | None) -> str:
    if kind == "string_pattern_mismatch":
        named = [_PATTERNS[str(part)] for part in location if str(part) in _PATTERNS]
        expected = named[-1] if named else "has a form that is not allowed"
        return expected + _hint(location, at)
    if kind in {"model_type", "model_attributes_type"} and location[-2:-1] == ["fallbacks"]:
        return f"must be a model id or a map{_quotes(at)}"
    if kind == "string_type":
        return f"must be text{_quotes(at)}"
    return _EXPECTED.get(kind, "is not of the right form")


def _quotes(at: Located | None) -> str:
    """Return that a value would be text in quotes, if that may have been meant."""
    if at is not None and isinstance(at.value, int | float | date):
        return ": put it in quotes"
    if at is not None and at.plain and has_reference(at):
        return ': put the reference in quotes, as "${NAME}"'
    return ""


def _hint(location: Sequence[str | int], at: Located | None) -> str:
    """Return what was probably meant by a text of the wrong form."""
    if at is None or has_reference(at):
        return ""
    if looks_like_a_variable(at.value):
        return f"; {VARIABLE_HINT}"
    region = nearest_region(str(at.value)) if location[-1] == "region" else None
    return f"; did you mean {region!r}?" if region else ""


def _place(location: Sequence[str | int], raw: Located) -> tuple[Located, Located | None]:
    """Return the nearest value that stands in a file, and the very one if it does."""
    here = raw
    for part in location:
        value = here.value
        if isinstance(value, dict) and part in value:
            here = value[str(part)]
        elif isinstance(value, list) and isinstance(part, int) and part < len(value):
            here = value[part]
        else:
            return here, None
    return here, here


def _dotted(location: Sequence[str | int]) -> str:
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


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
