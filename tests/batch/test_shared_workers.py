"""Runs that share a process or a place: each keeps to its own job, money and threads."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from langchain_modelmgr import ModelManager
from langchain_modelmgr.batch import engines, plan
from langchain_modelmgr.batch.engines import Work, ask_chunk
from langchain_modelmgr.batch.worker import RunSettings
from langchain_modelmgr.local.scripted import ScriptedReply
from tests.batch.conftest import AGENT, PROMPT, tickets

if TYPE_CHECKING:
    from pathlib import Path

    from langchain_modelmgr import Job
    from langchain_modelmgr.local import LocalAWS
    from tests.agents import Configure

USAGE = {"inputTokens": 10, "outputTokens": 20, "totalTokens": 30}


def job_of(manager: ModelManager, into: Any, count: int = 12) -> Job:
    return manager.batch("labeler", tickets(count), into=into, key="id", prompt=PROMPT)


def work_of(manager: ModelManager, job: Job, run: str) -> Work:
    return Work(manager, job.plan, job.into, RunSettings(run=run, engine="dask", concurrency=2))


def threads() -> int:
    return sum("modelmgr-batch" in each.name for each in threading.enumerate())


@pytest.mark.usefixtures("local_aws")
def test_jobs_that_share_a_cluster_s_worker_do_not_end_each_other(
    manager: ModelManager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "CHUNK_ROWS", 3)
    jobs = [job_of(manager, tmp_path / name) for name in "ab"]
    found: list[list[str | None]] = [[], []]

    def ask(number: int) -> None:
        work = work_of(manager, jobs[number], f"run {number}")
        found[number] = [ask_chunk(work, t, 2) for t in work.chunks().pending()]

    asking = [threading.Thread(target=ask, args=(number,)) for number in (0, 1)]
    for each in asking:
        each.start()
    for each in asking:
        each.join(60)

    assert found == [[None] * 4] * 2


@pytest.mark.usefixtures("local_aws")
def test_the_threads_of_earlier_runs_end(
    manager: ModelManager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("langchain_modelmgr.batch.worker._FLUSH_SECONDS", 0.05)
    for number in range(5):
        job = job_of(manager, tmp_path / f"job{number}", 4)
        work = work_of(manager, job, f"run {number}")
        assert [ask_chunk(work, t, 2) for t in work.chunks().pending()] == [None]

    end = time.monotonic() + 50
    while threads() > 4 and time.monotonic() < end:
        time.sleep(0.05)
    assert threads() <= 4  # two that ask, one that counts, one that writes results


def test_budgets_in_memory_are_held_by_one_process(
    configured: Configure,
    tmp_path: Path,
    local_aws: LocalAWS,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(plan, "CHUNK_ROWS", 5)
    monkeypatch.setattr(engines, "THREADS_OF_A_PROCESS", 2)
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    local_aws.script(lambda _: ScriptedReply(text="label", usage=USAGE))
    with ModelManager(configured(AGENT, "state: memory")) as manager:
        status = job_of(manager, tmp_path / "job", 40).run(concurrency=4, max_usd="0.005")

    assert status.reason is not None
    assert status.reason.startswith("max_usd: ")
    assert float(status.cost_usd) <= 0.005
