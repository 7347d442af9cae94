"""The ledger's database: exact sums, read-only queries, and files of its owner's alone."""

from __future__ import annotations

import sqlite3
import stat
import threading
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from langchain_modelmgr.ledger.database_file import (
    FILE_NAME,
    open_readonly,
    open_store,
    readonly_copy,
    transaction,
    used_bytes,
)
from langchain_modelmgr.ledger.schema import ATTEMPT_COLUMNS, TOTALS_KEY, TOTALS_SUMS, VERSION

if TYPE_CHECKING:
    from pathlib import Path


def insert(connection: sqlite3.Connection, **changes: Any) -> None:
    row = dict.fromkeys(ATTEMPT_COLUMNS) | {
        "time": "2026-11-26T07:03:31.250Z", "environment": "dev", "agent": "sql_agent",
        "model": "m", "outcome": "answered", "attempt": 1, "is_fallback": 0, "call_id": "c",
        **changes,
    }  # fmt: skip
    marks = ", ".join("?" * len(row))
    columns = ", ".join(row)
    connection.execute(
        f"INSERT INTO attempts ({columns}) VALUES ({marks})",  # noqa: S608 - our own names
        tuple(row.values()),
    )


def test_costs_add_up_exactly_and_read_as_usd(tmp_path: Path) -> None:
    with closing(open_store(tmp_path)) as store:
        for _ in range(10):
            insert(store, cost_pico_usd=100_000_000_000)

        exact, usd = store.execute(
            "select sum(cost_pico_usd), max(cost_usd) from attempts"
        ).fetchone()

    assert exact == 10**12
    assert usd == 0.1


def test_a_database_in_memory_has_the_same_tables(tmp_path: Path) -> None:
    def tables(connection: sqlite3.Connection) -> list[tuple[Any, ...]]:
        return connection.execute(
            "select type, name, sql from sqlite_master order by name"
        ).fetchall()

    with closing(open_store(tmp_path)) as disk, closing(open_store(None)) as memory:
        assert tables(disk) == tables(memory)


def test_the_columns_that_are_written_are_the_tables_own() -> None:
    with closing(open_store(None)) as store:
        for table, columns in (("attempts", ATTEMPT_COLUMNS), ("totals", TOTALS_KEY + TOTALS_SUMS)):
            found = {row[1] for row in store.execute(f"PRAGMA table_info({table})")}

            assert set(columns) == found - {"id"}


def test_a_read_only_connection_refuses_to_write(tmp_path: Path) -> None:
    with closing(open_store(tmp_path)) as disk, closing(open_store(None)) as memory:
        insert(disk)
        insert(memory)
        with closing(open_readonly(tmp_path)) as reader, closing(readonly_copy(memory)) as copy:
            for connection in (reader, copy):
                assert connection.execute("select count(*) from attempts").fetchone() == (1,)
                with pytest.raises(sqlite3.OperationalError, match="readonly"):
                    connection.execute("delete from attempts")


def test_reading_where_no_ledger_is_makes_none(tmp_path: Path) -> None:
    with pytest.raises(sqlite3.OperationalError, match="unable to open"):
        open_readonly(tmp_path / "none")

    assert not (tmp_path / "none").exists()


def test_files_are_readable_by_their_owner_alone(tmp_path: Path) -> None:
    folder = tmp_path / "state"

    with closing(open_store(folder)) as store:
        insert(store)
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}

    assert set(modes.values()) == {0o600}
    assert FILE_NAME in modes
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_transaction_that_fails_leaves_nothing() -> None:
    with closing(open_store(None)) as store:
        with pytest.raises(RuntimeError), transaction(store):
            insert(store)
            raise RuntimeError

        assert store.execute("select count(*) from attempts").fetchone() == (0,)
        with transaction(store):
            insert(store)


@pytest.mark.parametrize("_", range(20))
def test_threads_that_open_a_new_ledger_at_once_create_one(tmp_path: Path, _: int) -> None:
    failed: list[Exception] = []

    def work() -> None:
        try:
            with closing(open_store(tmp_path)) as store, transaction(store):
                insert(store)
        except Exception as error:  # noqa: BLE001 - checked below
            failed.append(error)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert not failed
    with closing(open_readonly(tmp_path)) as reader:
        assert reader.execute("select count(*) from attempts").fetchone() == (8,)


def test_a_newer_versions_database_is_used_as_it_is(tmp_path: Path) -> None:
    with closing(open_store(tmp_path)) as store:
        store.execute("alter table attempts add column newer text")
        store.execute(f"PRAGMA user_version = {VERSION + 1}")

    with closing(open_store(tmp_path)) as store:
        insert(store)

        assert store.execute("PRAGMA user_version").fetchone() == (VERSION + 1,)
        assert used_bytes(store) > 0
