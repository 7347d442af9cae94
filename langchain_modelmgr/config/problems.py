"""Says what is wrong in a configuration, where, and what would be right; never an input's value."""

from __future__ import annotations

import difflib
import types
import typing
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from langchain_modelmgr.config.filling import has_reference
from langchain_modelmgr.config.schema import PLACES, REQUEST_FIELDS, UnknownParameterError
from langchain_modelmgr.config.yaml_tree import Located, Problem

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
}
_BOUNDS = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}
_MOVED: dict[tuple[str | int, ...], str] = {
    ("metrics", "journal"): "unknown key; the ledger has replaced the journal: give ledger, beside "
    "metrics, as auto, off, or a folder",
}
_PATTERNS = {
    "region": "must be the name of an AWS region, as us-east-1",
    "endpoint_url": "must start with http:// or https://",
    "project_prefix": "must be letters, digits, . _ / # or -, 240 at most, and not start with AWS/",
}


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
        if "[key]" in detail["loc"]:
            text = "an agent's name must be 1 to 64 letters, digits, or . _ -"
        else:
            text = _text(detail, location, root, located)
        yield Problem(place.file, place.line, f"{path}: {text}")


def _text(  # noqa: PLR0911 - one text a kind of mistake
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
    if kind == "string_pattern_mismatch":
        return _PATTERNS.get(str(location[-1]), "has a form that is not allowed")
    for bound, words in _BOUNDS.items():
        if bound in context:
            return f"must be {words} {context[bound]:g}"
    return _EXPECTED.get(kind, "is not of the right form")


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
    model: Any = root
    for part in location:
        annotation = model.model_fields[part].annotation if _is_model(model) else model
        model = _inner(annotation, by_key=not _is_model(model) or None)
    return set(model.model_fields) if _is_model(model) else set()


def _inner(annotation: Any, *, by_key: bool | None) -> Any:
    """Return the model inside ``X | None``, ``dict[str, X]`` or ``tuple[X, ...]``, one step in."""
    arguments = [a for a in typing.get_args(annotation) if a not in (types.NoneType, ...)]
    if typing.get_origin(annotation) in (types.UnionType, typing.Union):
        return (
            _inner(arguments[0], by_key=by_key) if typing.get_args(arguments[0]) else arguments[0]
        )
    if by_key and arguments:
        return arguments[-1]
    return annotation


def _is_model(candidate: Any) -> bool:
    return isinstance(candidate, type) and issubclass(candidate, BaseModel)
