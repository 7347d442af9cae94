"""Signatures of functions, built once."""

from __future__ import annotations

from inspect import signature
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

F = TypeVar("F", bound="Callable[..., object]")


def with_signature(function: F) -> F:
    """Return the function, on which ``inspect.signature`` finds its signature already built.

    langchain-core inspects ``_generate`` and ``_agenerate`` in every call (1.7.2).
    """
    function.__signature__ = signature(function)  # type: ignore[attr-defined]
    return function
