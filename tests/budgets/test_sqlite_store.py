"""Budgets in SQLite: several processes, forks, threads that wait, and streams that are collected."""

from __future__ import annotations

import gc
import multiprocessing
import os
import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from langchain_modelmgr import ModelManager
from langchain_modelmgr.budgets.sqlite_store import SqliteStore
from langchain_modelmgr.budgets.store import (
    Claim,
    Reservation,
    StoreBusyError,
    StoreUnreachableError,
)
from langchain_modelmgr.budgets.windows import calendar
from tests.models import SONNET

if TYPE_CHECKING:
    from pathlib import Path

    from tests.agents import Configure
    from tests.budgets.conftest import Bills

TOTAL = calendar("total")


def claim(amount: int, limit: int = 100) -> Claim:
    return Claim("b", "", TOTAL, limit, amount)


def reserve(store: SqliteStore, amount: int, limit: int = 100, seconds: float = 60) -> Any:
    return store.reserve([claim(amount, limit)], seconds=60, deadline=time.monotonic() + seconds)


def figures(store: SqliteStore) -> list[tuple[int, int, int]]:
    return [(f.spent, f.held, f.uncertain) for f in store.figures("b", TOTAL)]


@pytest.fixture
def store(tmp_path: Path) -> SqliteStore:
    return SqliteStore(tmp_path / "budgets.db")


def spend(path: Path, times: int) -> None:
    store = SqliteStore(path)
    for _ in range(times):
        made = reserve(store, 10, 100)
        if isinstance(made, Reservation):
            store.settle(made.id, [1])


def test_processes_share_a_limit(store: SqliteStore) -> None:
    context = multiprocessing.get_context("spawn")
    running = [context.Process(target=spend, args=(store.path, 60)) for _ in range(3)]

    for process in running:
        process.start()
    for process in running:
        process.join(120)

    ((spent, held, uncertain),) = figures(store)
    assert 91 <= spent <= 100
    assert held == uncertain == 0


def test_threads_that_wait_share_a_transaction_and_a_limit(store: SqliteStore) -> None:
    def call(_: int) -> bool:
        made = reserve(store, 10, 200)
        if not isinstance(made, Reservation):
            return False
        store.settle(made.id, [7])
        return True

    with ThreadPoolExecutor(16) as pool:
        made = sum(pool.map(call, range(200)))

    assert figures(store) == [(7 * made, 0, 0)]
    assert 20 <= made <= 28


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_continues_the_same_budget(store: SqliteStore) -> None:
    one = reserve(store, 10)
    child = os.fork()
    if child == 0:
        made = reserve(store, 20)
        store.settle(made.id, [15])
        os._exit(0)

    assert os.waitpid(child, 0)[1] == 0
    store.settle(one.id, [1])
    assert figures(store) == [(16, 0, 0)]


def test_a_busy_file_is_waited_for_until_the_deadline(store: SqliteStore) -> None:
    reserve(store, 1)
    other = sqlite3.connect(store.path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")

    with pytest.raises(StoreBusyError):
        reserve(store, 1, seconds=0.1)
    thread = threading.Thread(target=reserve, args=(store, 1))
    thread.start()
    other.execute("COMMIT")
    thread.join(60)
    other.close()

    assert figures(store) == [(0, 2, 0)]


def test_a_row_that_cant_be_read_is_an_error_of_the_store(store: SqliteStore) -> None:
    made = reserve(store, 1)
    other = sqlite3.connect(store.path, isolation_level=None)
    other.execute("UPDATE held SET parts = 'no JSON'")
    other.close()

    with pytest.raises(StoreUnreachableError):
        SqliteStore(store.path).settle(made.id, [1])

    assert figures(store) == [(0, 1, 0)]


def test_a_stream_that_is_collected_is_settled(configured: Configure, bills: Bills) -> None:
    manager = ModelManager(
        configured(
            f"a: {{model: '{SONNET}', fallbacks: [], max_tokens: 100}}",
            "budgets: {t: {tokens: 1000, per: total}}",
        )
    )
    ring: list[Any] = []
    stream = manager.chat_model("a").stream("x")
    next(stream)
    ring += [ring, stream]
    del stream, ring

    gc.collect()

    (status,) = manager.budget_status()
    assert status.held == 0
    assert status.uncertain == status.spent > 0
