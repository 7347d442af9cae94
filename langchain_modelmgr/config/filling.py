"""Fills ``${NAME}`` and ``${NAME:-default}`` in scalars, after parsing: no value can add a key."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml

from langchain_modelmgr.config.yaml_tree import Located, Problem, scalar_of

if TYPE_CHECKING:
    from collections.abc import Mapping

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_DOLLAR = re.compile(r"(?<!\$)\$[A-Za-z_(]")
_MAX_DEPTH = 16
"""References in the defaults of others."""

_PLAIN_KINDS = frozenset({"null", "bool", "int", "float"})
"""What a filled plain scalar may become; all else stays text."""

_MALFORMED = (
    "this ${ begins no reference to a variable, which is ${NAME} or ${NAME:-default} with a name "
    "of letters, digits and _; a plain ${ is written $${"
)
VARIABLE_HINT = "a variable of the environment is written ${NAME}"


@dataclass(frozen=True, slots=True)
class _Reference:
    name: str
    default: tuple[str | _Reference, ...] | None


def fill(
    tree: Located, environment: Mapping[str, str], problems: list[Problem], path: str = ""
) -> Located:
    """Return the tree with its references filled; note every one that can't be.

    A scalar that is one reference and stands without quotes is read as YAML reads a plain scalar:
    ``5`` is a number. A default may hold references. ``$${NAME}`` stands for ``${NAME}``.
    """
    value: Any = tree.value
    if isinstance(value, dict):
        value = {
            key: fill(child, environment, problems, f"{path}.{key}" if path else key)
            for key, child in value.items()
        }
    elif isinstance(value, list):
        value = [
            fill(child, environment, problems, f"{path}[{i}]") for i, child in enumerate(value)
        ]
    elif isinstance(value, str) and "${" in value:
        try:
            value = _filled(tree, environment)
        except ValueError as error:
            problems.append(Problem(tree.file, tree.line, f"{path}: {error}"))
    return Located(value, tree.file, tree.line, tree.plain)


def has_reference(tree: Located) -> bool:
    """Return whether a scalar, or any inside it, comes from the environment."""
    if isinstance(tree.value, dict):
        return any(has_reference(child) for child in tree.value.values())
    if isinstance(tree.value, list):
        return any(has_reference(child) for child in tree.value)
    return isinstance(tree.value, str) and "${" in tree.value


def looks_like_a_variable(text: object) -> bool:
    """Return whether a text holds ``$NAME``, which a shell would fill and this does not."""
    return isinstance(text, str) and bool(_DOLLAR.search(text))


def _filled(scalar: Located, environment: Mapping[str, str]) -> Any:
    parts, _ = _parse(scalar.value, 0, 0)
    text = _evaluated(parts, environment)
    whole = len(parts) == 1 and isinstance(parts[0], _Reference)
    return _plain_scalar(text) if scalar.plain and whole else text


def _parse(text: str, at: int, depth: int) -> tuple[tuple[str | _Reference, ...], int]:
    """Return the parts of a text, or of a default up to its brace, and where they end."""
    parts: list[str | _Reference] = []
    start = at
    while at < len(text):
        if depth and text[at] == "}":
            break
        if text.startswith("$${", at):
            parts.append(text[start:at])
            start, at = at + 1, at + len("$${")
        elif text.startswith("${", at):
            parts.append(text[start:at])
            reference, at = _reference(text, at + len("${"), depth)
            parts.append(reference)
            start = at
        else:
            at += 1
    parts.append(text[start:at])
    return tuple(part for part in parts if part != ""), at


def _reference(text: str, at: int, depth: int) -> tuple[_Reference, int]:
    """Return the reference whose name begins at a place, and where it ends."""
    name = _NAME.match(text, at)
    if name is None or depth == _MAX_DEPTH:
        raise ValueError(_MALFORMED)
    at, default = name.end(), None
    if text.startswith(":-", at):
        default, at = _parse(text, at + len(":-"), depth + 1)
    if not text.startswith("}", at):
        raise ValueError(_MALFORMED)
    return _Reference(name[0], default), at + 1


def _evaluated(parts: tuple[str | _Reference, ...], environment: Mapping[str, str]) -> str:
    return "".join(p if isinstance(p, str) else _value_of(p, environment) for p in parts)


def _value_of(reference: _Reference, environment: Mapping[str, str]) -> str:
    if found := environment.get(reference.name):
        return found
    if reference.default is None:
        name = reference.name
        raise ValueError(
            f"the environment variable {name} is not set, and ${{{name}:-...}} gives no default"
        )
    return _evaluated(reference.default, environment)


def _plain_scalar(text: str) -> Any:
    loader = yaml.SafeLoader("")
    try:
        tag: str = loader.resolve(yaml.ScalarNode, text, (True, False))  # type: ignore[no-untyped-call]
        if tag.rpartition(":")[2] not in _PLAIN_KINDS:
            return text
        return scalar_of(loader, yaml.ScalarNode(tag, text))
    finally:
        loader.dispose()
