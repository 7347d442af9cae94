"""The ledger reports obstacles, loses nothing else to them, and recovers once they are gone."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from langchain_modelmgr.ledger import retention
from tests.ledger.support import attempt_start, in_another_process, invocations, opened, query
from tests.ledger.support import write as write_attempts
from tests.support import ROOT
from tests.usage_records import make

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from langchain_modelmgr.local import LocalAWS


def become_a_folder(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.mkdir()


def become_a_link_to_nowhere(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.symlink_to(path.parent / "no" / "such" / "file")


def become_a_pipe(path: Path) -> None:
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def become_unreadable(path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root reads everything")
    path.chmod(0)


ODD_FILES = [
    become_a_folder,
    become_a_link_to_nowhere,
    pytest.param(
        become_a_pipe, marks=pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="POSIX only")
    ),
    become_unreadable,
]


@pytest.mark.parametrize("spoil", ODD_FILES)
@pytest.mark.parametrize("suffix", [".lock", "-000001.jsonl"])
def test_a_file_of_another_process_that_cant_be_opened_stops_no_other(
    folder: Path, local_aws: LocalAWS, spoil: Callable[[Path], None], suffix: str
) -> None:
    in_another_process(folder, "write(ledger, sink, 3)")
    in_another_process(folder, "write(ledger, sink, 4)")
    first = min((folder / "segments").glob(f"*{suffix}"))
    spoil(first)
    ledger, sink = opened(folder)

    write_attempts(ledger, sink)
    ledger.flush()

    assert invocations(local_aws) in ({8} if suffix == ".lock" else {4, 5})
    assert sink.stats().errors == 0
    ledger.close()


def test_another_programs_database_is_named_and_left_as_it_is(
    folder: Path, local_aws: LocalAWS, caplog: pytest.LogCaptureFixture
) -> None:
    folder.mkdir()
    path = folder / "ledger.db"
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE customers (name TEXT)")
        other.execute("INSERT INTO customers VALUES ('x')")
        other.commit()
    before = path.read_bytes()
    ledger, sink = opened(folder)

    write_attempts(ledger, sink, 2)
    ledger.flush()

    assert path.read_bytes() == before
    assert "ledger.db is another program's database" in caplog.text
    path.unlink()
    ledger.flush()
    assert invocations(local_aws) == 2
    ledger.close()


@pytest.mark.parametrize("version", [1, 7])
def test_another_programs_database_with_a_version_is_recognised_by_its_tables(
    folder: Path, version: int, caplog: pytest.LogCaptureFixture
) -> None:
    folder.mkdir()
    path = folder / "ledger.db"
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE attempts (door TEXT)")
        other.execute(f"PRAGMA user_version = {version}")
        other.commit()
    before = path.read_bytes()
    ledger, sink = opened(folder)

    write_attempts(ledger, sink)
    ledger.ingest()

    assert path.read_bytes() == before
    assert "ledger.db is another program's database" in caplog.text


def test_a_ledger_in_memory_keeps_within_its_room_and_counts_what_it_gives_up(
    local_aws: LocalAWS, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from langchain_modelmgr.ledger.database_file import used_bytes

    monkeypatch.setattr(retention, "MEMORY_MB", 1)
    for name, value in local_aws.env().items():
        monkeypatch.setenv(name, value)
    local_aws.metrics.throttle(1.0)
    ledger, sink = opened(None)

    for n in range(8_000):
        write_attempts(ledger, sink, 1, agent_name=f"agent-{n % 100}", latency_ms=n * 1.01)
    ledger.ingest()
    ledger._work(None)

    assert used_bytes(ledger._database.open()) <= 1_000_000
    stats = sink.stats()
    assert stats.recorded == 8_000 * 5 == stats.sent + stats.kept + stats.dropped + stats.ambiguous
    ledger.close()


def test_a_program_ends_at_once_and_quietly_after_its_local_aws(tmp_path: Path) -> None:
    program = f"""
import atexit, socket, sys, threading
touched = []
def tell():
    print("connections", len(touched))
atexit.register(tell)
from pathlib import Path
sys.path.insert(0, {str(ROOT)!r})
from langchain_modelmgr.local import LocalAWS
from tests.ledger.support import configured_manager
from langchain_modelmgr.runtime.at_exit import AT_EXIT
AT_EXIT.seconds = 600.0
with LocalAWS.running() as aws:
    manager = configured_manager(Path({str(tmp_path / "ledger")!r}))
    manager.chat_model("a").invoke("x")
    port = int(aws.url.rpartition(":")[2])
listener = socket.create_server(("127.0.0.1", port))
def listen():
    while True:
        connection, _ = listener.accept()
        touched.append(connection)
        connection.close()
threading.Thread(target=listen, daemon=True).start()
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=200, check=True
    )  # long before the time that it has for deliveries

    assert (done.stdout, done.stderr) == ("connections 0\n", "")


def test_a_folder_that_can_be_used_later_gets_what_was_recorded_before(
    folder: Path, local_aws: LocalAWS
) -> None:
    folder.write_text("not a folder")
    ledger, sink = opened(folder)
    entry = ledger.attempt_started(attempt_start(ledger))
    write_attempts(ledger, sink, 2)
    ledger.flush()
    local_aws.metrics.throttle(1.0)
    write_attempts(ledger, sink, 3)
    ledger.flush(0.5)
    folder.unlink()

    local_aws.metrics.clear_faults()
    ledger.flush()
    ledger.attempt_ended(entry, make())
    write_attempts(ledger, sink, 1)
    ledger.flush()

    assert (folder / "ledger.db").exists()
    assert query(ledger, "select count(*) from attempts") == [(7,)]
    assert query(ledger, "select sum(attempts) from totals") == [(7,)]
    assert query(ledger, "select sum(recorded), sum(sent) from destinations") == [(35, 35)]
    assert invocations(local_aws) == 7
    assert (sink.stats().recorded, sink.stats().sent, sink.stats().kept) == (35, 35, 0)
    ledger.close()
    assert not list((folder / "segments").iterdir())
