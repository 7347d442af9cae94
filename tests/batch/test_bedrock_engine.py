"""Jobs by Bedrock's batch inference, against the local AWS: each row once, at half the price."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from langchain_modelmgr import JobError, ModelManager, ModelManagerError
from langchain_modelmgr.batch.worker import task_name
from tests.batch.bedrock_support import LABELER, NOVA, ROLE, job_of, ledger_of, rows_of

if TYPE_CHECKING:
    from pathlib import Path

    from langchain_modelmgr.local import LocalAWS
    from tests.agents import Configure

pytestmark = pytest.mark.usefixtures("short_polls")


@pytest.fixture
def local_aws(batch_aws: LocalAWS) -> LocalAWS:
    return batch_aws


@pytest.fixture
def manager(bedrock_manager: ModelManager) -> ModelManager:
    return bedrock_manager


def test_every_row_is_answered_once_and_accounted_at_half_the_price(
    manager: ModelManager, tmp_path: Path, local_aws: LocalAWS
) -> None:
    job = job_of(manager, tmp_path / "job")

    status = job.run(engine="bedrock")

    assert (status.done, status.failed, status.pending, status.reason) == (120, 0, 0, None)
    rows = rows_of(job)
    assert [row["key"] for row in rows] == list(range(120))
    assert rows[7]["text"] == "You said: Label this: ticket 7"
    assert {row["engine"] for row in rows} == {"bedrock"}
    counts = local_aws.batch.counts(NOVA)
    assert (counts.jobs, counts.records, local_aws.requests()) == (1, 120, 0)
    price = Decimal("0.00003") * counts.input_tokens + Decimal("0.00012") * counts.output_tokens
    assert status.cost_usd == price / 1000
    assert ledger_of(manager) == {
        "attempts": 120, "input": counts.input_tokens, "output": counts.output_tokens,
        "tier": "batch", "timed": 0,
    }  # fmt: skip
    summary = manager.get_usage_summary()
    assert (summary["calls"], summary["attempts"]) == (120, 120)
    assert summary["average_latency_ms"] == 0.0
    assert summary["total_cost_usd"] == pytest.approx(float(status.cost_usd))
    manager.flush_metrics()
    metrics = local_aws.metrics
    assert metrics.sum("GenAI/ModelManager", "InputTokens") in (counts.input_tokens, 0)


def test_rows_of_several_chunks_are_split_by_the_quotas_and_joined_again(
    manager: ModelManager, tmp_path: Path, local_aws: LocalAWS, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("langchain_modelmgr.batch.plan.CHUNK_ROWS", 70)
    monkeypatch.setattr("langchain_modelmgr.batch.bedrock_drafts.MAX_RECORDS", 250)
    job = job_of(manager, tmp_path / "job", 310)

    status = job.run(engine="bedrock")

    assert (status.done, status.reason) == (310, None)
    assert [j.total for j in local_aws.batch.jobs()] == [210, 100]
    rows = rows_of(job)
    assert [row["text"] for row in rows] == [
        f"You said: Label this: ticket {n}" for n in range(310)
    ]


def test_a_quota_that_the_service_names_splits_the_rows(
    manager: ModelManager, tmp_path: Path, local_aws: LocalAWS
) -> None:
    local_aws.batch.quotas(min_records=10, max_records=100)
    job = job_of(manager, tmp_path / "job", 200)

    status = job.run(engine="bedrock")

    assert (status.done, status.reason) == (200, None)
    assert [(j.status, j.total) for j in local_aws.batch.jobs()] == [
        ("Failed", 0), ("Completed", 100), ("Completed", 100),
    ]  # fmt: skip
    assert ledger_of(manager)["attempts"] == 200


@pytest.mark.parametrize(
    ("status", "done"),
    [("PartiallyCompleted", 60), ("Stopped", 60), ("Expired", 0), ("Failed", 0)],
)
def test_what_an_ended_job_has_written_is_kept_and_the_rest_stays_pending(
    manager: ModelManager, tmp_path: Path, local_aws: LocalAWS, status: Any, done: int
) -> None:
    local_aws.batch.outcome(NOVA, status, times=1, message="no luck")
    job = job_of(manager, tmp_path / "job")

    first = job.run(engine="bedrock")

    assert (first.done, first.pending) == (done, 120 - done)
    assert first.reason is not None
    assert f"job 0 ended as {status} without {120 - done} of 120 rows" in first.reason
    assert ("no luck" in first.reason) is (status == "Failed")
    assert ledger_of(manager)["attempts"] == done
    assert local_aws.requests() == 0
    second = job.run(engine="bedrock", rest="calls")
    assert (second.done, second.reason, second.maybe_billed_twice) == (120, None, 0)
    assert local_aws.batch.counts().records + local_aws.requests() == 120
    assert sum(row["cost_usd"] for row in rows_of(job)) == second.cost_usd


@pytest.mark.parametrize(("share", "asked"), [(0.02, True), (0.3, False)])
def test_a_small_rest_is_asked_by_calls(
    manager: ModelManager, tmp_path: Path, local_aws: LocalAWS, share: float, asked: bool
) -> None:
    local_aws.batch.outcome(NOVA, error_share=share, seed=3)
    job = job_of(manager, tmp_path / "job")

    status = job.run(engine="bedrock")

    missing = local_aws.batch.counts().failed
    assert missing > 0
    assert (status.pending, local_aws.requests()) == ((0, missing) if asked else (missing, 0))
    engines = [row["engine"] for row in rows_of(job)]
    assert engines.count("local") == (missing if asked else 0)


def test_records_that_fail_for_good_are_rows_with_an_error(
    manager: ModelManager, tmp_path: Path, local_aws: LocalAWS
) -> None:
    local_aws.batch.outcome(NOVA, error_share=0.2, error_code=400, error_message="too odd", times=1)
    job = job_of(manager, tmp_path / "job")

    status = job.run(engine="bedrock")

    failed = local_aws.batch.counts().failed
    assert (status.failed, status.pending, status.done) == (failed, 0, 120 - failed)
    errors = {row["error"] for row in rows_of(job)} - {None}
    assert errors == {"BatchRecordError: 400: too odd"}
    again = job.retry(engine="bedrock", rest="calls")
    assert (again.failed, again.done) == (0, 120)
    assert local_aws.requests() == failed


@pytest.mark.parametrize("lost", ["objects", "lines", "tail", "manifest"])
def test_rows_whose_output_is_lost_are_asked_again_and_counted(
    manager: ModelManager, tmp_path: Path, local_aws: LocalAWS, lost: Any
) -> None:
    local_aws.batch.outcome(NOVA, lost=lost, times=1)
    job = job_of(manager, tmp_path / "job")

    first = job.run(engine="bedrock", rest="leave")
    second = job.run(engine="local")

    missing = first.pending
    assert (missing > 0) is (lost != "manifest")
    assert second.done == 120
    assert second.maybe_billed_twice == missing
    assert local_aws.requests() == missing


def test_max_usd_holds_jobs_by_their_worst_case(
    manager: ModelManager, tmp_path: Path, local_aws: LocalAWS
) -> None:
    job = job_of(manager, tmp_path / "job", 400)

    none = job.run(engine="bedrock", max_usd="0.0001")

    assert none.reason is not None
    assert "one job of 100 rows may cost" in none.reason
    needed = Decimal(none.reason.rpartition("set max_usd to ")[2].partition(" ")[0])
    assert local_aws.batch.jobs() == []
    some = job.run(engine="bedrock", max_usd=needed)
    counts = [j.total for j in local_aws.batch.jobs()]
    assert counts
    assert counts[0] == 100
    assert some.cost_usd <= needed
    assert job.run(engine="bedrock", max_usd=1).done == 400
    assert local_aws.batch.counts().records == 400


def test_budgets_of_the_yaml_are_charged_with_what_jobs_cost(
    configured: Configure, bucket: str, tmp_path: Path, local_aws: LocalAWS
) -> None:
    more = f"batch: {{role: '{ROLE}', bucket: {bucket}}}\nbudgets: {{night: {{usd: 2, per: day}}}}"
    with ModelManager(configured(LABELER, more)) as manager:
        status = job_of(manager, tmp_path / "job").run(engine="bedrock")

        (budget,) = manager.budget_status()
    assert status.done == 120
    assert (budget.spent, budget.held) == (status.cost_usd, 0)


def test_without_max_tokens_a_limited_job_names_the_key(
    configured: Configure, bucket: str, tmp_path: Path, local_aws: LocalAWS
) -> None:
    agent = f"labeler: {{model: '{NOVA}', fallbacks: []}}"
    config = configured(agent, f"batch: {{role: '{ROLE}', bucket: {bucket}}}")
    with ModelManager(config) as manager:
        job = job_of(manager, tmp_path / "job")
        with pytest.raises(ModelManagerError, match=r"agents\.labeler\.max_tokens is not set"):
            job.run(engine="bedrock", max_usd=1)
        assert job.run(engine="bedrock").done == 120


@pytest.mark.parametrize(
    ("batch", "count", "text"),
    [
        ("bucket: some-bucket", 120, "batch.role is not set"),
        (f"role: '{ROLE}'", 120, "batch.bucket is not set"),
        (f"role: '{ROLE}', bucket: some-bucket", 99, "99 rows are too few"),
        (f"role: '{ROLE}', bucket: no-such-bucket", 120, "HeadBucket failed"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_written(
    configured: Configure, tmp_path: Path, local_aws: LocalAWS, batch: str, count: int, text: str
) -> None:
    with ModelManager(configured(LABELER, f"batch: {{{batch}}}")) as manager:
        job = job_of(manager, tmp_path / "job", count)
        with pytest.raises(JobError, match=text):
            job.run(engine="bedrock")

    assert local_aws.requests(operations=["CreateModelInvocationJob"]) == 0


def test_a_bucket_in_another_region_is_refused_before_anything_is_uploaded(
    configured: Configure, tmp_path: Path, local_aws: LocalAWS, bucket: str
) -> None:
    west = f"{bucket}-west"
    s3 = local_aws.client("s3")
    s3.create_bucket(Bucket=west, CreateBucketConfiguration={"LocationConstraint": "us-west-2"})
    with ModelManager(configured(LABELER, f"batch: {{role: '{ROLE}', bucket: {west}}}")) as manager:
        job = job_of(manager, tmp_path / "job")
        with pytest.raises(JobError, match="is in us-west-2, but the model is called in us-east-1"):
            job.run(engine="bedrock")

    assert s3.list_objects_v2(Bucket=west)["KeyCount"] == 0


@pytest.mark.parametrize("facts", [{"supports_batch": False}, {"batch_regions": ["us-west-2"]}])
def test_a_model_or_region_without_batch_inference_is_refused_and_leaves_no_object_and_no_money(
    manager: ModelManager, tmp_path: Path, local_aws: LocalAWS, bucket: str, facts: dict[str, Any]
) -> None:
    local_aws.facts(NOVA, **facts)
    job = job_of(manager, tmp_path / "job")

    with pytest.raises(JobError, match="does not support batch inference in us-east-1") as raised:
        job.run(engine="bedrock", max_usd=1)

    assert f"(model {NOVA} in us-east-1; no row was sent)" in str(raised.value)
    assert local_aws.client("s3").list_objects_v2(Bucket=bucket)["KeyCount"] == 0
    assert local_aws.batch.jobs() == []
    assert manager.budget(task_name(job.plan), usd=1).held == 0
    assert job.run(engine="local", max_usd=1).done == 120


def test_auto_takes_it_when_the_deadline_is_far_and_all_fits(
    manager: ModelManager, tmp_path: Path, local_aws: LocalAWS
) -> None:
    many, few = job_of(manager, tmp_path / "many"), job_of(manager, tmp_path / "few", 3)

    assert many.run(deadline_hours=24).done == 120
    assert few.run(deadline_hours=48).done == 3
    assert job_of(manager, tmp_path / "soon", 110).run(deadline_hours=3).done == 110

    (made,) = local_aws.batch.jobs()
    assert made.body["timeoutDurationInHours"] == 24
    assert local_aws.requests() == 113


def test_requests_about_jobs_may_take_longer_than_those_that_a_call_waits_for(
    manager: ModelManager,
) -> None:
    jobs, control = (c.meta.config for c in (manager.clients.jobs(), manager.clients.control()))

    assert jobs.read_timeout >= 60 > control.read_timeout
    assert jobs.retries["total_max_attempts"] == 1  # the engine repeats them
