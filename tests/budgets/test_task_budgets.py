"""Budgets of tasks: blocks, names, metadata, threads."""

from __future__ import annotations

import asyncio
import contextvars
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from langchain_modelmgr import ModelManager
from langchain_modelmgr.errors import BudgetExceededError, ConfigurationError
from tests.budgets.conftest import SONNET_COST, Bills
from tests.models import SONNET

if TYPE_CHECKING:
    from tests.agents import Configure

AGENT = f"a: {{model: '{SONNET}', fallbacks: [], max_tokens: 100}}"


@pytest.fixture
def manager(configured: Configure, bills: Bills) -> ModelManager:
    return ModelManager(configured(AGENT))


@pytest.fixture
def llm(manager: ModelManager) -> Any:
    return manager.chat_model("a")


def test_a_block_limits_the_calls_inside_it(manager: ModelManager, llm: Any, bills: Bills) -> None:
    with manager.budget(usd="0.002") as task:
        llm.invoke("x")
        llm.invoke("x")
        assert (task.spent, task.held) == (2 * SONNET_COST, 0)
        with pytest.raises(BudgetExceededError, match="budget 'task'"):
            llm.invoke("x")

    llm.invoke("x")
    assert len(bills.models) == 3
    assert task.remaining == task.limit.amount(task.limit.limit) - 2 * SONNET_COST


def test_blocks_nest_and_a_call_must_fit_all(manager: ModelManager, llm: Any) -> None:
    with manager.budget(usd=1) as outer, manager.budget(tokens=200) as inner:
        llm.invoke("x")
        with pytest.raises(BudgetExceededError):
            llm.invoke("x" * 100)

    assert outer.spent == SONNET_COST
    assert inner.spent == 30
    assert outer.held == inner.held == 0


def test_the_same_name_continues_what_was_spent(
    manager: ModelManager, llm: Any, configured: Configure
) -> None:
    with manager.budget("nightly", usd=1):
        llm.invoke("x")

    again = ModelManager(configured(AGENT)).budget("nightly", usd=2)

    assert again.spent == SONNET_COST
    manager.reset_budget("nightly")
    assert again.spent == 0


def test_a_block_holds_the_calls_of_every_manager_of_its_project(
    manager: ModelManager, configured: Configure
) -> None:
    other = ModelManager(configured(AGENT))
    foreign = ModelManager(configured(AGENT, "project_prefix: elsewhere"))

    with manager.budget(usd=1) as task:
        other.chat_model("a").invoke("x")
        foreign.chat_model("a").invoke("x")

    assert task.spent == SONNET_COST


def test_metadata_names_a_task_in_any_thread(manager: ModelManager, llm: Any) -> None:
    task = manager.budget("job", usd=1)

    with ThreadPoolExecutor(1) as pool:
        pool.submit(llm.invoke, "x", {"metadata": {"modelmgr_task": "job"}}).result()
    manager.invoke_model(
        "a", [{"role": "user", "content": [{"text": "x"}]}], metadata={"modelmgr_task": "job"}
    )

    assert task.spent == 2 * SONNET_COST


def test_metadata_and_block_together_count_once(manager: ModelManager, llm: Any) -> None:
    with manager.budget("job", usd=1) as task:
        llm.invoke("x", {"metadata": {"modelmgr_task": "job"}})

    assert task.spent == SONNET_COST


def test_an_unknown_task_is_an_error_and_a_tracked_one_is_not(
    manager: ModelManager, llm: Any, bills: Bills
) -> None:
    manager.budget("job", usd=1)

    with pytest.raises(ConfigurationError, match="task 'jbo' has no budget"):
        llm.invoke("x", {"metadata": {"modelmgr_task": "jbo"}})
    with manager.track("tracked") as usage:
        llm.invoke("x", {"metadata": {"modelmgr_task": "tracked"}})

    assert usage.calls == 1
    assert len(bills.models) == 1


def test_a_bound_function_is_held_in_a_plain_thread(manager: ModelManager, llm: Any) -> None:
    task = manager.budget(usd=1)

    with ThreadPoolExecutor(1) as pool:
        pool.submit(llm.invoke, "x").result()
        pool.submit(task.bind(llm.invoke), "x").result()

    assert task.spent == SONNET_COST


async def test_tasks_of_asyncio_inherit_the_block(manager: ModelManager, llm: Any) -> None:
    with manager.budget(usd=1) as task:
        await asyncio.gather(*(llm.ainvoke("x") for _ in range(3)))

    assert task.spent == 3 * SONNET_COST


def test_a_block_may_be_left_in_another_context(manager: ModelManager, llm: Any) -> None:
    task = manager.budget(usd=1)
    entered = contextvars.copy_context()
    entered.run(task.__enter__)

    contextvars.copy_context().run(task.__exit__, None, None, None)
    entered.run(llm.invoke, "x")

    assert task.spent == 0


@pytest.mark.parametrize(
    "wrong",
    [{}, {"usd": 1, "tokens": 1}, {"usd": "x"}, {"usd": -1}, {"usd": "NaN"}, {"tokens": 0},
     {"usd": 10_000_000}],
)  # fmt: skip
def test_a_wrong_limit_is_a_configuration_error(manager: ModelManager, wrong: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"usd|tokens"):
        manager.budget("job", **wrong)


def test_another_project_may_name_tasks_that_have_no_budget(
    configured: Configure, bills: Bills
) -> None:
    with ModelManager(configured(AGENT)).budget("t", usd="1"):
        pass
    other = ModelManager(configured(AGENT, "project_prefix: other"))

    other.chat_model("a").invoke("x", {"metadata": {"modelmgr_task": "tracked before"}})

    assert len(bills.models) == 1
