"""Every way into a model is held by budgets, and settled by what the reply said."""

from __future__ import annotations

import asyncio
import pickle
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import ModelRetryMiddleware
from langchain_core.exceptions import ModelError
from langchain_core.messages import HumanMessage

from langchain_modelmgr import ManagedBedrockChat, ModelManager
from langchain_modelmgr.errors import BudgetExceededError, ModelManagerError
from tests.agents import Configure, Pallets, count_pallets
from tests.budgets.conftest import SONNET_COST, Bills
from tests.models import HAIKU, SONNET

if TYPE_CHECKING:
    from collections.abc import Callable

    from langchain_modelmgr.local import LocalAWS

MESSAGES = [{"role": "user", "content": [{"text": "how many pallets?"}]}]
AGENT = f"a: {{model: '{SONNET}', fallbacks: [], retries: 0}}"


async def collected(stream: Any) -> list[Any]:
    return [item async for item in stream]


WAYS: dict[str, Callable[[ModelManager], Any]] = {
    "invoke": lambda m: m.chat_model("a").invoke("x"),
    "stream": lambda m: list(m.chat_model("a").stream("x")),
    "batch": lambda m: m.chat_model("a").batch(["x"]),
    "ainvoke": lambda m: asyncio.run(m.chat_model("a").ainvoke("x")),
    "astream": lambda m: asyncio.run(collected(m.chat_model("a").astream("x"))),
    "abatch": lambda m: asyncio.run(m.chat_model("a").abatch(["x"])),
    "invoke_model": lambda m: m.invoke_model("a", MESSAGES),
    "ainvoke_model": lambda m: asyncio.run(m.ainvoke_model("a", MESSAGES)),
    "stream_model": lambda m: list(m.stream_model("a", MESSAGES)),
    "astream_model": lambda m: asyncio.run(collected(m.astream_model("a", MESSAGES))),
    "structured output": lambda m: m.chat_model("a").with_structured_output(
        Pallets, include_raw=True
    ).invoke("x"),
    "create_agent": lambda m: create_agent(m.chat_model("a"), [count_pallets]).invoke(
        {"messages": [HumanMessage("x")]}
    ),
}  # fmt: skip


@pytest.fixture(params=["auto", "memory"])
def manager_of(request: pytest.FixtureRequest, configured: Configure) -> Callable[..., Any]:
    def make(budgets: str, agents: str = AGENT, more: str = "") -> ModelManager:
        prefix = "" if request.param == "auto" else f"project_prefix: p{uuid4().hex}\n"
        text = f"{prefix}state: {request.param}\n{more}\nbudgets:\n  {budgets}"
        return ModelManager(configured(agents, text))

    return make


def spent(manager: ModelManager, name: str = "b") -> Any:
    return next(s for s in manager.budget_status() if s.name == name)


@pytest.mark.parametrize("way", WAYS)
def test_every_way_in_is_refused_before_anything_is_sent(
    way: str, manager_of: Any, bills: Bills
) -> None:
    manager = manager_of("b: {usd: 0.001, per: day}")

    with pytest.raises(BudgetExceededError, match="budget 'b' can't pay for this call"):
        WAYS[way](manager)

    assert bills.models == []
    assert spent(manager).spent == spent(manager).held == 0


@pytest.mark.parametrize("way", WAYS)
def test_every_way_in_is_settled_by_the_replys_tokens(
    way: str, manager_of: Any, bills: Bills
) -> None:
    manager = manager_of("b: {usd: 1, per: day}")

    WAYS[way](manager)

    status = spent(manager)
    assert (status.spent, status.held, status.uncertain) == (len(bills.models) * SONNET_COST, 0, 0)
    assert len(bills.models) >= 1


def test_calls_side_by_side_never_spend_more_than_the_limit(manager_of: Any, bills: Bills) -> None:
    manager = manager_of("b: {tokens: 400, per: day}", AGENT.replace("}", ", max_tokens: 50}"))
    llm = manager.chat_model("a")

    def call(_: int) -> bool:
        try:
            llm.invoke("x")
        except BudgetExceededError:
            return False
        return True

    with ThreadPoolExecutor(16) as pool:
        answered = sum(pool.map(call, range(64)))

    status = spent(manager)
    assert bills.tokens() == status.spent <= 400
    assert answered == len(bills.models) >= 5
    assert status.held == 0


def test_the_error_says_which_budget_and_what_would_be_right(manager_of: Any, bills: Bills) -> None:
    manager = manager_of("b: {usd: 0.001, per: day, by: agent}")

    with pytest.raises(BudgetExceededError) as caught:
        manager.chat_model("a").invoke("x")

    error: Any = pickle.loads(pickle.dumps(caught.value))  # noqa: S301
    assert issubclass(type(error), ModelManagerError)
    assert issubclass(type(error), ModelError)
    assert error.is_retryable is False
    assert (error.budget, error.key, error.limit) == ("b", "a", Decimal("0.001"))
    assert error.spent == error.held == 0
    assert error.needed > Decimal("0.001")
    assert error.resets_at.hour == 0
    assert not error.fits_later
    assert "agent 'a': budget 'b' of agent 'a' can't pay" in str(error)
    assert "lower max_tokens" in str(error)


def test_langchains_retry_middleware_does_not_retry_a_refusal(
    manager_of: Any, bills: Bills
) -> None:
    manager = manager_of("b: {usd: 0.001, per: day}")
    middleware = ModelRetryMiddleware(max_retries=3, on_failure="error", initial_delay=0.0)
    agent = create_agent(manager.chat_model("a"), middleware=[middleware])

    with pytest.raises(BudgetExceededError):
        agent.invoke({"messages": [HumanMessage("x")]})

    assert manager.get_usage_summary()["calls"] == 1


def test_an_answer_names_its_budgets(manager_of: Any, bills: Bills) -> None:
    manager = manager_of("b: {usd: 1, per: day}")

    report = manager.chat_model("a").invoke("x").response_metadata["model_manager"]

    assert report["budgets"] == [
        {
            "name": "b", "key": None, "unit": "usd", "limit": "1.00",
            "remaining": str(1 - SONNET_COST),
        }
    ]  # fmt: skip


def test_max_tokens_is_set_under_a_budget_only(
    manager_of: Any, configured: Configure, bills: Bills, local_aws: LocalAWS
) -> None:
    manager_of("b: {usd: 1, per: day}", more="budgets_max_tokens: 77").chat_model("a").invoke("x")
    ManagedBedrockChat("a", config=configured(AGENT)).invoke("x")

    first, second = (call.body.get("inferenceConfig") for call in local_aws.calls(SONNET))
    assert first == {"maxTokens": 77}
    assert not second


def test_an_answer_cut_at_the_budgets_cap_says_so(
    manager_of: Any, bills: Bills, caplog: pytest.LogCaptureFixture
) -> None:
    manager = manager_of("b: {usd: 1, per: day}")
    bills.stop_reason = "max_tokens"

    for _ in range(2):
        reply = manager.chat_model("a").invoke("x")
        assert reply.response_metadata["model_manager"]["max_tokens_set_by"] == "budget"

    own = manager.chat_model("a", max_tokens=50).invoke("x")
    assert "max_tokens_set_by" not in own.response_metadata["model_manager"]
    assert caplog.text.count("an answer was cut at 4096 tokens") == 1


def test_a_refused_request_costs_nothing(
    manager_of: Any, bills: Bills, local_aws: LocalAWS
) -> None:
    manager = manager_of("b: {usd: 1, per: day}")
    local_aws.fail(SONNET, "ThrottlingException")

    with pytest.raises(ModelManagerError):
        manager.chat_model("a").invoke("x")

    assert spent(manager).spent == spent(manager).held == 0


def test_a_broken_attempt_is_charged_as_reserved(
    manager_of: Any, bills: Bills, local_aws: LocalAWS
) -> None:
    manager = manager_of("b: {usd: 1, per: day}")
    local_aws.cut(SONNET, after=1)

    with pytest.raises(ModelManagerError):
        list(manager.chat_model("a").stream("x"))

    status = spent(manager)
    assert status.spent == status.uncertain > SONNET_COST
    assert status.held == 0


def test_a_stream_that_is_closed_early_is_charged_as_reserved(
    manager_of: Any, bills: Bills
) -> None:
    manager = manager_of("b: {usd: 1, per: day}")
    stream = manager.chat_model("a").stream("x")
    next(stream)

    assert spent(manager).held > 0
    stream.close()

    assert spent(manager).held == 0
    assert spent(manager).uncertain > 0


def test_a_cheaper_fallback_answers_when_the_primary_cant_be_paid(
    manager_of: Any, bills: Bills
) -> None:
    agents = f"a: {{model: '{SONNET}', fallbacks: ['{HAIKU}'], max_tokens: 1000}}"
    manager = manager_of("b: {usd: 0.01, per: day}", agents)

    report = manager.chat_model("a").invoke("x").response_metadata["model_manager"]

    assert report["model_id"] == HAIKU
    assert report["skipped"] == [{"model_id": SONNET, "reason": "Budget 'b' can't pay for it"}]
    assert bills.models == [HAIKU]


def test_a_failure_is_raised_as_without_budgets_with_a_note_of_who_was_not_paid(
    manager_of: Any, bills: Bills, local_aws: LocalAWS
) -> None:
    agents = f"a: {{model: '{HAIKU}', fallbacks: ['{SONNET}'], max_tokens: 1000, retries: 0}}"
    manager = manager_of("b: {usd: 0.01, per: day}", agents)
    local_aws.fail(HAIKU, "ThrottlingException")

    with pytest.raises(ModelManagerError) as caught:
        manager.chat_model("a").invoke("x")

    assert "RateLimit" in type(caught.value).__name__
    assert f"{SONNET} was not called: budget 'b' can't pay for it" in caught.value.__notes__
