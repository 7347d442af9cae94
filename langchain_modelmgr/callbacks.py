"""Callback handlers: one for every run of a managed model, one that records other models."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from langchain_core.callbacks import BaseCallbackHandler, BaseCallbackManager
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration
from langchain_core.runnables.config import ensure_config

from langchain_modelmgr.bedrock.failures import classify
from langchain_modelmgr.langsmith_cost import add_cost_for_tracers, with_cost_for_tracers
from langchain_modelmgr.runtime.forks import AFTER_FORK
from langchain_modelmgr.runtime.masking import masked_id
from langchain_modelmgr.usage.answer_report import AnswerReport
from langchain_modelmgr.usage.pricing import cost_of
from langchain_modelmgr.usage.totals import (
    CURRENT_RUN,
    CallUsage,
    Run,
    UsageTotals,
    tokens_of_message,
)

if TYPE_CHECKING:
    from uuid import UUID

    from langchain_core.callbacks import BaseRunManager
    from langchain_core.callbacks.base import Callbacks
    from langchain_core.messages import BaseMessage
    from langchain_core.outputs import Generation, LLMResult
    from langchain_core.runnables import RunnableConfig

    from langchain_modelmgr.budgets.project_budgets import ProjectBudgets
    from langchain_modelmgr.catalog import ModelCatalog

_OPEN_RUNS = 10_000
"""Largest number of open runs of unmanaged models; the oldest is discarded first."""

_RESOLVED_MODEL = "lc_gateway_metadata"
"""The key of ``generation_info`` from which LangChain's tracers correct ``ls_model_name`` when a
run ends (``_TracerCore._attach_gateway_metadata``, read and run in langchain-core 1.7.2)."""


class _Manager(Protocol):
    """The part of ``ModelManager`` that the handler uses."""

    @property
    def totals(self) -> UsageTotals: ...

    @property
    def catalog(self) -> ModelCatalog: ...

    @property
    def budgets(self) -> ProjectBudgets: ...


@dataclass(frozen=True, slots=True)
class _OpenRun:
    run: Run
    model_id: str
    started: float


class UsageCallbackHandler(BaseCallbackHandler):
    """Records the usage of unmanaged chat models in a manager's summary and metrics.

    Use it for ``ChatBedrockConverse``. It adds one record per run, because it can't see that
    model's retries. It ignores runs of ``ManagedBedrockChat``, which records every attempt itself.

    Args:
        manager: The ``ModelManager`` that records the usage.
        agent_name: The agent under which the usage is recorded.

    Example:
        ``ChatBedrockConverse(model=..., callbacks=[UsageCallbackHandler(manager, "planner")])``
    """

    run_inline = True
    """Called in the caller's own thread and context, also on async runs: no executor hop."""

    def __init__(self, manager: _Manager, agent_name: str) -> None:
        self._manager = manager
        self._agent_name = agent_name
        self._lock = threading.Lock()
        self._open: OrderedDict[UUID, _OpenRun] = OrderedDict()
        AFTER_FORK.watch(self)

    def reset_after_fork(self) -> None:
        """Internal: replace the lock, which a thread of the parent may hold."""
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._manager, self._agent_name)  # open runs are not copied

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
        """Remember a run and its start time."""
        managed = CURRENT_RUN.get()  # set by a managed model's listener
        if managed is not None and managed.run_id == str(run_id):
            return
        run = Run(str(run_id), tuple(tags or ()), metadata or {})
        params: dict[str, Any] = kwargs.get("invocation_params") or {}
        model_id = str(params.get("model") or params.get("model_id") or "unknown")
        with self._lock:
            self._open[run_id] = _OpenRun(run, model_id, time.perf_counter())
            while len(self._open) > _OPEN_RUNS:
                self._open.popitem(last=False)

    def on_llm_end(self, response: LLMResult, *, run_id: UUID, **kwargs: Any) -> None:
        """Record an answered run of an unmanaged model."""
        if (open_run := self._close(run_id)) is None:
            return
        message = _message_of(response)
        usage = getattr(message, "usage_metadata", None)
        metadata: dict[str, Any] = getattr(message, "response_metadata", None) or {}
        model_id = str(metadata.get("model_name") or open_run.model_id)
        call_usage = self._call_usage(open_run)
        # A response-cache hit replays the message with a cost of 0 (langchain-core 1.7.2).
        if usage and usage.get("total_cost") == 0:
            call_usage.cached(model_id)
            return
        tokens = tokens_of_message(usage) if usage else None
        model = self._manager.catalog.resolve(model_id)
        tier = (metadata.get("serviceTier") or {}).get("type")
        latency_ms = _since(open_run)
        cost = cost_of(tokens, model, tier) if tokens else None
        if tokens:
            self._manager.budgets.add(
                self._agent_name,
                open_run.run.metadata,
                cost_usd=cost,
                tokens=tokens.total_tokens,
            )
        call_usage.add(
            call_usage.record(
                model_id,
                "answered",
                usage=tokens,
                cost_usd=cost,
                latency_ms=latency_ms,
                request_id=(metadata.get("ResponseMetadata") or {}).get("RequestId"),
                service_tier=tier,
            ),
            model=model,
        )
        call_usage.call_ended(answered=True, latency_ms=latency_ms)

    def on_llm_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """Record a failed or abandoned run of an unmanaged model."""
        if (open_run := self._close(run_id)) is None:
            return
        aborted = isinstance(error, GeneratorExit | asyncio.CancelledError | KeyboardInterrupt)
        failure = classify(error)
        call_usage = self._call_usage(open_run)
        latency_ms = _since(open_run)
        call_usage.add(
            call_usage.record(
                open_run.model_id,
                "aborted" if aborted else "failed",
                usage=None,
                latency_ms=latency_ms,
                error=type(failure or error).__name__,
                request_id=failure.request_id if failure else None,
            )
        )
        call_usage.call_ended(answered=None if aborted else False, latency_ms=latency_ms)

    def _close(self, run_id: UUID) -> _OpenRun | None:
        with self._lock:
            return self._open.pop(run_id, None)

    def _call_usage(self, open_run: _OpenRun) -> CallUsage:
        return CallUsage(self._manager.totals, self._agent_name, open_run.run)


def _since(open_run: _OpenRun) -> float:
    return round((time.perf_counter() - open_run.started) * 1000, 3)


def _message_of(response: LLMResult) -> AIMessage | None:
    for generations in response.generations:
        for generation in generations:
            if isinstance(generation, ChatGeneration) and isinstance(generation.message, AIMessage):
                return generation.message
    return None


class RunListener(BaseCallbackHandler):
    """Sets the current run of a managed model at its start, and the model that served at its end.

    It is the first of a run's handlers, so that the others see both. It counts nothing: a run is
    counted once, by the chain, also in subclasses.
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
        """Set the current run: its id, tags and metadata."""
        CURRENT_RUN.set(Run(str(run_id), tuple(tags or ()), metadata or {}))

    def on_llm_end(self, response: LLMResult, *, run_id: UUID, **kwargs: Any) -> None:
        """Set the name of the model that served, for the handlers after this one."""
        with_model_name(response)
        # Copies, because the caller and the response cache hold the same generations.
        response.generations = [[_resolved(g) for g in row] for row in response.generations]


LISTENER = RunListener()
"""The listener of all models; it has no state."""


def with_listener(callbacks: Callbacks) -> Callbacks:
    """Return the callbacks of a run with ``LISTENER`` as the first one.

    In a model's own ``callbacks`` it would be lost with ``callbacks=None``, in a copy, or with a
    user's callback manager.
    """
    if isinstance(callbacks, BaseCallbackManager):
        joined = callbacks.copy()
        joined.handlers.insert(0, LISTENER)
        return joined
    return [LISTENER, *(callbacks or ())]


def config_with_listener(config: RunnableConfig | None, own: Callbacks) -> RunnableConfig:
    """Return the config of a stream with ``LISTENER`` as the first callback.

    Args:
        config: The config of the call.
        own: The chat model's own callbacks, which LangChain adds to those of the call.
    """
    joined = ensure_config(config)
    joined["callbacks"] = with_cost_for_tracers(with_listener(joined.get("callbacks")), own)
    return joined


def open_run(run_manager: BaseRunManager | None) -> Run:
    """Return the run of a call, and let LangSmith's tracers among its handlers get its cost.

    Args:
        run_manager: The run's manager; None for the latest run in this context, a stream's.
    """
    if run_manager is None:
        return CURRENT_RUN.get() or Run()
    add_cost_for_tracers(run_manager)
    return Run(str(run_manager.run_id), tuple(run_manager.tags), run_manager.metadata)


def with_model_name(result: LLMResult) -> LLMResult:
    """Put the name of the model that served into ``llm_output``, if one model served all of it."""
    served = {_model_of(generation) for row in result.generations for generation in row}
    name = served.pop() if len(served) == 1 else None
    output = result.llm_output or {}
    result.llm_output = {**output, "model_name": name} if name else output
    return result


def mark_cached(generation: ChatGeneration) -> str:
    """Mark an answer as cached by LangChain's response cache; return the id of its model."""
    metadata = generation.message.response_metadata
    cached = {"cached": True, "cost_usd": "0", "output_cost_usd": "0"}
    made = metadata.get("model_manager")  # missing if a model without a manager answered
    report = AnswerReport(made, **cached) if made else cached
    generation.message = generation.message.model_copy(
        update={"response_metadata": {**metadata, "model_manager": report}}
    )
    return str(report.get("model_id"))


def _resolved(generation: Generation) -> Generation:
    """Return the generation, or if a fallback served a copy that corrects the model in traces."""
    report = _metadata_of(generation).get("model_manager") or {}
    if not report.get("fallback_used"):
        return generation
    resolved = {_RESOLVED_MODEL: {"model": _model_of(generation)}}
    info = {**(generation.generation_info or {}), **resolved}
    return generation.model_copy(update={"generation_info": info})


def _model_of(generation: Generation) -> str | None:
    name = _metadata_of(generation).get("model_name")
    return masked_id(str(name)) if name else None


def _metadata_of(generation: Generation) -> dict[str, Any]:
    return generation.message.response_metadata if isinstance(generation, ChatGeneration) else {}
