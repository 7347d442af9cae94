"""What an answer cost, for LangSmith's tracers: input, output and total USD of a run.

LangSmith takes a run's cost from ``usage_metadata`` in the run's metadata. ``LangChainTracer``
copies it there from the answer when the run ends, and sends it with the run's only update. A
further update would be refused: LangSmith accepts one per run (langsmith-sdk issue 1529, and
"Can I reopen a run after calling patch()" of LangChain's support, both read on 2026-11-27).

So the tracers get an answer with a cost, and the other handlers the one without it: LangChain's
``UsageMetadataCallbackHandler`` and ``add_usage`` raise on fractions (langchain-core 1.7.2). Each
handler of a run gets the same result, one after the other, so the order of the handlers decides.
"""

from __future__ import annotations

from decimal import Decimal
from functools import cache
from typing import TYPE_CHECKING, Any

from langchain_core.callbacks import BaseCallbackHandler, BaseCallbackManager, CallbackManager
from langchain_core.globals import get_debug
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration
from langchain_core.utils.env import env_var_is_set

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from contextvars import ContextVar
    from types import ModuleType
    from uuid import UUID

    from langchain_core.callbacks import BaseRunManager
    from langchain_core.callbacks.base import Callbacks
    from langchain_core.outputs import Generation, LLMResult
    from langchain_core.tracers.langchain import LangChainTracer


class _WithCost(list[Any]):
    """The generations of a result, with their cost.

    Attributes:
        without: The same generations without it.
    """

    def __init__(self, without: list[Any]) -> None:
        super().__init__([_with_cost(one) for one in row] for row in without)
        self.without = without


class _AddCost(BaseCallbackHandler):
    """Adds the cost to a run's result. The next handlers are LangSmith's tracers."""

    run_inline = True

    def on_llm_end(self, response: LLMResult, *, run_id: UUID, **kwargs: Any) -> None:
        if [len(row) for row in response.generations] == [1]:  # the tracer can't add fractions
            response.generations = _WithCost(response.generations)


class _RemoveCost(BaseCallbackHandler):
    """Removes the cost from a run's result again. The next handlers are the others."""

    run_inline = True

    def on_llm_end(self, response: LLMResult, *, run_id: UUID, **kwargs: Any) -> None:
        if isinstance(response.generations, _WithCost):
            response.generations = response.generations.without


_ADD_COST, _REMOVE_COST = _AddCost(), _RemoveCost()


def add_cost_for_tracers(run_manager: BaseRunManager) -> None:
    """Let the LangSmith tracers among a run's handlers get its cost."""
    run_manager.handlers = _in_order(run_manager.handlers)


def with_cost_for_tracers(callbacks: Callbacks, own: Callbacks) -> Callbacks:
    """Return callbacks by which LangSmith's tracers get the cost of a run.

    For a stream, which has no run manager (langchain-core 1.7.2).

    Args:
        callbacks: The callbacks of the call.
        own: The chat model's own callbacks.

    Returns:
        The callbacks with the tracer that the environment or a context turns on; ``callbacks``
        themselves if no LangSmith tracer listens to the run.
    """
    listeners = (handler for some in (callbacks, own) for handler in handlers_of(some))
    if not any(isinstance(handler, _tracer_class()) for handler in listeners) and not is_traced():
        return callbacks
    manager = CallbackManager.configure(callbacks, own)
    manager.handlers = _in_order(manager.handlers)
    return manager


@cache
def _tracer_class() -> type[LangChainTracer]:
    from langchain_core.tracers.langchain import LangChainTracer  # takes long the first time

    return LangChainTracer


@cache
def _switches() -> tuple[ContextVar[LangChainTracer | None], Callable[[], bool | str]]:
    from langchain_core.tracers.context import tracing_v2_callback_var
    from langsmith.utils import tracing_is_enabled

    return tracing_v2_callback_var, tracing_is_enabled


@cache
def _contexts() -> ModuleType:
    from langchain_core.tracers import context  # takes long the first time

    return context


def is_traced() -> bool:
    """Return whether LangChain adds a LangSmith tracer to each run."""
    by_context, is_enabled = _switches()
    return by_context.get() is not None or bool(is_enabled())


def adds_handlers() -> bool:
    """Return whether LangChain may add handlers to a run that were not passed to it.

    A context adds them (``get_usage_metadata_callback``), its debug mode, and tracing.
    """
    hooks = getattr(_contexts(), "_configure_hooks", None)  # private in langchain-core 1.7.2
    return (
        hooks is None
        or get_debug()
        or is_traced()
        or any(var.get() is not None or (env and env_var_is_set(env)) for var, _, _, env in hooks)
    )


def _in_order(handlers: list[BaseCallbackHandler]) -> list[BaseCallbackHandler]:
    """Return handlers with LangSmith's tracers, if any, in second place, between ours.

    The first one stays the first: it names the model that served.
    """
    tracers = [handler for handler in handlers if isinstance(handler, _tracer_class())]
    if not tracers:
        return handlers
    first, *rest = handlers
    others = [h for h in rest if not isinstance(h, (_tracer_class(), _AddCost, _RemoveCost))]
    return [first, _ADD_COST, *tracers, _REMOVE_COST, *others]


def handlers_of(callbacks: Callbacks) -> Iterable[BaseCallbackHandler]:
    """Return the handlers of a list or a manager of callbacks."""
    return callbacks.handlers if isinstance(callbacks, BaseCallbackManager) else callbacks or ()


def _with_cost(generation: Generation) -> Generation:
    """Return a copy of an answer with its cost, or the answer itself if the cost is unknown."""
    message = generation.message if isinstance(generation, ChatGeneration) else None
    usage = message.usage_metadata if isinstance(message, AIMessage) else None
    # LangChain's response cache has set the total to 0 (langchain-core 1.7.2).
    if message is None or usage is None or "total_cost" in usage:
        return generation
    if not (cost := _cost(message.response_metadata.get("model_manager") or {})):
        return generation
    priced = message.model_copy(update={"usage_metadata": {**usage, **cost}})
    return generation.model_copy(update={"message": priced})


def _cost(report: dict[str, Any]) -> dict[str, float]:
    """Return an answer's cost with the names of LangSmith's ``UsageMetadata``; empty: unknown."""
    total, output = report.get("cost_usd"), report.get("output_cost_usd")
    if total is None or output is None:
        return {}
    return {
        "input_cost": float(Decimal(total) - Decimal(output)),
        "output_cost": float(output),
        "total_cost": float(total),
    }
