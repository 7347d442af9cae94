"""HeardChatModel: a chat model whose runs the listener hears before all other handlers."""

from __future__ import annotations

from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from langchain_core.callbacks import CallbackManager
from langchain_core.language_models import BaseChatModel
from langchain_core.runnables.config import ensure_config
from langchain_core.utils.uuid import uuid7

from langchain_modelmgr.callbacks import config_with_listener, with_listener, with_model_name
from langchain_modelmgr.langsmith_cost import handlers_of, is_traced
from langchain_modelmgr.usage.totals import CURRENT_RUN, Run

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping

    from langchain_core.callbacks.base import Callbacks
    from langchain_core.language_models import LanguageModelInput
    from langchain_core.messages import AIMessageChunk, BaseMessage
    from langchain_core.outputs import LLMResult
    from langchain_core.runnables import RunnableConfig


class HeardChatModel(BaseChatModel):
    """A chat model that makes the listener the first handler of each run.

    A stream that no other handler hears sets its run itself.
    """

    def generate(
        self,
        messages: list[list[BaseMessage]],
        stop: list[str] | None = None,
        callbacks: Callbacks = None,
        **kwargs: Any,
    ) -> LLMResult:
        """Generate, heard by the listener."""
        return with_model_name(super().generate(messages, stop, with_listener(callbacks), **kwargs))

    async def agenerate(
        self,
        messages: list[list[BaseMessage]],
        stop: list[str] | None = None,
        callbacks: Callbacks = None,
        **kwargs: Any,
    ) -> LLMResult:
        """Generate, heard by the listener."""
        result = await super().agenerate(messages, stop, with_listener(callbacks), **kwargs)
        return with_model_name(result)

    def stream(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any
    ) -> Iterator[AIMessageChunk]:
        """Stream, heard by the listener if another handler hears it."""
        if (run := self._unheard(config, kwargs)) is not None:
            return run.chunks(super().stream(input, run.config, **kwargs))
        return super().stream(input, config_with_listener(config, self.callbacks), **kwargs)

    def astream(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any
    ) -> AsyncIterator[AIMessageChunk]:
        """Stream, heard by the listener if another handler hears it."""
        if (run := self._unheard(config, kwargs)) is not None:
            return run.achunks(super().astream(input, run.config, **kwargs))
        return super().astream(input, config_with_listener(config, self.callbacks), **kwargs)

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

    def _unheard(
        self, config: RunnableConfig | None, keywords: dict[str, Any]
    ) -> _UnheardRun | None:
        """Return the run of a stream that no handler hears; None if one does."""
        joined = ensure_config(config)
        given, own = joined.get("callbacks"), self.callbacks
        if any((*handlers_of(given), *handlers_of(own))) or is_traced():
            return None
        tags, metadata = joined.get("tags"), joined.get("metadata")
        manager = CallbackManager.configure(given, own, self.verbose, tags, self.tags, metadata)
        if manager.handlers:  # added by a context, or by LangChain's debug mode
            return None
        params = partial(self._get_ls_params_with_defaults, **keywords)
        return _UnheardRun(joined, manager, params, self.metadata)


class _UnheardRun:
    """The run of a stream that no handler hears, so that the listener need not hear it either.

    LangChain calls a run's handlers for each chunk, which takes 5 us of an asynchronous one
    (langchain-core 1.7.2); without handlers it does nothing.

    Args:
        config: The complete config of the call. It gets the run's id.
        manager: The run's callback manager, which has no handlers.
        params: Returns LangChain's parameters of the model, which are metadata of the run.
        own: The chat model's own metadata.

    Attributes:
        config: The config to call the stream with.
    """

    def __init__(
        self,
        config: RunnableConfig,
        manager: CallbackManager,
        params: Callable[[], Mapping[str, Any]],
        own: dict[str, Any] | None,
    ) -> None:
        self.config = config
        self._manager = manager
        self._params = params
        self._own = own
        self._run_id = config["run_id"] = config.get("run_id") or uuid7()

    def chunks(self, stream: Iterator[AIMessageChunk]) -> Iterator[AIMessageChunk]:
        """Yield the chunks of the stream."""
        self._begin()
        yield from stream

    async def achunks(
        self, stream: AsyncIterator[AIMessageChunk]
    ) -> AsyncGenerator[AIMessageChunk, None]:
        """Yield the chunks of the stream."""
        self._begin()
        async with aclosing(cast("AsyncGenerator[AIMessageChunk, None]", stream)):
            async for chunk in stream:
                yield chunk

    def _begin(self) -> None:
        """Set the current run, in the reader's context, with the metadata that LangChain gives."""
        manager = self._manager
        for metadata in (self._params(), self._own):
            manager.add_metadata(dict(metadata or {}))
        CURRENT_RUN.set(Run(str(self._run_id), tuple(manager.tags), manager.metadata))
