"""Async calls under a budget: held and settled as on threads, and no thread waits for the reply."""

from __future__ import annotations

import asyncio
import threading
from contextlib import contextmanager
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from langchain_modelmgr.bedrock import wire
from langchain_modelmgr.budgets.attempt_budget import STORE_THREADS, AttemptBudget
from langchain_modelmgr.budgets.settlements import SETTLEMENTS
from langchain_modelmgr.errors import BudgetExceededError, BudgetStoreError
from langchain_modelmgr.runtime.workers import WORKERS
from tests.budgets.conftest import SONNET_COST
from tests.chain.awaited import awaiting, until, wait
from tests.models import HAIKU, SONNET

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from langchain_modelmgr import ModelManager
    from langchain_modelmgr.local import LocalAWS
    from tests.agents import Configure
    from tests.budgets.conftest import Bills

MODES = pytest.mark.parametrize("mode", ["ainvoke", "astream"])
MOST_THREADS = 60
"""The 32 threads that reserve, and a few others that a first use may start."""

ROOMY = "{usd: 100, per: day}"


@pytest.fixture(params=["auto", "memory"])
def ready(request: pytest.FixtureRequest, configured: Configure) -> Callable[..., Any]:
    def make(budget: str = ROOMY, agent: str = "fallbacks: []") -> Any:
        agents = f"a: {{model: '{SONNET}', retries: 0, cooldown_seconds: 0, {agent}}}"
        own = f"project_prefix: p{uuid4().hex}\nstate: {request.param}"  # memory is the process's
        return awaiting(configured, agents, f"{own}\nbudgets: {{b: {budget}}}")

    return make


def status(manager: ModelManager) -> Any:
    (found,) = manager.budget_status()
    return found


async def ask(manager: ModelManager, mode: str) -> None:
    llm = manager.chat_model("a")
    if mode == "ainvoke":
        await llm.ainvoke("x")
        return
    async for _ in llm.astream("x"):
        pass


class Held:
    """Steps of a manager's store that wait until they may go on.

    Attributes:
        begun: The names of the steps that have begun.
    """

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.go_on = threading.Event()

    def hold(self, step: Callable[..., Any], name: str) -> Callable[..., Any]:
        def held(*given: Any, **more: Any) -> Any:
            self.begun.append(name)
            self.go_on.wait(60)
            return step(*given, **more)

        return held


@contextmanager
def held_up(manager: ModelManager, monkeypatch: pytest.MonkeyPatch, *steps: str) -> Iterator[Held]:
    """Hold up steps of a manager's store, until the end of the block at most."""
    store, held = manager.budgets._store(), Held()
    for name in steps:
        monkeypatch.setattr(store, name, held.hold(getattr(store, name), name))
    try:
        yield held
    finally:
        held.go_on.set()


@MODES
def test_an_awaited_call_is_settled_when_it_returns(ready: Any, bills: Bills, mode: str) -> None:
    with ready() as (manager, sink):
        manager.reset_budget("b")

        async def figures() -> tuple[Any, ...]:
            await ask(manager, mode)
            # Not budget_status(), which waits for settlements of other threads.
            store = manager.budgets._store()
            (limit,) = manager.budgets._limits
            (found,) = await asyncio.to_thread(store.figures, limit.stored, limit.calendar)
            return found.spent, found.held, found.uncertain

        assert asyncio.run(figures()) == (int(SONNET_COST * 10**9), 0, 0)
        assert set(sink.names) == {"MainThread"}


@MODES
def test_many_calls_at_once_need_few_threads_and_never_exceed_the_limit(
    ready: Any, bills: Bills, local_aws: LocalAWS, mode: str
) -> None:
    with ready() as (manager, sink):
        manager.reset_budget("b")
        local_aws.latency(SONNET, 0.3)
        before = set(threading.enumerate())  # of other tests, too
        started: set[threading.Thread] = set()

        async def all_at_once() -> None:
            calls = [asyncio.create_task(ask(manager, mode)) for _ in range(150)]
            while not all(call.done() for call in calls):
                started.update(set(threading.enumerate()) - before)
                await asyncio.sleep(0.01)
            await asyncio.gather(*calls)

        asyncio.run(all_at_once())

        assert len(started) < MOST_THREADS
        assert len(sink.records) == 150
        assert (status(manager).spent, status(manager).held) == (150 * SONNET_COST, 0)


@MODES
def test_a_budget_that_refuses_some_is_not_overshot(ready: Any, bills: Bills, mode: str) -> None:
    with ready("{tokens: 600, per: day}", "max_tokens: 50, fallbacks: []") as (manager, _):
        manager.reset_budget("b")
        bills.models.clear()

        async def all_at_once() -> list[Any]:
            calls = (ask(manager, mode) for _ in range(60))
            return await asyncio.gather(*calls, return_exceptions=True)

        ended = asyncio.run(all_at_once())

        refused = [e for e in ended if isinstance(e, BudgetExceededError)]
        assert len(refused) + len(bills.models) == 60
        assert bills.tokens() == status(manager).spent <= 600
        assert status(manager).held == 0


@MODES
def test_one_call_after_the_other_finds_the_money_of_the_first(
    ready: Any, bills: Bills, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ready("{tokens: 230, per: day}", "max_tokens: 50, fallbacks: []") as (manager, _):
        manager.reset_budget("b")
        settle = SETTLEMENTS.settle
        pause = threading.Event()

        def slowly(*given: Any) -> None:
            pause.wait(0.05)
            settle(*given)

        monkeypatch.setattr(SETTLEMENTS, "settle", slowly)

        async def calls() -> None:
            for _ in range(5):  # 30 tokens each, of which some 70 are held until it is settled
                await ask(manager, mode)

        asyncio.run(calls())

        assert status(manager).spent == 150


@MODES
def test_a_failed_attempt_gives_its_money_back_before_the_next_candidate(
    ready: Any, bills: Bills, local_aws: LocalAWS, mode: str
) -> None:
    agent = f"max_tokens: 50, fallbacks: ['{HAIKU}']"
    with ready("{tokens: 120, per: day}", agent) as (manager, _):
        manager.reset_budget("b")
        local_aws.fail(SONNET, "ThrottlingException")

        asyncio.run(ask(manager, mode))

        assert (status(manager).spent, status(manager).held) == (30, 0)


@MODES
def test_a_task_that_is_cancelled_while_it_reserves_holds_and_sends_nothing(
    ready: Any, bills: Bills, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    with ready() as (manager, sink):
        manager.reset_budget("b")
        bills.models.clear()
        with held_up(manager, monkeypatch, "reserve") as held:

            async def cancelled() -> None:
                call = asyncio.create_task(ask(manager, mode))
                await until(lambda: held.begun == ["reserve"])
                call.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await call

            asyncio.run(cancelled())

        wait(lambda: status(manager).held == 0)
        assert status(manager).spent == 0
        assert bills.models == []
        assert sink.records == ()


@MODES
def test_if_boto3_must_send_after_all_the_money_is_reserved_once(
    ready: Any, bills: Bills, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    with ready() as (manager, sink):
        manager.reset_budget("b")
        monkeypatch.setattr(wire, "direct_request", lambda *_: None)

        asyncio.run(ask(manager, mode))

        assert (status(manager).spent, status(manager).held) == (SONNET_COST, 0)
        assert [record.outcome for record in sink.records] == ["answered"]


def test_a_stream_that_is_left_is_settled_as_uncertain(ready: Any, bills: Bills) -> None:
    with ready() as (manager, sink):
        manager.reset_budget("b")

        async def leave() -> None:
            stream: Any = manager.chat_model("a").astream("x")
            await anext(stream)
            await stream.aclose()

        asyncio.run(leave())

        wait(lambda: status(manager).held == 0)
        assert status(manager).uncertain > 0
        assert [record.outcome for record in sink.records] == ["aborted"]


@MODES
def test_a_call_that_may_wait_for_money_has_a_thread(ready: Any, bills: Bills, mode: str) -> None:
    with ready("{usd: 100, per: day, wait_seconds: 5}") as (manager, sink):
        asyncio.run(ask(manager, mode))

        assert set(sink.names) != {"MainThread"}
        assert status(manager).held == Decimal(0)


@MODES
def test_the_event_loop_goes_on_while_a_store_takes_long(
    ready: Any, bills: Bills, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    with ready() as (manager, _):
        with held_up(manager, monkeypatch, "reserve", "settle") as held:

            async def both() -> None:
                call = asyncio.create_task(ask(manager, mode))
                await until(lambda: held.begun == ["reserve"])  # the loop runs meanwhile
                held.go_on.set()
                await call

            asyncio.run(both())
        assert status(manager).held == 0


@MODES
@pytest.mark.parametrize("cancelled", [False, True])
def test_a_store_that_hangs_delays_no_call_of_another_store(
    ready: Any, bills: Bills, monkeypatch: pytest.MonkeyPatch, mode: str, *, cancelled: bool
) -> None:
    with ready() as (hanging, _), ready() as (other, sink):
        other.reset_budget("b")
        with held_up(hanging, monkeypatch, "reserve", "settle") as held:

            async def both() -> None:
                slow = [asyncio.create_task(ask(hanging, mode)) for _ in range(STORE_THREADS + 8)]
                await until(lambda: len(held.begun) == STORE_THREADS)
                if cancelled:
                    for call in slow:
                        call.cancel()
                await ask(other, mode)
                held.go_on.set()
                await asyncio.gather(*slow, return_exceptions=True)

            asyncio.run(both())

        assert len(sink.records) == 1
        assert status(other).spent == SONNET_COST
        wait(lambda: status(hanging).held == 0)


@MODES
def test_a_call_waits_for_the_store_no_longer_than_its_deadline(
    ready: Any, bills: Bills, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    with ready() as (manager, sink):
        monkeypatch.setattr(AttemptBudget, "_seconds_left", lambda _: 0.2)
        bills.models.clear()
        refused = pytest.raises(BudgetStoreError, match="the budgets was busy until the call's")
        with held_up(manager, monkeypatch, "reserve"), refused:
            asyncio.run(ask(manager, mode))

        wait(lambda: status(manager).held == 0)
        assert (bills.models, sink.records) == ([], ())


@MODES
def test_an_answer_waits_for_its_settlement_no_longer_than_its_deadline(
    ready: Any, bills: Bills, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    with ready() as (manager, sink):
        manager.reset_budget("b")
        monkeypatch.setattr(
            AttemptBudget, "_seconds_left", lambda self: 0.2 if self._settling else 60.0
        )
        with held_up(manager, monkeypatch, "settle") as held:
            asyncio.run(ask(manager, mode))

            assert [record.outcome for record in sink.records] == ["answered"]
            assert held.begun == ["settle"]
            assert not held.go_on.is_set()
        assert (status(manager).spent, status(manager).held) == (SONNET_COST, 0)


@MODES
def test_a_task_that_is_cancelled_while_it_settles_breaks_no_thread(
    ready: Any, bills: Bills, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    broken: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", broken.append)
    with ready() as (manager, _):
        manager.reset_budget("b")
        with held_up(manager, monkeypatch, "settle") as held:

            async def cancelled() -> None:
                call = asyncio.create_task(ask(manager, mode))
                await until(lambda: held.begun == ["settle"])
                call.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await call

            asyncio.run(cancelled())

        assert (status(manager).spent, status(manager).held) == (SONNET_COST, 0)
        assert broken == []


@MODES
def test_without_a_thread_for_the_settlement_the_answer_is_returned(
    ready: Any, bills: Bills, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    with ready() as (manager, _):
        manager.reset_budget("b")
        run, none_left = WORKERS.run, threading.Event()

        def start(work: Callable[[], None]) -> None:
            if none_left.is_set():
                raise RuntimeError("can't start new thread")
            run(work)

        monkeypatch.setattr(WORKERS, "run", start)
        answer = type(bills).__call__

        def then_no_thread(made: Bills, request: Any) -> Any:
            none_left.set()
            return answer(made, request)

        monkeypatch.setattr(type(bills), "__call__", then_no_thread)

        asyncio.run(ask(manager, mode))

        none_left.clear()
        assert (status(manager).spent, status(manager).held) == (SONNET_COST, 0)
