"""Binds functions to an object that is otherwise found by a context variable."""

from __future__ import annotations

import functools
import inspect
from contextlib import aclosing, closing
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
    from contextlib import AbstractContextManager

P = ParamSpec("P")
R = TypeVar("R")


class BindsFunctions:
    """Base class of objects that are active in a context; ``bind`` makes a function use one."""

    def bind(self, function: Callable[P, R]) -> Callable[P, R]:
        """Return the function so that its calls belong to this object wherever it runs.

        Args:
            function: A function, coroutine function or generator function.

        Example:
            ``executor.submit(usage.bind(ask), question)``
        """
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def coroutine(*args: P.args, **kwargs: P.kwargs) -> Any:
                return await self._awaited(function(*args, **kwargs))

            return cast("Callable[P, R]", coroutine)

        @functools.wraps(function)
        def bound(*args: P.args, **kwargs: P.kwargs) -> Any:
            with self._active():
                result = function(*args, **kwargs)
            if inspect.iscoroutine(result):
                return self._awaited(result)
            if inspect.isasyncgen(result):
                return self._async_steps(result)
            return self._steps(result) if inspect.isgenerator(result) else result

        return bound

    def _active(self) -> AbstractContextManager[None]:
        """Return a context manager in which this object is active."""
        raise NotImplementedError

    # -- generators returned by `bind` run step by step, in the context that drives them

    async def _awaited(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        with self._active():
            return await coroutine

    def _steps(self, generator: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
        with closing(generator):
            sent = None
            while True:
                try:
                    with self._active():
                        item = generator.send(sent)
                except StopIteration as end:
                    return end.value
                sent = yield item

    async def _async_steps(self, generator: AsyncGenerator[Any, Any]) -> AsyncGenerator[Any, Any]:
        async with aclosing(generator):
            sent = None
            while True:
                try:
                    with self._active():
                        item = await generator.asend(sent)
                except StopAsyncIteration:
                    return
                sent = yield item
