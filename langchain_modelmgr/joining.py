"""Joins the usage handler to every run of a chat model, as it starts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_core.callbacks import BaseCallbackManager
from langchain_core.language_models import BaseChatModel
from langchain_core.runnables.config import ensure_config

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from langchain_core.callbacks import BaseCallbackHandler
    from langchain_core.callbacks.base import Callbacks
    from langchain_core.language_models import LanguageModelInput
    from langchain_core.messages import AIMessageChunk, BaseMessage
    from langchain_core.outputs import LLMResult
    from langchain_core.runnables import RunnableConfig


class JoinsHandler(BaseChatModel):
    """A chat model whose every run is heard by one handler, whatever its ``callbacks`` are.

    Kept in ``callbacks`` the handler would be lost by ``callbacks=None``, by a copy, or by a
    user's own manager. So it joins where a run begins: every way into ``BaseChatModel`` leads
    through one of these methods.
    """

    def _joining_handler(self) -> BaseCallbackHandler:
        raise NotImplementedError

    def generate(
        self,
        messages: list[list[BaseMessage]],
        stop: list[str] | None = None,
        callbacks: Callbacks = None,
        **kwargs: Any,
    ) -> LLMResult:
        """Generate, heard by the handler."""
        return super().generate(messages, stop, self._joined(callbacks), **kwargs)

    async def agenerate(
        self,
        messages: list[list[BaseMessage]],
        stop: list[str] | None = None,
        callbacks: Callbacks = None,
        **kwargs: Any,
    ) -> LLMResult:
        """Generate, heard by the handler."""
        return await super().agenerate(messages, stop, self._joined(callbacks), **kwargs)

    def stream(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any
    ) -> Iterator[AIMessageChunk]:
        """Stream, heard by the handler."""
        return super().stream(input, self._joined_config(config), **kwargs)

    def astream(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any
    ) -> AsyncIterator[AIMessageChunk]:
        """Stream, heard by the handler."""
        return super().astream(input, self._joined_config(config), **kwargs)

    def stream_events(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any
    ) -> Any:
        """Stream events, heard by the handler."""
        return super().stream_events(input, self._joined_config(config), **kwargs)

    def astream_events(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any
    ) -> Any:
        """Stream events, heard by the handler."""
        return super().astream_events(input, self._joined_config(config), **kwargs)

    def _joined_config(self, config: RunnableConfig | None) -> RunnableConfig:
        joined = ensure_config(config)
        joined["callbacks"] = self._joined(joined.get("callbacks"))
        return joined

    def _joined(self, callbacks: Callbacks) -> Callbacks:
        handler = self._joining_handler()
        if isinstance(callbacks, BaseCallbackManager):
            if handler in callbacks.handlers:
                return callbacks
            joined = callbacks.copy()
            joined.add_handler(handler, inherit=False)
            return joined
        handlers = list(callbacks or ())
        return handlers if handler in handlers else [*handlers, handler]
