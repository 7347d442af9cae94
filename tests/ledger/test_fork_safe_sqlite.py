"""Connections close their database, also those that are only collected."""

from __future__ import annotations

import gc
import warnings
from typing import TYPE_CHECKING

from langchain_modelmgr.ledger.fork_safe_sqlite import connect

if TYPE_CHECKING:
    from pathlib import Path


def test_a_connection_that_is_collected_closes_its_database_without_a_warning(
    tmp_path: Path,
) -> None:
    connection = connect(str(tmp_path / "a.db"))
    connection.execute("create table t (a)")
    wal = tmp_path / "a.db-wal"
    connection.execute("pragma journal_mode = wal").fetchall()
    connection.execute("insert into t values (1)")
    connection.commit()
    assert wal.exists()

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del connection
        gc.collect()

    assert not wal.exists()  # the last connection removes it
    assert [w for w in caught if "unclosed database" in str(w.message)] == []
