"""Several workers of one job: what one has finished, or takes over, the others leave alone."""

from __future__ import annotations

import json
import socket
import threading
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from langchain_modelmgr import ModelManager
from langchain_modelmgr.batch import asking, runs, worker
from langchain_modelmgr.batch.chunks import Chunks, ChunkTask
from langchain_modelmgr.batch.store import FolderStore
from tests.batch.conftest import PROMPT, tickets
from tests.models import SONNET

if TYPE_CHECKING:
    from pathlib import Path

    from langchain_modelmgr import Job
    from langchain_modelmgr.local import LocalAWS
    from tests.agents import Configure


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let workers look often for a stop and for other runs."""
    for name in ("_FLUSH_SECONDS", "COUNT_SECONDS"):
        monkeypatch.setattr(worker, name, 0.05)
    monkeypatch.setattr(runs, "_LOOK_SECONDS", 0.05)


def job_of(manager: ModelManager, into: Path | str, count: int) -> Job:
    return manager.batch("labeler", tickets(count), into=into, key="id", prompt=PROMPT)


def test_a_chunk_that_was_finished_meanwhile_is_not_asked_again(
    manager: ModelManager, tmp_path: Path
) -> None:
    job = job_of(manager, tmp_path / "job", 12)
    chunks = Chunks(job.plan, FolderStore(tmp_path / "job"))
    (task,) = chunks.pending()
    job.run()  # removes the chunk's logs

    chunk = chunks.open(task)

    assert chunk.is_finished.is_set()
    assert chunk.pending == []
    assert chunks.store.names("open") == []


def test_a_later_run_takes_over_and_few_rows_are_asked_twice(
    manager: ModelManager, bucket: str, local_aws: LocalAWS
) -> None:
    local_aws.latency(SONNET, 0.05)
    job = job_of(manager, f"s3://{bucket}/job", 300)
    first: list[Any] = []
    earlier = threading.Thread(target=lambda: first.append(job.run(concurrency=4)))
    earlier.start()
    while local_aws.requests() < 20:
        time.sleep(0.01)

    status = job_of(manager, f"s3://{bucket}/job", 300).run(concurrency=4)
    earlier.join(60)

    assert (status.done, status.reason) == (300, None)
    assert local_aws.requests() - 300 <= status.maybe_billed_twice
    assert local_aws.requests() <= 300 + 4 + 50
    keys = job.results().to_table().column("key").to_pylist()
    assert keys == list(range(300))
    assert len(first) == 1


def test_a_worker_leaves_a_chunk_that_another_one_finishes(
    manager: ModelManager, tmp_path: Path, local_aws: LocalAWS
) -> None:
    local_aws.latency(SONNET, 0.05)
    job = job_of(manager, tmp_path / "job", 300)
    chunks = Chunks(job.plan, FolderStore(tmp_path / "job"))
    earlier = threading.Thread(target=lambda: job.run(concurrency=2))
    earlier.start()
    while local_aws.requests() < 10:
        time.sleep(0.01)

    other = chunks.open(ChunkTask(0))
    for row in other.pending:
        other.answered(worker_answer(row.position))
    earlier.join(60)

    assert other.is_finished.is_set()
    assert local_aws.requests() < 300
    assert job.status().done == 300


def worker_answer(position: int) -> Any:
    from langchain_modelmgr.batch.answers import Answer

    return Answer(position, "label", None, SONNET, "dask", 1, 1, None)


def test_a_run_waits_for_workers_of_others_as_long_as_they_write_counts(
    manager: ModelManager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0

    def monotonic() -> float:
        nonlocal now
        now += runs._SILENT_SECONDS * 0.4  # since the last look
        if now < 20 * runs._SILENT_SECONDS:
            beat(now, ended=False)
        else:
            over.append(list(done))
            beat(now, ended=True)
        return now

    over: list[list[Any]] = []
    clock = SimpleNamespace(monotonic=monotonic, sleep=time.sleep, time=time.time)
    monkeypatch.setattr(runs, "time", clock)
    job = job_of(manager, tmp_path / "job", 3)
    store = FolderStore(tmp_path / "job")
    facts = {"worker": "w", "run": "other", "engine": "dask", "pid": 1, "started": 0.0}

    def beat(updated: float, *, ended: bool) -> None:
        counts = {**facts, "host": "another-host", "updated": updated, "ended": ended}
        store.write("workers/w.json", json.dumps(counts).encode())

    beat(0.0, ended=False)
    done: list[Any] = []
    done.append(job.run())

    assert over[0] == []
    assert done[0].done == 3


def test_a_silent_worker_of_another_host_and_a_dead_one_of_this_host_are_not_waited_for(
    manager: ModelManager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "_SILENT_SECONDS", 0.1)
    job = job_of(manager, tmp_path / "job", 3)
    store = FolderStore(tmp_path / "job")
    for name, host, pid in (("a", "another-host", 1), ("b", socket.gethostname(), 2**22)):
        counts = {"worker": name, "run": "other", "engine": "dask", "pid": pid, "host": host}
        body = {**counts, "started": 0.0, "updated": 0.0}
        store.write(f"workers/{name}.json", json.dumps(body).encode())

    assert job.run().done == 3


def test_a_run_whose_process_has_died_says_so(manager: ModelManager, tmp_path: Path) -> None:
    job = job_of(manager, tmp_path / "job", 3)
    store = FolderStore(tmp_path / "job")
    note = {"run": "r", "engine": "local", "host": socket.gethostname(), "pid": 2**22}
    store.write("run.json", json.dumps(note).encode())

    assert job.status().reason == "the process of the run has died: the same run goes on"
    assert job.run().reason is None


def test_a_row_that_failed_by_a_time_out_has_an_unknown_cost(
    configured: Configure, tmp_path: Path, local_aws: LocalAWS, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "_TRIES", 1)
    agent = f"labeler: {{model: '{SONNET}', fallbacks: [], retries: 0, timeout_seconds: 1}}"
    local_aws.stall(SONNET, 300, times=9)
    with ModelManager(configured(agent)) as manager:
        job = job_of(manager, tmp_path / "job", 1)
        status = job.run()

    assert (status.failed, status.unpriced) == (1, 1)
    assert job.results().to_table().column("cost_usd").to_pylist() == [None]
