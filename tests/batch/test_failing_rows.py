"""Jobs whose model is throttled or fails: rows wait, go to a fallback, fail, or stay pending."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.batch.bedrock_support import rows_of
from tests.batch.local_support import ALWAYS, job_of
from tests.models import HAIKU, SONNET

if TYPE_CHECKING:
    from pathlib import Path

    from langchain_modelmgr import ModelManager
    from langchain_modelmgr.local import LocalAWS


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
