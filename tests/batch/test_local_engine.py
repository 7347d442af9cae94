"""Jobs on this machine: each row once, resumed after any end, within ``max_usd``."""

from __future__ import annotations

import threading
import time
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from langchain_modelmgr import ConfigurationError, JobError, ModelManager
from langchain_modelmgr.batch import engines, plan
from langchain_modelmgr.batch.asking import Asker
from langchain_modelmgr.batch.worker import Worker, task_name
from langchain_modelmgr.local.scripted import ScriptedReply
from tests.batch.conftest import AGENT, PROMPT, tickets
from tests.models import HAIKU, SONNET

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from langchain_modelmgr import Job
    from langchain_modelmgr.local import LocalAWS
    from tests.agents import Configure

ALWAYS = 1_000_000
USAGE = {"inputTokens": 10, "outputTokens": 20, "totalTokens": 30}


@pytest.fixture(params=["folder", "s3"])
def into(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "folder":
        return str(tmp_path / "job")
    return f"s3://{request.getfixturevalue('bucket')}/job"


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "CHUNK_ROWS", 5)


@pytest.fixture
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for a hundredth of the time before a row is asked again."""
    wait = Asker.__init__

    def shortened(self: Asker, *args: Any, **more: Any) -> None:
        wait(self, *args, **{**more, "wait": lambda s, w=more["wait"]: w(s / 100)})

    monkeypatch.setattr(Asker, "__init__", shortened)


def job_of(manager: ModelManager, into: str, count: int = 12) -> Job:
    return manager.batch("labeler", tickets(count), into=into, key="id", prompt=PROMPT)


def recorded(manager: ModelManager) -> int:
    """Return the attempts that the ledger has."""
    (row,) = manager.usage_sql("SELECT count(*) AS attempts FROM attempts")
    return int(row["attempts"])


def rows_of(job: Job) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = job.results().to_table().to_pylist()
    return found


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


@pytest.mark.usefixtures("short_waits")
def test_throttled_rows_wait_for_the_same_model(
    manager: ModelManager, tmp_path: Path, local_aws: LocalAWS
) -> None:
    local_aws.fail(SONNET, "ThrottlingException", times=5)
    job = job_of(manager, str(tmp_path / "job"))

    status = job.run(concurrency=4)

    assert (status.done, status.throttles) == (12, 5)
    assert {row["model"] for row in rows_of(job)} == {SONNET}
    assert local_aws.requests(HAIKU) == 0


def test_throttled_rows_go_to_a_fallback_if_that_is_asked_for(
    manager: ModelManager, tmp_path: Path, local_aws: LocalAWS
) -> None:
    local_aws.fail(SONNET, "ThrottlingException", times=3)
    job = job_of(manager, str(tmp_path / "job"), 3)

    assert job.run(on_throttle="fallback", concurrency=1).done == 3

    assert [row["model"] for row in rows_of(job)] == [HAIKU] * 3


@pytest.mark.usefixtures("short_waits")
def test_a_model_that_fails_is_replaced_by_its_fallback(
    manager: ModelManager, tmp_path: Path, local_aws: LocalAWS
) -> None:
    local_aws.fail(SONNET, "AccessDeniedException", times=ALWAYS)
    job = job_of(manager, str(tmp_path / "job"), 3)

    assert job.run().done == 3

    assert {row["model"] for row in rows_of(job)} == {HAIKU}


@pytest.mark.usefixtures("short_waits")
def test_a_used_up_quota_ends_the_run_and_its_rows_stay_pending(
    manager: ModelManager, into: str, local_aws: LocalAWS
) -> None:
    message = "Too many tokens per day, please wait before trying again."
    for model in (SONNET, HAIKU):
        local_aws.fail(model, "ThrottlingException", message=message, times=ALWAYS)
    job = job_of(manager, into)

    status = job.run(concurrency=3)

    assert (status.done, status.failed, status.pending) == (0, 0, 12)
    assert status.reason is not None
    assert "Too many tokens per day" in status.reason
    local_aws.clear_faults()
    assert job.run().done == 12


@pytest.mark.usefixtures("short_waits")
@pytest.mark.parametrize(
    ("code", "name"),
    [
        ("AccessDeniedException", "AllModelsPermissionDeniedError"),
        ("ResourceNotFoundException", "AllModelsNotFoundError"),
        ("UnrecognizedClientException", "BedrockAuthenticationError"),
    ],
)
def test_a_failure_that_all_rows_would_have_ends_the_run(
    code: str, name: str, manager: ModelManager, tmp_path: Path, local_aws: LocalAWS
) -> None:
    for model in (SONNET, HAIKU):
        local_aws.fail(model, code, times=ALWAYS)
    job = job_of(manager, str(tmp_path / "job"))

    status = job.run(concurrency=2)

    assert status.pending == 12
    assert status.reason is not None
    assert status.reason.startswith(f"{name}: ")
    assert status.maybe_billed_twice == 0
    local_aws.clear_faults()
    again = job.run()
    assert (again.done, again.reason, again.maybe_billed_twice) == (12, None, 0)


@pytest.mark.usefixtures("short_waits")
def test_rows_that_fail_for_good_have_an_error_and_are_asked_again_by_retry(
    manager: ModelManager, into: str, local_aws: LocalAWS
) -> None:
    for model in (SONNET, HAIKU):
        local_aws.fail(model, "ValidationException", message="odd", times=3)
    job = job_of(manager, into, 6)

    status = job.run(concurrency=1)

    assert (status.done, status.failed, status.pending) == (3, 3, 0)
    failed = rows_of(job)[:3]
    assert {row["text"] for row in failed} == {None}
    assert all(row["error"].startswith("BedrockInvalidRequestError: ") for row in failed)
    assert job.run() == status  # run leaves them
    again = job.retry()
    assert (again.done, again.failed, again.pending) == (6, 0, 0)
    rows = rows_of(job)
    assert [row["key"] for row in rows] == list(range(6))
    assert {row["error"] for row in rows} == {None}
    assert sum(row["cost_usd"] for row in rows) == again.cost_usd


@pytest.mark.usefixtures("short_waits")
def test_a_service_that_keeps_failing_ends_the_run(
    manager: ModelManager, tmp_path: Path, local_aws: LocalAWS
) -> None:
    for model in (SONNET, HAIKU):
        local_aws.fail(model, "InternalServerException", times=ALWAYS)
    job = job_of(manager, str(tmp_path / "job"), 40)

    status = job.run(concurrency=8)

    assert status.reason is not None
    assert status.reason.startswith("AllModelsAPIError: ")
    assert 0 < status.failed <= 28
    local_aws.clear_faults()
    assert job.run().pending == 0
    assert job.retry().done == 40


@pytest.mark.usefixtures("small_chunks")
def test_max_usd_ends_the_run_before_it_is_exceeded_and_more_money_goes_on(
    manager: ModelManager, into: str, local_aws: LocalAWS
) -> None:
    local_aws.script(lambda _: ScriptedReply(text="label", usage=USAGE))
    cost = Decimal("0.00033")
    job = job_of(manager, into)

    status = job.run(max_usd=Decimal("0.003"), concurrency=3)

    assert 0 < status.done < 12
    assert status.cost_usd == cost * status.done <= Decimal("0.003")
    assert status.reason is not None
    assert status.reason.startswith(f"max_usd: {status.cost_usd} of 0.003 USD are spent, and a row")
    assert local_aws.requests() == status.done
    assert job.run(max_usd=Decimal("0.003")).done == status.done
    assert job.run(max_usd="1").done == 12
    assert local_aws.requests() == 12


def test_max_usd_counts_what_runs_without_it_spent(
    manager: ModelManager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "CHUNK_ROWS", 5)
    job = job_of(manager, str(tmp_path / "job"))
    feed = Worker.feed

    def once(self: Worker, chunk: Any) -> None:
        feed(self, chunk)
        self.stop("enough")

    monkeypatch.setattr(Worker, "feed", once)
    spent = job.run().cost_usd
    assert job.status().done == 5
    monkeypatch.undo()

    status = job.run(max_usd=spent * 6 / 5)

    assert status.done == 5  # the worst case of one more row does not fit
    budget = manager.budget(task_name(job.plan), usd=1)
    assert budget.spent == spent


def test_an_unknown_price_is_no_row_for_free(
    configured: Configure, tmp_path: Path, local_aws: LocalAWS
) -> None:
    model = "amazon.nova-unheard-of-v1:0"
    local_aws.facts(model, provider="amazon")
    config = configured(
        f"labeler: {{model: '{model}', fallbacks: [], max_tokens: 9}}\nallow_unknown: true"
    )
    with ModelManager(config) as manager:
        job = job_of(manager, str(tmp_path / "job"), 3)
        assert {e.usd_low for e in job.estimate().values()} == {None}
        limited = job.run(max_usd=40)
        status = job.run()

    assert (limited.done, status.done, status.unpriced) == (0, 3, 3)
    assert limited.reason is not None
    assert "price" in limited.reason
    assert status.cost_usd == 0
    assert {row["cost_usd"] for row in rows_of(job)} == {None}


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
    manager: ModelManager, tmp_path: Path, local_aws: LocalAWS
) -> None:
    local_aws.latency(SONNET, 0.2)
    job = job_of(manager, str(tmp_path / "job"))
    runs = threading.Thread(target=lambda: job.run(concurrency=2))
    runs.start()
    wait_until(lambda: local_aws.requests() > 0)

    with pytest.raises(JobError, match="another run works on this job: wait for it, or stop it"):
        job_of(manager, str(tmp_path / "job")).run()

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


def wait_until(is_true: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not is_true():
        assert time.monotonic() < end
        time.sleep(0.02)
