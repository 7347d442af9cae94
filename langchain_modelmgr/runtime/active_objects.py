"""ActiveObject: a context manager whose block may be left in another context or thread."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, ClassVar, Self

from langchain_modelmgr.runtime.bound_functions import BindsFunctions

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextvars import ContextVar, Token


class ActiveObject(BindsFunctions):
    """Base class of objects that are active in the context of their ``with`` block.

    Tasks and copied contexts inherit the active objects; plain threads don't (before Python 3.14).

    Attributes:
        is_over: Whether the block has ended; contexts that inherited the object still have it.
    """

    _VARIABLE: ClassVar[ContextVar[tuple[Any, ...]]]
    """The active objects of a context, in the order in which they were entered."""

    _IS_ENTERED: ClassVar[str]
    """The text of the error when an object is entered twice."""

    def __init__(self) -> None:
        self.is_over = False
        self._token: Token[tuple[Any, ...]] | None = None

    def __enter__(self) -> Self:
        """Begin the block.

        Raises:
            RuntimeError: It is already entered.
        """
        if self._token is not None:
            raise RuntimeError(self._IS_ENTERED)
        self.is_over = False
        self._token = self._VARIABLE.set((*self._VARIABLE.get(), self))
        return self

    def __exit__(self, *_: object) -> None:
        """End the block."""
        token, self._token = self._token, None
        others = tuple(other for other in self._VARIABLE.get() if other is not self)
        try:
            if token is not None:
                self._VARIABLE.reset(token)
        except ValueError:
            # Entered in another context, which still has the object.
            self.is_over = True
        self._VARIABLE.set(others)

    @contextmanager
    def _active(self) -> Iterator[None]:
        token = self._VARIABLE.set((*self._VARIABLE.get(), self))
        try:
            yield
        finally:
            with suppress(ValueError):  # closed in another context
                self._VARIABLE.reset(token)
