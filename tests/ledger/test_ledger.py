"""What was written is stored once, and published once, whatever ends the process that wrote it."""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING

import pytest

from langchain_modelmgr.runtime.interval_worker import Order
from tests.ledger.killed_writers import prove
from tests.ledger.support import (
    UNREADABLE_LINES,
    attempt_start,
    in_another_process,
    invocations,
    opened,
    query,
    write,
)
from tests.usage_records import make

if TYPE_CHECKING:
    from pathlib import Path

    from langchain_modelmgr.local import LocalAWS


def test_random_kills_lose_and_double_nothing() -> None:
    found = prove(4, processes=2, threads=2, seed=1)

    found.check()


def test_records_of_an_outage_arrive_once_after_close(folder: Path, local_aws: LocalAWS) -> None:
    ledger, sink = opened(folder)
    local_aws.metrics.fail("ServiceUnavailable", times=100)
    write(ledger, sink, 10)
    ledger.close()
    local_aws.metrics.clear_faults()

    write(ledger, sink)
    ledger.flush()

    assert invocations(local_aws) == 11
    stats = sink.stats()
    assert (stats.recorded, stats.sent, stats.kept) == (55, 55, 0)


@pytest.mark.parametrize("line", UNREADABLE_LINES)
def test_an_odd_line_costs_itself_and_no_other(
    folder: Path, local_aws: LocalAWS, line: bytes
) -> None:
    (folder / "segments").mkdir(parents=True)
    segment = folder / "segments" / f"{'0' * 32}-000001.jsonl"
    now = int(time.time() * 1000)
    good = (
        f'[1,"old","m",null,null,1,{now},1,0,1,null,null]\n'
        f"[2,null,null,1,{now},0,1,2,0,0,0,5,null,1.5,null,null]\n"
    ).encode()
    segment.write_bytes(b'{"segment":1,"environment":"dev"}\n' + line + b"\n" + good)
    segment.with_name(f"{'0' * 32}.lock").touch()
    ledger, sink = opened(folder)

    write(ledger, sink)
    ledger.flush()

    assert query(ledger, "select agent from attempts order by id") == [("sql_agent",), ("old",)]
    assert invocations(local_aws) == 1
    assert (folder / "rejected.jsonl").read_bytes() == line + b"\n"
    assert not segment.exists()
    ledger.close()


def test_a_line_that_was_cut_short_never_joins_the_next(folder: Path) -> None:
    ledger, sink = opened(folder)
    write(ledger, sink)
    segment = ledger._open_writer().segment
    assert segment.path is not None
    with segment.path.open("ab") as file:
        file.write(b'\n[1,"torn')

    write(ledger, sink)

    assert query(ledger, "select count(*) from attempts") == [(2,)]
    ledger.close()


def test_an_attempt_in_flight_at_a_kill_is_a_row_with_its_estimate(
    folder: Path, local_aws: LocalAWS
) -> None:
    in_another_process(folder, "ledger.attempt_started(attempt_start(ledger)); write(ledger, sink)")
    ledger, sink = opened(folder)

    write(ledger, sink)
    ledger.flush()

    rows = query(
        ledger,
        "select outcome, input_tokens, estimated_wasted_cost_pico_usd from attempts order by id",
    )
    assert ("lost", None, 5_000) in rows
    assert sorted(row[0] for row in rows) == ["answered", "answered", "lost"]
    assert query(ledger, "select count(*) from in_flight") == [(0,)]
    assert invocations(local_aws) == 3
    ledger.close()


def test_an_attempt_that_runs_while_its_manager_closes_ends_once(folder: Path) -> None:
    ledger, sink = opened(folder)
    entry = ledger.attempt_started(attempt_start(ledger))
    write(ledger, sink)
    ledger.close()

    ledger.attempt_ended(entry, make(run_id="late"))
    ledger.close()

    rows = query(ledger, "select outcome, count(*) from attempts group by outcome")
    assert rows == [("answered", 2)]
    ledger.close()


def test_records_of_a_dead_process_are_published_by_the_next_of_the_same_account(
    folder: Path, local_aws: LocalAWS
) -> None:
    in_another_process(folder, "write(ledger, sink, 7)")
    ledger, sink = opened(folder)

    write(ledger, sink)
    ledger.flush()

    assert invocations(local_aws) == 8
    assert (sink.stats().recorded, sink.stats().adopted) == (40, 35)
    ledger.close()
    assert list((folder / "segments").iterdir()) == []


@pytest.mark.parametrize("token", ["", "session-token"])
def test_another_accounts_usage_waits(
    folder: Path, local_aws: LocalAWS, monkeypatch: pytest.MonkeyPatch, token: str
) -> None:
    local_aws.account("AKIAOTHER", "222222222222")
    if token:
        monkeypatch.setenv("AWS_SESSION_TOKEN", token)
    in_another_process(folder, "write(ledger, sink, 7); ledger.ingest()")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAOTHER")
    ledger, sink = opened(folder)

    write(ledger, sink)
    ledger.flush()

    assert invocations(local_aws) == 1
    assert query(ledger, "select sum(data_points) from batches") == [(35,)]
    ledger.close()


def test_temporary_credentials_of_the_same_account_deliver_each_others_usage(
    folder: Path, local_aws: LocalAWS, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SESSION_TOKEN", "one")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "ASIAFIRST")
    in_another_process(folder, "write(ledger, sink, 7); ledger.ingest()")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "ASIASECOND")
    ledger, sink = opened(folder)

    write(ledger, sink)
    ledger.flush()

    assert invocations(local_aws) == 8
    ledger.close()


def test_a_batch_of_a_dead_sender_is_ambiguous_and_not_sent_again(
    folder: Path, local_aws: LocalAWS
) -> None:
    local_aws.metrics.hang(30)
    in_another_process(folder, "write(ledger, sink, 7); ledger.flush(1.5)")
    local_aws.metrics.clear_faults()
    ledger, sink = opened(folder)

    write(ledger, sink)
    ledger.flush()

    assert (sink.stats().ambiguous, sink.stats().sent) == (35, 5)
    ledger.close()


def test_a_folder_that_is_removed_is_made_again(folder: Path, local_aws: LocalAWS) -> None:
    import shutil

    ledger, sink = opened(folder)
    write(ledger, sink)
    ledger.flush()
    write(ledger, sink)
    shutil.rmtree(folder)

    write(ledger, sink)
    ledger.flush()

    assert invocations(local_aws) == 3
    ledger.close()


def test_a_full_disk_loses_nothing_and_writing_resumes_when_there_is_room(
    folder: Path, local_aws: LocalAWS
) -> None:
    resource, signal = pytest.importorskip("resource"), __import__("signal")
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    ledger, sink = opened(folder)
    write(ledger, sink, 3)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_500, limits[1]))
        write(ledger, sink, 20)
        ledger.flush(3)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)

    write(ledger, sink)
    ledger.flush()

    assert query(ledger, "select count(*) from attempts") == [(24,)]
    assert invocations(local_aws) == 24
    ledger.close()


def test_a_path_that_is_not_a_folder_leaves_the_ledger_in_memory(
    folder: Path, local_aws: LocalAWS, caplog: pytest.LogCaptureFixture
) -> None:
    folder.write_text("not a folder")
    ledger, sink = opened(folder)

    write(ledger, sink)
    ledger.flush()

    assert invocations(local_aws) == 1
    assert "the ledger's folder can't be used" in caplog.text
    ledger.close()


def test_emptied_attempts_and_segments_leave_nothing_to_publish(
    folder: Path, local_aws: LocalAWS
) -> None:
    ledger, sink = opened(folder)
    write(ledger, sink, 5)
    segment = ledger._open_writer().segment.path
    assert segment is not None
    os.truncate(segment, 0)

    ledger.flush()

    assert local_aws.metrics.put_requests == 0
    assert sink.stats().sent == 0


def test_records_for_a_stopped_local_server_are_discarded(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from langchain_modelmgr.local import LocalAWS

    with LocalAWS.running():
        ledger, sink = opened(tmp_path / "ledger")
        write(ledger, sink, 3)
    with LocalAWS.running() as second:
        ledger.flush()
        ledger.close()

        assert second.metrics.put_requests == 0
    assert caplog.records == []


def test_records_are_sent_to_the_endpoint_of_the_sinks_creation(
    local_aws: LocalAWS, tmp_path: Path
) -> None:
    from langchain_modelmgr.local import LocalAWS

    with LocalAWS() as other:
        with local_aws.environment():
            ledger, sink = opened(tmp_path / "ledger")
        with other.environment():
            write(ledger, sink)
            ledger.flush()

        assert invocations(local_aws) == 1
        assert other.metrics.put_requests == 0
    ledger.close()


def test_totals_equal_the_attempts(folder: Path) -> None:
    ledger, sink = opened(folder, environment="dev", metadata=["tenant"])
    write(ledger, sink, 3, metadata={"tenant": "a", "secret": "x"}, tags=("tenant", "other"))
    write(ledger, sink, 2, outcome="failed", success=False, has_usage=False, cost_usd=None)
    write(ledger, sink, 1, cost_usd=None)

    sums = query(ledger, "select sum(attempts), sum(cost_pico_usd), sum(unpriced) from totals")
    rows = query(ledger, "select count(*), sum(cost_pico_usd), 1 from attempts")
    kept = query(ledger, "select distinct metadata, tags, environment from attempts order by 1")

    assert sums == rows
    assert kept == [(None, None, "dev"), (json.dumps({"tenant": "a"}), '["tenant"]', "dev")]
    ledger.close()


def test_two_ledgers_of_one_folder_make_one_set_of_batches(
    folder: Path, local_aws: LocalAWS
) -> None:
    first, sink = opened(folder)
    second, other = opened(folder)
    write(first, sink, 3)
    write(second, other, 4)

    first.flush()
    second.flush()

    assert local_aws.metrics.put_requests == 1
    assert invocations(local_aws) == 7
    second.ingest()
    assert (sink.stats().sent, other.stats().recorded) == (15, 20)
    first.close()
    second.close()


def test_a_damaged_database_is_kept_aside_and_a_new_one_made(
    folder: Path, local_aws: LocalAWS, caplog: pytest.LogCaptureFixture
) -> None:
    folder.mkdir(parents=True)
    (folder / "ledger.db").write_bytes(b"not a database " * 100)
    ledger, sink = opened(folder)

    write(ledger, sink)
    ledger.flush()

    assert invocations(local_aws) == 1
    assert "the ledger's database was damaged" in caplog.text
    assert len(list(folder.glob("ledger.db.damaged-*"))) == 1
    ledger.close()


def test_a_large_backlog_is_moved_on_a_part_each_time_ones_own_first(folder: Path) -> None:
    in_another_process(folder, "write(ledger, sink, 9_000)")
    ledger, sink = opened(folder)
    write(ledger, sink)
    moved = []

    for _ in range(2):
        ledger._work(Order(deadline=0.0, publish=False))  # there is time for one part only
        with ledger._working, ledger._database.reading() as connection:
            moved += connection.execute("select count(*) from attempts").fetchone()

    assert 1 < moved[0] < moved[1] <= 9_001
    ledger.ingest()
    assert query(ledger, "select count(*) from attempts") == [(9_001,)]
    assert query(ledger, "select agent, run_id is null from attempts where id = 1") == [
        ("sql_agent", 1)
    ]
    ledger.close()
