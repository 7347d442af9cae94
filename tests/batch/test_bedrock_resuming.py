"""Batch inference jobs across runs: interrupted, stopped, created without a reply, throttled."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from langchain_modelmgr import JobError, ModelManager
from langchain_modelmgr.batch.bedrock_jobs import JobService
from langchain_modelmgr.batch.bedrock_outputs import OutputKeeper
from langchain_modelmgr.batch.worker import task_name
from tests.batch.bedrock_support import NOVA, job_of, ledger_of
from tests.batch.local_support import wait_until
from tests.support import ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from langchain_modelmgr.local import LocalAWS

pytestmark = pytest.mark.usefixtures("short_polls")


@pytest.fixture
def manager(bedrock_manager: ModelManager) -> ModelManager:
    return bedrock_manager


@pytest.fixture
def local_aws(batch_aws: LocalAWS) -> LocalAWS:
    return batch_aws


@pytest.fixture
def into(tmp_path: Path) -> str:
    return str(tmp_path / "job")


def interrupt_once(monkeypatch: pytest.MonkeyPatch, owner: type, name: str, *, after: bool) -> None:
    """Raise KeyboardInterrupt at the first call of a method, before or after it."""
    method, calls = getattr(owner, name), []

    def interrupted(self: Any, *args: Any, **more: Any) -> Any:
        calls.append(name)
        if len(calls) > 1:
            return method(self, *args, **more)
        if after:
            method(self, *args, **more)
        raise KeyboardInterrupt

    monkeypatch.setattr(owner, name, interrupted)


@pytest.mark.parametrize(
    ("owner", "name", "after", "on_s3"),
    [
        (JobService, "upload", True, False),
        (JobService, "create", False, False),
        (JobService, "create", True, True),
        (JobService, "read", True, False),
        (OutputKeeper, "take", False, False),
        (OutputKeeper, "_keep", False, True),
        (OutputKeeper, "take", True, False),
    ],
)
def test_an_interrupted_run_finds_its_job_again(
    manager: ModelManager, into: str, bucket: str, local_aws: LocalAWS,
    monkeypatch: pytest.MonkeyPatch, owner: type, name: str, after: bool, on_s3: bool,
) -> None:  # fmt: skip
    into = f"s3://{bucket}/plan" if on_s3 else into
    job = job_of(manager, into)
    interrupt_once(monkeypatch, owner, name, after=after)

    with pytest.raises(KeyboardInterrupt):
        job.run(engine="bedrock", max_usd=1)
    status = job_of(manager, into).run(engine="bedrock", max_usd=1)

    assert (status.done, status.reason, status.maybe_billed_twice) == (120, None, 0)
    counts = local_aws.batch.counts()
    assert (counts.jobs, counts.records) == (1, 120)
    assert ledger_of(manager)["attempts"] == 120
    assert manager.get_usage_summary()["attempts"] == 120


def test_a_job_whose_reply_was_lost_is_created_once(
    manager: ModelManager, into: str, local_aws: LocalAWS
) -> None:
    local_aws.reset(NOVA, at="job_created")
    local_aws.fail(NOVA, "InternalServerException", at="job_created")
    local_aws.fail(NOVA, "ThrottlingException", at="create_job")
    local_aws.fail(NOVA, "ThrottlingException", at="get_job", times=2)

    assert job_of(manager, into).run(engine="bedrock").done == 120

    assert len(local_aws.batch.jobs()) == 1
    assert local_aws.requests(operations=["CreateModelInvocationJob"]) == 4


def test_a_job_is_found_by_its_name_if_bedrock_has_forgotten_its_token(
    manager: ModelManager, into: str, local_aws: LocalAWS, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = job_of(manager, into)
    interrupt_once(monkeypatch, JobService, "create", after=True)
    with pytest.raises(KeyboardInterrupt):
        job.run(engine="bedrock")
    (made,) = local_aws.batch.jobs()
    made.body["clientRequestToken"] = "forgotten"

    assert job.run(engine="bedrock").done == 120
    assert local_aws.batch.jobs() == [made]


def test_other_engines_are_refused_while_a_job_has_rows(
    manager: ModelManager, into: str, local_aws: LocalAWS, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = job_of(manager, into)
    interrupt_once(monkeypatch, JobService, "read", after=True)
    with pytest.raises(KeyboardInterrupt):
        job.run(engine="bedrock")

    with pytest.raises(JobError, match="120 rows are in batch inference jobs: go on with engine"):
        job.run(engine="local")

    assert job.run().done == 120  # auto goes on with them
    assert local_aws.requests() == 0


def test_a_service_that_keeps_failing_ends_the_run_and_leaves_the_job_to_the_next(
    manager: ModelManager, into: str, local_aws: LocalAWS
) -> None:
    local_aws.fail(NOVA, "InternalServerException", at="job_created", times=1_000)
    job = job_of(manager, into)

    with pytest.raises(JobError, match="CreateModelInvocationJob failed 8 times: InternalServer"):
        job.run(engine="bedrock")
    local_aws.clear_faults()

    assert job.run(engine="bedrock").done == 120
    assert len(local_aws.batch.jobs()) == 1


def test_jobs_beyond_the_service_s_number_wait_for_others(
    manager: ModelManager, into: str, local_aws: LocalAWS, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("langchain_modelmgr.batch.bedrock_drafts.MAX_RECORDS", 100)
    local_aws.batch.quotas(max_jobs=1)
    job = job_of(manager, into, 300)

    status = job.run(engine="bedrock")

    assert (status.done, status.reason) == (300, None)
    assert local_aws.batch.counts().records == 300


def test_a_stop_from_elsewhere_stops_the_jobs_and_keeps_what_they_wrote(
    manager: ModelManager, into: str, local_aws: LocalAWS
) -> None:
    local_aws.batch.outcome(NOVA, polls=1_000_000, records=30, times=1)
    job = job_of(manager, into)
    found: list[Any] = []
    run = threading.Thread(target=lambda: found.append(job.run(engine="bedrock")))
    run.start()
    wait_until(lambda: local_aws.requests(operations=["GetModelInvocationJob"]) > 0)
    assert job.status().pending == 120

    job_of(manager, into).stop()
    run.join(60)

    (status,) = found
    assert (status.done, status.pending) == (30, 90)
    assert local_aws.batch.jobs()[0].status == "Stopped"
    assert ledger_of(manager)["attempts"] == 30
    assert job.run(engine="local").done == 120
    assert local_aws.requests() == 90


DIES = """
import os, sys
from langchain_modelmgr import ConfigurationManager, ModelManager
from langchain_modelmgr.batch import bedrock_jobs
from tests.batch.bedrock_support import job_of

def dies(*_):
    os._exit(9)

setattr(getattr(bedrock_jobs, sys.argv[3]), sys.argv[4], dies)
with ModelManager(ConfigurationManager("test", sys.argv[1])) as manager:
    job_of(manager, sys.argv[2]).run(engine="bedrock", max_usd="0.02")
"""


@pytest.mark.parametrize(
    ("place", "engine"),
    [(("JobService", "upload"), "bedrock"), (("JobNote", "write"), "local")],
)
def test_a_process_that_died_before_it_noted_its_job_leaves_no_money_held(
    manager: ModelManager, into: str, tmp_path: Path, bucket: str, local_aws: LocalAWS,
    place: tuple[str, str], engine: Any,
) -> None:  # fmt: skip
    job = job_of(manager, into)
    died = subprocess.run(
        [sys.executable, "-c", DIES, str(tmp_path), into, *place],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False,
    )  # fmt: skip
    assert died.returncode == 9
    assert manager.budget(task_name(job.plan), usd="0.02").held > 0

    status = job.run(engine=engine, max_usd="0.02")

    assert (status.done, status.reason) == (120, None)
    assert manager.budget(task_name(job.plan), usd="0.02").held == 0
    assert manager.budget(task_name(job.plan), usd="0.02").spent == status.cost_usd
    assert len(local_aws.batch.jobs()) == (engine == "bedrock")
    left = local_aws.client("s3").list_objects_v2(Bucket=bucket).get("Contents", [])
    assert not [each["Key"] for each in left if "job-000000/" in each["Key"]]
