"""Replaces ``${NAME}`` and ``${NAME:-default}`` in scalars by environment variables.

This happens after YAML is parsed, so that the value of a variable cannot add a key.
"""

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
"""How deeply references may be nested in defaults."""

_PLAIN_KINDS = frozenset({"null", "bool", "int", "float"})
"""The types that a filled plain scalar may have; any other value stays text."""

_MALFORMED = (
    "invalid reference to a variable: write ${NAME} or ${NAME:-default} with a name of letters, "
    "digits and _, or $${ for a plain ${"
)
VARIABLE_HINT = "write an environment variable as ${NAME}"


@dataclass(frozen=True, slots=True)
class _Reference:
    name: str
    default: tuple[str | _Reference, ...] | None


def fill(
    tree: Located, environment: Mapping[str, str], problems: list[Problem], path: str = ""
) -> Located:
    """Return the tree with its references filled, and add a problem for each that fails.

    An unquoted scalar that is a single reference gets the type that YAML gives a plain scalar:
    ``5`` is a number. A default may contain references. ``$${NAME}`` is an escaped ``${NAME}``.
    """
    value: Any = tree.value
    filled = isinstance(value, str) and "${" in value
    if isinstance(value, dict):
        value = {
            key: fill(child, environment, problems, f"{path}.{key}" if path else key)
            for key, child in value.items()
        }
    elif isinstance(value, list):
        value = [
            fill(child, environment, problems, f"{path}[{i}]") for i, child in enumerate(value)
        ]
    elif filled:
        try:
            value = _filled(tree, environment)
        except ValueError as error:
            problems.append(Problem(tree.file, tree.line, f"{path}: {error}"))
    return Located(value, tree.file, tree.line, tree.plain, filled)


def comes_from_environment(tree: Located) -> bool:
    """Return whether a scalar, or any scalar inside a map or list, is filled."""
    if isinstance(tree.value, dict):
        return any(comes_from_environment(child) for child in tree.value.values())
    if isinstance(tree.value, list):
        return any(comes_from_environment(child) for child in tree.value)
    return tree.filled


def looks_like_a_variable(text: object) -> bool:
    """Return whether a text contains ``$NAME``: shells replace it, this configuration does not."""
    return isinstance(text, str) and bool(_DOLLAR.search(text))


def _filled(scalar: Located, environment: Mapping[str, str]) -> Any:
    parts, _ = _parse(scalar.value, 0, 0)
    text = _evaluated(parts, environment)
    whole = len(parts) == 1 and isinstance(parts[0], _Reference)
    return _plain_scalar(text) if scalar.plain and whole else text


def _parse(text: str, at: int, depth: int) -> tuple[tuple[str | _Reference, ...], int]:
    """Return the parts of a text (or of a default, up to its closing brace), and their end."""
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
    """Return the reference that has its name at a position, and the position of its end."""
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
            f"the environment variable {name} is not set: set it, or write ${{{name}:-default}}"
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
