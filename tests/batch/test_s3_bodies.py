"""Bodies of S3 objects that break off in the middle are read on from there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import boto3
import pytest

from langchain_modelmgr import ConfigurationManager, JobError, ModelManager
from langchain_modelmgr.batch.store import S3Store
from tests.batch.bedrock_support import LABELER, NOVA, ROLE, job_of, ledger_of, rows_of
from tests.batch.cut_bodies import CutBodies, cut_bodies

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from langchain_modelmgr.local import LocalAWS

pytestmark = pytest.mark.usefixtures("short_polls")


@pytest.fixture
def cut(s3_url: str, bucket: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[CutBodies]:
    """Cut off bodies of the S3 server that boto3 finds."""
    with cut_bodies(s3_url) as (url, found):
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", url)
        yield found


@pytest.fixture
def manager(
    batch_aws: LocalAWS, tmp_path: Path, bucket: str, cut: CutBodies
) -> Iterator[ModelManager]:
    config = f"batch: {{role: '{ROLE}', bucket: {bucket}}}\nagents:\n  {LABELER}\n"
    (tmp_path / "test.yaml").write_text(config)
    with ModelManager(ConfigurationManager("test", tmp_path)) as made:
        yield made


def test_a_job_s_output_that_breaks_off_is_read_on_and_taken_once(
    manager: ModelManager, tmp_path: Path, batch_aws: LocalAWS, cut: CutBodies
) -> None:
    cut.ending, cut.times = "rows.jsonl.out", 3
    job = job_of(manager, tmp_path / "job", 400)

    status = job.run(engine="bedrock", max_usd=1)

    assert (status.done, status.reason, status.maybe_billed_twice) == (400, None, 0)
    assert [row["text"] for row in rows_of(job)] == [
        f"You said: Label this: ticket {n}" for n in range(400)
    ]
    assert ledger_of(manager)["attempts"] == 400
    assert batch_aws.batch.counts(NOVA).records == 400
    assert cut.ranges[0] is None
    starts = [int(each.removeprefix("bytes=").rstrip("-")) for each in cut.ranges[1:] if each]
    assert len(starts) == 3
    assert sorted(set(starts)) == starts  # each goes on where the one before broke off


def test_a_job_s_output_that_always_breaks_off_is_left_to_the_next_run(
    manager: ModelManager, tmp_path: Path, batch_aws: LocalAWS, cut: CutBodies
) -> None:
    cut.ending, cut.times = "rows.jsonl.out", 1_000_000
    job = job_of(manager, tmp_path / "job")

    with pytest.raises(JobError, match="GetObject failed 8 times: IncompleteReadError"):
        job.run(engine="bedrock")
    cut.times = 0

    assert job.run(engine="bedrock").done == 120
    assert ledger_of(manager)["attempts"] == batch_aws.batch.counts().records == 120


@pytest.mark.parametrize("times", [1, 1_000])
def test_an_object_of_a_job_on_s3_that_breaks_off_is_read_on(
    bucket: str, cut: CutBodies, times: int
) -> None:
    store = S3Store(boto3.client("s3"), bucket, "job")
    body = bytes(range(256)) * 4_000
    store.write("plan/000000.parquet", body)
    cut.ending, cut.times = ".parquet", times

    if times == 1:
        assert store.read("plan/000000.parquet") == body
        assert cut.ranges == [None, "bytes=512000-"]
    else:
        with pytest.raises(JobError, match="GetObject failed 8 times: IncompleteReadError"):
            store.read("plan/000000.parquet")
