"""Fills ``${NAME}`` and ``${NAME:-default}`` in scalars, after parsing: no value can add a key."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import yaml

from langchain_modelmgr.config.yaml_tree import Located, Problem

if TYPE_CHECKING:
    from collections.abc import Mapping

_REFERENCE = re.compile(r"\$(?P<literal>\$)?\{(?P<name>[A-Za-z_]\w*)(?::-(?P<default>[^}]*))?\}")

_PLAIN_KINDS = frozenset({"null", "bool", "int", "float"})
"""What a filled plain scalar may become; all else stays text."""


def fill(
    tree: Located, environment: Mapping[str, str], problems: list[Problem], path: str = ""
) -> Located:
    """Return the tree with its references filled; note every variable that is missing.

    A scalar that is one reference and stands without quotes is read as YAML reads a plain scalar:
    ``5`` is a number. ``$${NAME}`` stands for ``${NAME}``.
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
        value = _filled(tree, environment, problems, path)
    return Located(value, tree.file, tree.line, tree.plain)


def _filled(
    scalar: Located, environment: Mapping[str, str], problems: list[Problem], path: str
) -> Any:
    def replaced(match: re.Match[str]) -> str:
        if match["literal"]:
            return match[0][1:]
        name, default = match["name"], match["default"]
        found = environment.get(name) or default
        if found is None:
            text = f"{path}: the environment variable {name} is not set, and ${{{name}:-...}} "
            problems.append(Problem(scalar.file, scalar.line, f"{text}gives no default"))
            return ""
        return found

    text = _REFERENCE.sub(replaced, scalar.value)
    whole = _REFERENCE.fullmatch(scalar.value)
    if scalar.plain and whole and not whole["literal"]:
        return _plain_scalar(text)
    return text


def _plain_scalar(text: str) -> Any:
    loader = yaml.SafeLoader("")
    try:
        tag: str = loader.resolve(yaml.ScalarNode, text, (True, False))  # type: ignore[no-untyped-call]
        if tag.rpartition(":")[2] not in _PLAIN_KINDS:
            return text
        return loader.construct_object(yaml.ScalarNode(tag, text))
    finally:
        loader.dispose()


def has_reference(tree: Located) -> bool:
    """Tell whether a scalar, or any inside it, comes from the environment."""
    if isinstance(tree.value, dict):
        return any(has_reference(child) for child in tree.value.values())
    if isinstance(tree.value, list):
        return any(has_reference(child) for child in tree.value)
    return isinstance(tree.value, str) and bool(_REFERENCE.search(tree.value))
