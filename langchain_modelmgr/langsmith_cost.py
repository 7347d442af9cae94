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
from typing import TYPE_CHECKING, Any

from langchain_core.callbacks import BaseCallbackHandler, BaseCallbackManager, CallbackManager
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration

if TYPE_CHECKING:
    from collections.abc import Iterable
    from uuid import UUID

    from langchain_core.callbacks.base import Callbacks
    from langchain_core.outputs import Generation, LLMResult


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


def traced_handlers(callbacks: Callbacks, own: Callbacks) -> CallbackManager | None:
    """Return the handlers of a run with LangSmith's tracers first, which get its cost.

    Args:
        callbacks: The callbacks of the call.
        own: The chat model's own callbacks.

    Returns:
        The handlers, with the tracer that the environment or a context turns on; None if no
        LangSmith tracer listens to the run.
    """
    # LangChain imports both when it configures a run's callbacks; they take long the first time.
    from langchain_core.tracers.context import tracing_v2_callback_var
    from langchain_core.tracers.langchain import LangChainTracer
    from langsmith.utils import tracing_is_enabled

    if (
        not any(isinstance(handler, LangChainTracer) for handler in _handlers(callbacks, own))
        and tracing_v2_callback_var.get() is None
        and not tracing_is_enabled()
    ):
        return None
    manager = CallbackManager.configure(callbacks, own)
    tracers = [h for h in manager.handlers if isinstance(h, LangChainTracer)]
    ours = (LangChainTracer, _AddCost, _RemoveCost)
    others = [h for h in manager.handlers if not isinstance(h, ours)]
    manager.handlers = [_ADD_COST, *tracers, _REMOVE_COST, *others]
    return manager


def _handlers(*callbacks: Callbacks) -> Iterable[BaseCallbackHandler]:
    for some in callbacks:
        yield from some.handlers if isinstance(some, BaseCallbackManager) else some or ()


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
