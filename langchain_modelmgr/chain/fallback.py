"""The chain: tries its candidates in order until one answers, as the policy decides."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing, closing
from typing import TYPE_CHECKING, Annotated, Any

from langchain_core.runnables import RunnableConfig, RunnableWithFallbacks
from pydantic import GetPydanticSchema

from langchain_modelmgr.chain.call import TRY_ANOTHER, Call
from langchain_modelmgr.chain.call_input import ChainInput, ChainRules
from langchain_modelmgr.chain.resolution import aresolve, resolve

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator

    from langchain_core.outputs import ChatGenerationChunk, ChatResult

    from langchain_modelmgr.chain.candidate import Candidate


class CandidateChain(RunnableWithFallbacks[Any, Any]):
    """An ordered list of candidates: LangChain's fallbacks with the policy of this library.

    It opens no callback run and keeps no chunks. ``exceptions_to_handle`` is not used:
    ``policy.decide`` alone decides which candidate is tried next.
    """

    # Before pydantic 2.12, InstanceOf inspects dataclasses for types that only mypy needs.
    rules: Annotated[ChainRules, GetPydanticSchema(lambda _, handler: handler(Any))]

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """All candidates, the primary first."""
        return (self.runnable, *self.fallbacks)  # type: ignore[arg-type]

    def _time_budget(self, given: ChainInput) -> float:
        return min(given.request.timeout, self.rules.deadline_seconds)

    def invoke(
        self, input: ChainInput, config: RunnableConfig | None = None, **_: Any
    ) -> ChatResult:
        """Return the first answer.

        Raises:
            ModelManagerError: No candidate can serve the request, or none did.
        """
        resolve(self.candidates, self._time_budget(input))
        with Call(self.candidates, self.rules, input) as call:
            while True:
                try:
                    result: ChatResult = call.candidate.invoke(call.attempt())
                except TRY_ANOTHER as failure:
                    time.sleep(call.after(failure))
                else:
                    return call.answered(result)

    async def ainvoke(
        self, input: ChainInput, config: RunnableConfig | None = None, **_: Any
    ) -> ChatResult:
        """Return the first answer, with the same decisions as ``invoke``."""
        await aresolve(self.candidates, self._time_budget(input))
        with Call(self.candidates, self.rules, input) as call:
            while True:
                try:
                    result: ChatResult = await call.candidate.ainvoke(call.attempt())
                except TRY_ANOTHER as failure:
                    await asyncio.sleep(call.after(failure))
                else:
                    return call.answered(result)

    def stream(
        self, input: ChainInput, config: RunnableConfig | None = None, **_: Any
    ) -> Generator[ChatGenerationChunk, None, None]:
        """Yield the chunks of the first candidate that returns content, then one with metadata."""
        resolve(self.candidates, self._time_budget(input))
        with Call(self.candidates, self.rules, input) as call:
            while True:
                try:
                    with closing(call.candidate.stream(call.attempt())) as chunks:
                        for chunk in chunks:
                            yield from call.release(chunk)
                except TRY_ANOTHER as failure:
                    time.sleep(call.after(failure))
                else:
                    yield from call.rest()
                    return

    async def astream(
        self, input: ChainInput, config: RunnableConfig | None = None, **_: Any
    ) -> AsyncGenerator[ChatGenerationChunk, None]:
        """Yield chunks as ``stream`` does."""
        await aresolve(self.candidates, self._time_budget(input))
        with Call(self.candidates, self.rules, input) as call:
            while True:
                try:
                    async with aclosing(call.candidate.astream(call.attempt())) as chunks:
                        async for chunk in chunks:
                            for released in call.release(chunk):
                                yield released
                except TRY_ANOTHER as failure:
                    await asyncio.sleep(call.after(failure))
                else:
                    for released in call.rest():
                        yield released
                    return
