"""What ``status`` shows of batch inference jobs that run, and runs that displace each other."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any

import pytest

from langchain_modelmgr.batch.runs import RUN, RunNote
from tests.batch.bedrock_support import NOVA, job_of, ledger_of
from tests.batch.local_support import wait_until
from tests.cli.command import run as command

if TYPE_CHECKING:
    from pathlib import Path

    from langchain_modelmgr import ModelManager
    from langchain_modelmgr.local import LocalAWS

pytestmark = pytest.mark.usefixtures("short_polls")


def test_the_status_of_a_running_job_shows_its_state_and_the_rows_that_it_has_processed(
    bedrock_manager: ModelManager, tmp_path: Path, batch_aws: LocalAWS
) -> None:
    batch_aws.batch.outcome(NOVA, polls=400, times=1)
    job, found = job_of(bedrock_manager, tmp_path / "job"), []
    run = threading.Thread(target=lambda: found.append(job.run(engine="bedrock")))
    run.start()
    wait_until(lambda: job.status().in_jobs > 0)

    status = job.status()
    where = ["--into", job.into, "-e", "test", "--config-dir", str(tmp_path)]
    shown = command("batch", "status", *where).stdout

    assert (status.jobs, status.workers, status.done) == ({"InProgress": 1}, 1, 0)
    assert 0 < status.in_jobs < 120
    assert status.rows_per_second > 0
    assert status.to_dict()["jobs"] == {"InProgress": 1}
    assert "1 InProgress: " in shown
    assert " rows processed" in shown
    (made,) = batch_aws.batch.jobs()
    made.outcome = type(made.outcome)()  # it ends when its status is read next
    run.join(60)
    (ended,) = found
    assert (ended.done, ended.jobs, ended.in_jobs, ended.workers) == (120, {}, 0, 0)


def test_a_run_leaves_its_jobs_to_another_run_that_began(
    bedrock_manager: ModelManager, tmp_path: Path, batch_aws: LocalAWS, bucket: str
) -> None:
    batch_aws.batch.outcome(NOVA, polls=1_000_000, times=1)
    job = job_of(bedrock_manager, f"s3://{bucket}/plan")
    found: list[Any] = []
    run = threading.Thread(target=lambda: found.append(job.run(engine="bedrock")))
    run.start()
    wait_until(lambda: batch_aws.requests(operations=["GetModelInvocationJob"]) > 0)

    RunNote.of("another", "bedrock").write(job._chunks)
    run.join(60)

    (status,) = found
    assert (status.done, status.pending) == (0, 120)
    (made,) = batch_aws.batch.jobs()
    assert not made.has_ended
    note = json.loads(job._chunks.store.read(RUN) or b"{}")
    assert note["run"] == "another"
    made.outcome = type(made.outcome)()  # it ends when its status is read next
    assert job_of(bedrock_manager, f"s3://{bucket}/plan").run(engine="bedrock").done == 120
    assert ledger_of(bedrock_manager)["attempts"] == batch_aws.batch.counts().records == 120
