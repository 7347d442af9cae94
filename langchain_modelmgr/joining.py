"""Joins a callback handler to every run of a managed chat model, ahead of all others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_core.callbacks import BaseCallbackHandler, BaseCallbackManager
from langchain_core.language_models import BaseChatModel
from langchain_core.outputs import ChatGeneration
from langchain_core.runnables.config import ensure_config

from langchain_modelmgr.privacy import mask_account_ids
from langchain_modelmgr.totals import CURRENT_RUN, Run

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from uuid import UUID

    from langchain_core.callbacks.base import Callbacks
    from langchain_core.language_models import LanguageModelInput
    from langchain_core.messages import AIMessageChunk, BaseMessage
    from langchain_core.outputs import Generation, LLMResult
    from langchain_core.runnables import RunnableConfig

_RESOLVED_MODEL = "lc_gateway_metadata"
"""The key of ``generation_info`` from which LangChain's tracers correct ``ls_model_name`` when a
run ends (``_TracerCore._attach_gateway_metadata``, read and run in langchain-core 1.7.2)."""


class RunListener(BaseCallbackHandler):
    """Notes each run of a managed model at its start, and names the model that served at its end.

    It comes first among a run's handlers: what it notes and names, the others find. It counts
    nothing, so a run is counted once, by the chain, whatever a subclass calls itself.
    """

    run_inline = True
    """Called in the caller's own thread and context, also on async runs: no executor hop."""

    def on_chat_model_start(
        self,
        serialized: dict[str, Any],
        messages: list[list[BaseMessage]],
        *,
        run_id: UUID,
        tags: list[str] | None = None,
        metadata: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Note the run's id, tags and metadata."""
        CURRENT_RUN.set(Run(str(run_id), tuple(tags or ()), metadata or {}))

    def on_llm_end(self, response: LLMResult, *, run_id: UUID, **kwargs: Any) -> None:
        """Name the model that served, for the handlers that come after this one."""
        response.llm_output = _named(response)
        # Copies: the caller and the response cache hold the same generations.
        response.generations = [[_resolved(g) for g in row] for row in response.generations]


LISTENER = RunListener()
"""Without state, so one serves all models."""


class JoinsHandler(BaseChatModel):
    """A chat model whose every run is heard by ``LISTENER`` first, whatever its ``callbacks`` are.

    Kept in ``callbacks`` the handler would be lost by ``callbacks=None``, by a copy, or by a
    user's own manager. So it joins where a run begins: every way into ``BaseChatModel`` leads
    through one of these methods.
    """

    def generate(
        self,
        messages: list[list[BaseMessage]],
        stop: list[str] | None = None,
        callbacks: Callbacks = None,
        **kwargs: Any,
    ) -> LLMResult:
        """Generate, heard by the handler."""
        result = super().generate(messages, stop, _joined(callbacks), **kwargs)
        result.llm_output = _named(result)
        return result

    async def agenerate(
        self,
        messages: list[list[BaseMessage]],
        stop: list[str] | None = None,
        callbacks: Callbacks = None,
        **kwargs: Any,
    ) -> LLMResult:
        """Generate, heard by the handler."""
        result = await super().agenerate(messages, stop, _joined(callbacks), **kwargs)
        result.llm_output = _named(result)
        return result

    def stream(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any
    ) -> Iterator[AIMessageChunk]:
        """Stream, heard by the handler."""
        return super().stream(input, _joined_config(config), **kwargs)

    def astream(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any
    ) -> AsyncIterator[AIMessageChunk]:
        """Stream, heard by the handler."""
        return super().astream(input, _joined_config(config), **kwargs)

    def stream_events(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any
    ) -> Any:
        """Stream events, heard by the handler."""
        return super().stream_events(input, _joined_config(config), **kwargs)

    def astream_events(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any
    ) -> Any:
        """Stream events, heard by the handler."""
        return super().astream_events(input, _joined_config(config), **kwargs)


def _joined_config(config: RunnableConfig | None) -> RunnableConfig:
    joined = ensure_config(config)
    joined["callbacks"] = _joined(joined.get("callbacks"))
    return joined


def _joined(callbacks: Callbacks) -> Callbacks:
    if isinstance(callbacks, BaseCallbackManager):
        joined = callbacks.copy()
        joined.handlers.insert(0, LISTENER)
        return joined
    return [LISTENER, *(callbacks or ())]


def _named(result: LLMResult) -> dict[str, Any]:
    """Return the result's ``llm_output`` with the name of the one model that served all of it."""
    told = result.llm_output or {}
    served = {_model_of(generation) for row in result.generations for generation in row}
    name = served.pop() if len(served) == 1 else None
    return {**told, "model_name": name} if name else told


def _resolved(generation: Generation) -> Generation:
    """Return the generation, or a copy that corrects a trace where a fallback served."""
    told = _metadata_of(generation).get("model_manager") or {}
    if not told.get("fallback_used"):
        return generation
    resolved = {_RESOLVED_MODEL: {"model": _model_of(generation)}}
    info = {**(generation.generation_info or {}), **resolved}
    return generation.model_copy(update={"generation_info": info})


def _model_of(generation: Generation) -> str | None:
    name = _metadata_of(generation).get("model_name")
    return mask_account_ids(str(name)) if name else None


def _metadata_of(generation: Generation) -> dict[str, Any]:
    return generation.message.response_metadata if isinstance(generation, ChatGeneration) else {}
