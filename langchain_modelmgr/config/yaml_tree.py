"""Reads YAML into a tree that knows the file and line of every value.

The reader is safe: it refuses duplicate keys, tags other than YAML's own, and trees that are too
large or too deep.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_NODES = 100_000
"""The most values of one file with aliases expanded: a few nested aliases can make billions."""

MAX_DEPTH = 64
"""How deeply maps and lists may be nested."""

_TOO_MUCH = "too many values, or nested too deeply: check for nested aliases"
_BEYOND_64_BITS = 2**63
_INT = "tag:yaml.org,2002:int"

_MERGE = "tag:yaml.org,2002:merge"
_PLAIN_TAGS = frozenset({"tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"})


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake in a file: its place and what is wrong."""

    file: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.text}"


@dataclass(frozen=True, slots=True)
class Located:
    """A value with its place in a file.

    Attributes:
        value: A scalar, a dict of ``Located``, or a list of ``Located``.
        file: The file's name.
        line: The line number, from 1.
        plain: Whether it is a scalar without quotes.
        filled: Whether it is a scalar in which a reference to a variable was filled.
    """

    value: Any
    file: str
    line: int
    plain: bool = False
    filled: bool = False


class YamlError(Exception):
    """Raised if a file is not valid YAML; ``problems`` has all that were found."""

    def __init__(self, *problems: Problem) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems


def read_tree(text: str, file: str) -> Located | None:
    """Return the tree of a YAML text, or None if the text is empty.

    Raises:
        YamlError: Invalid YAML, a duplicate key, an unsafe tag, or too many or too deep values.
    """
    loader = _BoundedLoader(text)
    try:
        node = loader.get_single_node()
        return None if node is None else _Reader(loader, file).read(node)
    except _TooDeepError as error:
        raise YamlError(Problem(file, error.line, _TOO_MUCH)) from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        said = error.problem or error.context or "unreadable"
        raise YamlError(Problem(file, line, f"bad YAML at column {column}: {said}")) from None
    except yaml.YAMLError as error:
        raise YamlError(Problem(file, 1, f"bad YAML: {type(error).__name__}")) from None
    finally:
        loader.dispose()


def scalar_of(loader: yaml.SafeLoader, node: yaml.Node) -> Any:
    """Return the value of a scalar.

    Raises:
        ValueError: A whole number beyond 64 bits, or a date that does not exist.
    """
    if node.tag != _INT:
        try:
            return loader.construct_object(node)
        except ValueError:
            raise ValueError("not a valid date: put text in quotes") from None
    try:
        value: int = loader.construct_object(node)  # of more than 4,300 digits is a ValueError
    except ValueError:
        value = _BEYOND_64_BITS
    if abs(value) >= _BEYOND_64_BITS:
        raise ValueError("a whole number must fit in 64 bits: put text in quotes")
    return value


class _TooDeepError(Exception):
    def __init__(self, line: int) -> None:
        super().__init__(line)
        self.line = line


class _BoundedLoader(yaml.SafeLoader):
    """Raises an error before nested values exhaust Python's stack."""

    _depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        self._depth += 1
        if self._depth > MAX_DEPTH + 1:
            raise _TooDeepError(self.peek_event().start_mark.line + 1)  # type: ignore[no-untyped-call]
        node: yaml.Node | None = super().compose_node(parent, index)
        self._depth -= 1
        return node


class _Reader:
    def __init__(self, loader: yaml.SafeLoader, file: str) -> None:
        self._loader = loader
        self._file = file
        self._nodes = 0

    def read(self, node: yaml.Node, depth: int = 0) -> Located:
        self._nodes += 1
        if self._nodes > MAX_NODES or depth > MAX_DEPTH:
            raise YamlError(self._at(node, _TOO_MUCH))
        if isinstance(node, yaml.CollectionNode) and node.tag not in _PLAIN_TAGS:
            raise YamlError(self._at(node, f"bad YAML: the tag {node.tag} is not allowed"))
        if isinstance(node, yaml.MappingNode):
            value: Any = dict(self._pairs(node, depth))
        elif isinstance(node, yaml.SequenceNode):
            value = [self.read(item, depth + 1) for item in node.value]
        else:
            value = self._scalar(node)
        plain = isinstance(node, yaml.ScalarNode) and node.style is None
        return Located(value, self._file, node.start_mark.line + 1, plain)

    def _scalar(self, node: yaml.Node) -> Any:
        try:
            return scalar_of(self._loader, node)
        except ValueError as error:
            raise YamlError(self._at(node, f"bad YAML: {error}")) from None

    def _pairs(self, node: yaml.MappingNode, depth: int) -> Iterator[tuple[str, Located]]:
        seen: dict[str, int] = {}
        for key, _ in node.value:
            if key.tag == _MERGE:
                continue
            name = str(key.value)
            line = key.start_mark.line + 1
            if name in seen:
                raise YamlError(
                    Problem(
                        self._file,
                        line,
                        f"duplicate key {name!r} (first on line {seen[name]})",
                    )
                )
            seen[name] = line
        self._loader.flatten_mapping(node)  # merge keys (<<) come first, own keys win
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise YamlError(self._at(key, "a key must be a scalar"))
            located = self.read(value, depth + 1)
            line = key.start_mark.line + 1
            yield str(key.value), Located(located.value, located.file, line, located.plain)

    def _at(self, node: yaml.Node, text: str) -> Problem:
        return Problem(self._file, node.start_mark.line + 1, text)


def merged(base: Located, over: Located) -> Located:
    """Return ``base`` updated with ``over``: maps merge, lists and scalars replace."""
    if not (isinstance(base.value, dict) and isinstance(over.value, dict)):
        return over
    value = dict(base.value)
    for key, located in over.value.items():
        value[key] = merged(value[key], located) if key in value else located
    return Located(value, over.file, over.line)
