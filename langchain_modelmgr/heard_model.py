"""HeardChatModel: a chat model whose runs the listener hears before all other handlers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self, cast

from langchain_core.caches import BaseCache
from langchain_core.callbacks import CallbackManager
from langchain_core.globals import get_llm_cache
from langchain_core.language_models import BaseChatModel
from langchain_core.runnables.config import RunnableConfig, ensure_config
from langchain_core.utils.uuid import uuid7

from langchain_modelmgr.callbacks import config_with_listener, with_listener, with_model_name
from langchain_modelmgr.langsmith_cost import adds_handlers, handlers_of, is_traced
from langchain_modelmgr.usage.totals import CURRENT_RUN, Run

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator

    from langchain_core.callbacks.base import Callbacks
    from langchain_core.language_models import LanguageModelInput
    from langchain_core.messages import AIMessageChunk, BaseMessage
    from langchain_core.outputs import LLMResult

_OWN = __name__.partition(".")[0]


class HeardChatModel(BaseChatModel):
    """A chat model that makes the listener the first handler of each run.

    Calls and streams that no other handler hears do without it. A stream then sets its run itself.
    """

    def generate(
        self,
        messages: list[list[BaseMessage]],
        stop: list[str] | None = None,
        callbacks: Callbacks = None,
        **kwargs: Any,
    ) -> LLMResult:
        """Generate, heard by the listener if another handler hears it."""
        heard = self._heard(callbacks, kwargs, self._generate)
        return with_model_name(super().generate(messages, stop, heard, **kwargs))

    async def agenerate(
        self,
        messages: list[list[BaseMessage]],
        stop: list[str] | None = None,
        callbacks: Callbacks = None,
        **kwargs: Any,
    ) -> LLMResult:
        """Generate, heard by the listener if another handler hears it."""
        heard = self._heard(callbacks, kwargs, self._agenerate)
        return with_model_name(await super().agenerate(messages, stop, heard, **kwargs))

    def _heard(
        self, callbacks: Callbacks, keywords: dict[str, Any], method: Callable[..., Any]
    ) -> Callbacks:
        """Return the callbacks of a call with the listener, unless no other handler hears it.

        The listener takes 4 % of a call. The run of a call without it is that of its run manager,
        which answers that are streamed or cached don't get, and which a subclass may keep.

        Args:
            callbacks: The callbacks of the call.
            keywords: The keywords of the call.
            method: The method that makes the call.
        """
        if (
            any((*handlers_of(callbacks), *handlers_of(self.callbacks)))
            or adds_handlers()
            or self.verbose
            or getattr(self, "streaming", None)
            or keywords.get("stream")
            or isinstance(self.cache, BaseCache)
            or get_llm_cache() is not None
            or method.__module__.partition(".")[0] != _OWN
        ):
            return with_listener(callbacks)
        CURRENT_RUN.set(None)  # that of an earlier call
        return callbacks

    def stream(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any
    ) -> Iterator[AIMessageChunk]:
        """Stream, heard by the listener if another handler hears it."""
        return self._chunks(input, ensure_config(config), kwargs)

    def astream(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any
    ) -> AsyncIterator[AIMessageChunk]:
        """Stream, heard by the listener if another handler hears it."""
        joined, complete = RunnableConfig(), ensure_config(config)

        def begin() -> None:
            joined.update(self._heard_or_begun(complete, kwargs))

        return _BegunWhenRead(super().astream(input, joined, **kwargs), begin)

    def _chunks(
        self, given: LanguageModelInput, config: RunnableConfig, keywords: dict[str, Any]
    ) -> Iterator[AIMessageChunk]:
        yield from super().stream(given, self._heard_or_begun(config, keywords), **keywords)

    def stream_events(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any
    ) -> Any:
        """Stream events, heard by the listener."""
        return super().stream_events(input, config_with_listener(config, self.callbacks), **kwargs)

    def astream_events(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any
    ) -> Any:
        """Stream events, heard by the listener."""
        return super().astream_events(input, config_with_listener(config, self.callbacks), **kwargs)

    def _heard_or_begun(self, config: RunnableConfig, keywords: dict[str, Any]) -> RunnableConfig:
        """Return the config of a stream with the listener, unless no other handler hears it.

        LangChain calls a run's handlers for each chunk, which takes 5 us of an asynchronous one
        (langchain-core 1.7.2); without handlers it does nothing. A run without them is begun here:
        with the id, the tags and the metadata that LangChain gives it, in the reader's context.

        Args:
            config: The complete config of the call.
            keywords: The keywords of the call.
        """
        given, own = config.get("callbacks"), self.callbacks
        if any((*handlers_of(given), *handlers_of(own))) or is_traced():
            return config_with_listener(config, own)
        tags, metadata = config.get("tags"), config.get("metadata")
        manager = CallbackManager.configure(given, own, self.verbose, tags, self.tags, metadata)
        if manager.handlers:  # added by a context, or by LangChain's debug mode
            return config_with_listener(config, own)
        manager.add_metadata({**self._get_ls_params_with_defaults(**keywords)})
        manager.add_metadata(self.metadata or {})
        run_id = config.get("run_id") or uuid7()
        CURRENT_RUN.set(Run(str(run_id), tuple(manager.tags), manager.metadata))
        return {**config, "run_id": run_id}


class _BegunWhenRead:
    """An asynchronous stream that calls a function in its reader's context before its first chunk.

    Not a generator around the stream: an event loop that ends closes both at once, and reports that
    the inner one is already being closed.

    Args:
        stream: LangChain's asynchronous generator.
        begin: The function.
    """

    def __init__(self, stream: AsyncIterator[AIMessageChunk], begin: Callable[[], None]) -> None:
        self._stream = cast("AsyncGenerator[AIMessageChunk, None]", stream)
        self._begin: Callable[[], None] | None = begin

    def __aiter__(self) -> Self:
        return self

    def __anext__(self) -> Awaitable[AIMessageChunk]:
        if self._begin is not None:
            self._begin()
            self._begin = None
        return self._stream.__anext__()

    def aclose(self) -> Awaitable[None]:
        """End the stream."""
        return self._stream.aclose()
