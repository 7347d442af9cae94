"""UsageCallbackHandler: records the usage of chat models that are not managed."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration

from langchain_modelmgr.bedrock.failures import classify
from langchain_modelmgr.pricing import cost_of
from langchain_modelmgr.totals import CURRENT_RUN, CallAccount, Run, UsageTotals, tokens_of_message

if TYPE_CHECKING:
    from uuid import UUID

    from langchain_core.messages import BaseMessage
    from langchain_core.outputs import LLMResult

    from langchain_modelmgr.catalog import ModelCatalog

_OPEN_RUNS = 10_000
"""Runs of plain models remembered between start and end; the oldest goes first."""


class _Manager(Protocol):
    """What the handler asks of a ``ModelManager``."""

    @property
    def totals(self) -> UsageTotals: ...

    @property
    def catalog(self) -> ModelCatalog: ...


@dataclass(frozen=True, slots=True)
class _OpenRun:
    run: Run
    model_id: str
    started: float


class UsageCallbackHandler(BaseCallbackHandler):
    """Records the usage of plain chat models in a manager's summary and metrics.

    It is for ``ChatBedrockConverse``, whose retries it can't see: one record a run. Runs of
    ``ManagedBedrockChat`` it leaves alone: their chain records every attempt itself.

    Args:
        manager: The ``ModelManager`` whose accounts are used.
        agent_name: The agent that the usage is booked on.

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

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._manager, self._agent_name)  # runs that are open stay here

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
        """Note a run's start."""
        managed = CURRENT_RUN.get()  # a managed model's listener has noted it before
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
        """Enter an answered run of a plain model."""
        if (open_run := self._close(run_id)) is None:
            return
        message = _message_of(response)
        usage = getattr(message, "usage_metadata", None)
        metadata: dict[str, Any] = getattr(message, "response_metadata", None) or {}
        model_id = str(metadata.get("model_name") or open_run.model_id)
        account = self._account(open_run)
        # A response-cache hit replays the message with a cost of 0 (langchain-core 1.7.2).
        if usage and usage.get("total_cost") == 0:
            account.cached(model_id)
            return
        tokens = tokens_of_message(usage) if usage else None
        model = self._manager.catalog.resolve(model_id)
        tier = (metadata.get("serviceTier") or {}).get("type")
        latency_ms = _since(open_run)
        account.enter(
            account.record(
                model_id,
                "answered",
                usage=tokens,
                cost_usd=cost_of(tokens, model, tier) if tokens else None,
                latency_ms=latency_ms,
                request_id=(metadata.get("ResponseMetadata") or {}).get("RequestId"),
                service_tier=tier,
            ),
            price_unknown=model.price_unknown,
        )
        account.call_ended(answered=True, latency_ms=latency_ms)

    def on_llm_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """Enter a failed or abandoned run of a plain model."""
        if (open_run := self._close(run_id)) is None:
            return
        aborted = isinstance(error, GeneratorExit | asyncio.CancelledError | KeyboardInterrupt)
        failure = classify(error)
        account = self._account(open_run)
        latency_ms = _since(open_run)
        account.enter(
            account.record(
                open_run.model_id,
                "aborted" if aborted else "failed",
                usage=None,
                latency_ms=latency_ms,
                error=type(failure or error).__name__,
                request_id=failure.request_id if failure else None,
            )
        )
        account.call_ended(answered=None if aborted else False, latency_ms=latency_ms)

    def _close(self, run_id: UUID) -> _OpenRun | None:
        with self._lock:
            return self._open.pop(run_id, None)

    def _account(self, open_run: _OpenRun) -> CallAccount:
        return CallAccount(self._manager.totals, self._agent_name, open_run.run)


def _since(open_run: _OpenRun) -> float:
    return round((time.perf_counter() - open_run.started) * 1000, 3)


def _message_of(response: LLMResult) -> AIMessage | None:
    for generations in response.generations:
        for generation in generations:
            if isinstance(generation, ChatGeneration) and isinstance(generation.message, AIMessage):
                return generation.message
    return None
