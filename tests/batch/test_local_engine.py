"""Jobs on this machine: each row once, resumed after any end, stopped from anywhere."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from langchain_modelmgr import ConfigurationError, JobError, ModelManager
from langchain_modelmgr.batch import chunks, engines
from langchain_modelmgr.batch.worker import Worker
from tests.batch.bedrock_support import rows_of
from tests.batch.conftest import AGENT
from tests.batch.local_support import job_of, recorded, wait_until
from tests.models import SONNET

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from langchain_modelmgr.local import LocalAWS
    from tests.agents import Configure
    from tests.held_replies import HeldReplies


@pytest.mark.usefixtures("small_chunks")
def test_every_row_is_answered_once_in_the_plan_s_order(
    manager: ModelManager, into: str, local_aws: LocalAWS
) -> None:
    job = job_of(manager, into)

    status = job.run()

    assert (status.rows, status.done, status.failed, status.pending) == (12, 12, 0, 0)
    assert (status.reason, status.maybe_billed_twice, status.workers) == (None, 0, 0)
    rows = rows_of(job)
    assert [row["key"] for row in rows] == list(range(12))
    assert rows[7]["text"] == "You said: Label this: ticket 7"
    assert {row["model"] for row in rows} == {SONNET}
    assert {row["engine"] for row in rows} == {"local"}
    assert sum(row["cost_usd"] for row in rows) == status.cost_usd
    assert local_aws.requests() == 12
    summary = manager.get_usage_summary()
    assert summary["total_cost_usd"] == pytest.approx(float(status.cost_usd))
    assert recorded(manager) == 12


def test_results_are_written_on_one_thread_since_pyarrow_keeps_memory_for_each(
    manager: ModelManager, tmp_path: Path, small_chunks: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = set()
    write: Callable[..., bytes] = vars(chunks)["result_object"]

    def noted(*args: Any) -> bytes:
        threads.add(threading.current_thread().name)
        return write(*args)

    monkeypatch.setattr(chunks, "result_object", noted)

    assert job_of(manager, str(tmp_path / "job"), 60).run(concurrency=8).done == 60

    assert threads == {"modelmgr-batch-results_0"}


def test_a_finished_job_asks_nothing_again(
    manager: ModelManager, into: str, local_aws: LocalAWS
) -> None:
    first = job_of(manager, into).run()

    again = job_of(manager, into).run()

    assert again == first
    assert local_aws.requests() == 12


@pytest.mark.usefixtures("small_chunks")
def test_an_interrupted_run_keeps_what_was_answered_and_goes_on(
    manager: ModelManager, into: str, local_aws: LocalAWS, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = job_of(manager, into)
    feed = Worker.feed
    fed: list[Any] = []

    def interrupted(self: Worker, chunk: Any) -> None:
        feed(self, chunk)
        fed.append(chunk)
        if len(fed) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(Worker, "feed", interrupted)
    with pytest.raises(KeyboardInterrupt):
        job.run(concurrency=2)
    monkeypatch.undo()

    status = job.status()
    assert (status.done, status.pending) == (10, 2)
    assert status.reason == "the run was interrupted"
    assert [row["key"] for row in rows_of(job)] == list(range(10))
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", manager.clients.s3().meta.endpoint_url)
    assert job.run().done == 12
    assert local_aws.requests() == 12


def test_a_run_can_be_stopped_from_anywhere(
    manager: ModelManager, into: str, local_aws: LocalAWS, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("langchain_modelmgr.batch.worker._FLUSH_SECONDS", 0.05)
    monkeypatch.setattr("langchain_modelmgr.batch.worker.COUNT_SECONDS", 0.05)
    local_aws.latency(SONNET, 0.2)
    job = job_of(manager, into, 400)
    found: list[Any] = []
    runs = threading.Thread(target=lambda: found.append(job.run(concurrency=2)))
    runs.start()
    wait_until(lambda: job.status().done > 1)
    assert job.status().workers == 1

    job.stop()
    runs.join(60)

    (status,) = found
    assert status.reason == "stopped"
    assert 0 < status.done < 400
    assert local_aws.requests() == status.done
    local_aws.clear_faults()
    assert job.run().done == 400


def test_two_runs_of_one_folder_exclude_each_other(
    manager: ModelManager, tmp_path: Path, local_aws: LocalAWS, held: HeldReplies
) -> None:
    held.hold(SONNET)
    job = job_of(manager, str(tmp_path / "job"))
    runs = threading.Thread(target=lambda: job.run(concurrency=2))
    runs.start()
    wait_until(lambda: local_aws.requests() > 0)

    with pytest.raises(JobError, match="another run works on this job: wait for it, or stop it"):
        job_of(manager, str(tmp_path / "job")).run()

    held.release()
    runs.join(60)
    assert job.status().done == 12


@pytest.mark.usefixtures("small_chunks")
def test_more_rows_at_once_than_a_process_can_have_are_asked_by_several(
    manager: ModelManager, into: str, local_aws: LocalAWS, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "THREADS_OF_A_PROCESS", 4)
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    job = job_of(manager, into, 30)

    status = job.run(concurrency=8, max_usd=1)

    assert (status.done, status.reason) == (30, None)
    assert [row["key"] for row in rows_of(job)] == list(range(30))
    assert local_aws.requests() == 30
    assert recorded(manager) == 30


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"engine": "dsak"}, "engine: unknown engine 'dsak'; did you mean 'dask'"),
        ({"engine": "dask"}, "engine dask needs client"),
        ({"on_throttle": "no"}, "on_throttle must be wait or fallback, not 'no'"),
        ({"concurrency": 0}, "concurrency must be a whole number above 0"),
        ({"concurrency": True}, "concurrency must be a whole number above 0"),
        ({"deadline_hours": "24"}, "deadline_hours must be a number of hours above 0"),
        ({"deadline_hours": -1}, "deadline_hours must be a number of hours above 0"),
        ({"deadline_hours": float("nan")}, "deadline_hours must be a number of hours above 0"),
        ({"max_usd": 0}, "max_usd must be a number of USD above 0"),
        ({"max_usd": "forty"}, "max_usd must be a number of USD above 0"),
        ({"max_usd": float("inf")}, "max_usd must be a number of USD above 0"),
    ],
)
def test_a_wrong_argument_of_a_run_is_named_before_anything_is_sent(
    arguments: dict[str, Any],
    message: str,
    manager: ModelManager,
    tmp_path: Path,
    local_aws: LocalAWS,
) -> None:
    job = job_of(manager, str(tmp_path / "job"))

    with pytest.raises(ConfigurationError, match=message):
        job.run(**arguments)

    assert local_aws.requests() == 0


def test_an_unknown_agent_is_named_before_the_rows_are_read(
    manager: ModelManager, tmp_path: Path
) -> None:
    with pytest.raises(ConfigurationError, match="labeler"):
        manager.batch("labeller", 7, into=tmp_path / "job")


def test_yaml_sets_the_defaults(configured: Configure, tmp_path: Path) -> None:
    config = configured(AGENT, "batch: {engine: local, concurrency: 3}")
    assert config.batch.concurrency == 3
    with pytest.raises(ConfigurationError, match="concurrency"):
        configured(AGENT, "batch: {concurrency: 0}")
    with pytest.raises(ConfigurationError, match="engin"):
        configured(AGENT, "batch: {engin: local}")
