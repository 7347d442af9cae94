"""What the checks of requests and the filters of replies have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    Convert = Callable[[Any], Any]


class UncommonError(Exception):
    """A value that only boto3 may handle: it knows all rules, and raises the errors to see.

    The text names a field or a type, never a value.
    """


class Compiler:
    """Makes a function for each shape of a botocore service model.

    Each structure is compiled once: shapes may contain themselves.
    """

    def __init__(self) -> None:
        self._known: dict[str, Convert] = {}

    def of(self, shape: Any) -> Convert:
        """Return the function for a shape.

        Raises:
            UncommonError: The shape has a type or a trait that Converse does not use.
        """
        if any(name in shape.serialization for name in _HANDLED_BY_BOTOCORE):
            raise UncommonError(f"shape {shape.name}")
        if shape.type_name != "structure":
            make = getattr(self, f"_{shape.type_name}", None)
            if make is None:
                raise UncommonError(f"type {shape.type_name}")
            made: Convert = make(shape)
            return made
        if shape.name not in self._known:
            # Until it is compiled: a member that is the structure itself looks it up when called.
            self._known[shape.name] = lambda value: self._known[shape.name](value)  # noqa: PLW0108
            self._known[shape.name] = self._structure(shape)
        return self._known[shape.name]

    def _structure(self, shape: Any) -> Convert:
        raise NotImplementedError


_HANDLED_BY_BOTOCORE = (
    "eventheader",
    "eventpayload",
    "jsonvalue",
    "location",
    "name",
    "payload",
    "streaming",
)
"""Traits of shapes that Converse does not use outside its path and its stream (botocore 1.44.5)."""
