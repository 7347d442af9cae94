"""Rows and outputs of batch inference jobs do not stay in memory."""

from __future__ import annotations

import tracemalloc
from contextlib import contextmanager
from decimal import Decimal
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any

import pytest

from langchain_modelmgr.batch.bedrock_drafts import Drafts, NoMoneyError
from langchain_modelmgr.batch.output_spool import OutputSpool
from langchain_modelmgr.batch.prices import batch_model
from langchain_modelmgr.batch.records import Output, RecordForm
from langchain_modelmgr.batch.row_queue import RowQueue
from langchain_modelmgr.usage.pricing import TokenCounts
from langchain_modelmgr.usage.tracks import TASK_KEY
from tests.batch.bedrock_support import job_of
from tests.batch.conftest import PROMPT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from langchain_modelmgr import Job, ModelManager

pytestmark = pytest.mark.usefixtures("batch_aws")

MEGABYTE = 1024 * 1024


@contextmanager
def peak() -> Iterator[list[float]]:
    """Measure the most memory that Python's objects take in a block, in megabytes."""
    found: list[float] = []
    tracemalloc.start()
    try:
        yield found
        found.append(tracemalloc.get_traced_memory()[1] / MEGABYTE)
    finally:
        tracemalloc.stop()


def drafts_of(manager: ModelManager, job: Job, max_usd: str | None = None) -> tuple[Drafts, Any]:
    """Return what collects the rows of a job, and its queue."""
    candidate = manager.agent("labeler").chain().candidates[0]
    candidate.resolve()
    priced = batch_model(candidate.settings.model).model
    form = RecordForm(manager.agent("labeler"), job.plan, candidate, priced)
    call = None
    if max_usd is not None:
        task = manager.budget("job", usd=max_usd)
        call = manager.budgets.of_call("labeler", {TASK_KEY: task.name})
    queue = RowQueue(job._chunks, job._chunks.pending(), {})
    return Drafts(queue, form, call, agent_name="labeler", max_usd=max_usd), queue


def test_the_rows_of_a_job_are_in_its_file_and_not_in_memory(
    bedrock_manager: ModelManager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("langchain_modelmgr.batch.plan.CHUNK_ROWS", 50)
    rows = ({"id": n, "text": f"{n} " + "x" * 20_000} for n in range(600))
    job = bedrock_manager.batch("labeler", rows, into=tmp_path / "job", key="id", prompt=PROMPT)
    drafts, queue = drafts_of(bedrock_manager, job)
    drafts._form.record(queue.peek()[1])  # loads botocore's service model

    with TemporaryFile() as file:
        with peak() as megabytes:
            draft = drafts.collect(file)
        assert file.tell() > 11 * MEGABYTE

    assert draft.count == 600
    assert draft.rows == [(n, 0, [[n * 50, n * 50 + 49]]) for n in range(12)]
    # The last 100 rows may be given back: 2 MB. A chunk is read at once: 1 MB.
    assert megabytes[0] < 7
    queue.put_back(draft.rows)
    assert [queue.take()[1].position for _ in range(queue.ahead(600))] == list(range(600))


def test_rows_that_a_job_gives_back_are_cut_off_its_file(
    bedrock_manager: ModelManager, tmp_path: Path
) -> None:
    job = job_of(bedrock_manager, tmp_path / "job", 250)
    drafts, queue = drafts_of(bedrock_manager, job)
    drafts.most = 200

    with TemporaryFile() as file:
        draft = drafts.collect(file)
        file.seek(0)
        lines = file.read().splitlines()

    assert (draft.count, len(lines), queue.ahead(1_000)) == (150, 150, 100)
    assert draft.rows == [(0, 0, [[0, 149]])]
    assert b'"R00000000149"' in lines[-1]
    assert draft.worst.tokens is not None


def test_a_job_that_is_too_dear_takes_no_row(bedrock_manager: ModelManager, tmp_path: Path) -> None:
    job = job_of(bedrock_manager, tmp_path / "job", 250)
    drafts, queue = drafts_of(bedrock_manager, job, max_usd="0.000001")

    with TemporaryFile() as file:
        with pytest.raises(NoMoneyError, match="one job of 100 rows may cost"):
            drafts.collect(file)
        assert file.seek(0, 2) == 0

    assert [queue.take()[1].position for _ in range(queue.ahead(250))] == list(range(250))


def test_outputs_are_found_by_position_and_not_kept_in_memory() -> None:
    rows = [(0, 0, [[10, 12], [20, 29]]), (7, 1, [[3_500, 3_999]])]
    with OutputSpool(rows) as spool:
        with peak() as megabytes:
            for position in range(3_999, -1, -1):
                usage = TokenCounts(position, 2, 3, 4, 5) if position % 2 else None
                spool.add(Output(position, "ä\n" * 5_000, usage))
        spool.add(Output(11, "another one", None))

        assert len(spool) == 513
        found = [output.position for output in spool]
        assert found == [10, 11, 12, *range(20, 30), *range(3_500, 4_000)]
        assert spool.get(11) == Output(11, "ä\n" * 5_000, TokenCounts(11, 2, 3, 4, 5))
        assert [spool.get(n) for n in (0, 9, 13, 30, 4_000)] == [None] * 5
    assert megabytes[0] < 1


def test_an_output_keeps_its_error_and_its_empty_text() -> None:
    with OutputSpool([(0, 0, [[0, 2]])]) as spool:
        failed = Output(0, None, None, "429: slow down", may_pass=True)
        spool.add(failed)
        spool.add(Output(1, "", TokenCounts()))

        assert list(spool) == [failed, Output(1, "", TokenCounts())]
        assert spool.passing == 1
        assert spool.get(2) is None


def test_attempts_of_many_rows_are_recorded_in_one_transaction(
    bedrock_manager: ModelManager, tmp_path: Path
) -> None:
    from langchain_modelmgr.batch.accounting import JobRecords

    priced = batch_model(bedrock_manager.agent("labeler").chain().candidates[0].settings.model)
    outputs = [Output(n, "label", TokenCounts(10, 5)) for n in range(2_345)]
    records = JobRecords(outputs, "labeler", "m", priced.model, {})

    assert bedrock_manager.totals.add_once("batch/many", records)
    assert not bedrock_manager.totals.add_once("batch/many", records)

    (row,) = bedrock_manager.usage_sql(
        "SELECT count(*) AS n, count(DISTINCT call_id) AS calls FROM attempts"
    )
    assert (row["n"], row["calls"]) == (2_345, 2_345)
    assert bedrock_manager.get_usage_summary()["attempts"] == 2_345
    bedrock_manager.flush_metrics()
    assert Decimal(str(bedrock_manager.get_usage_summary()["total_cost_usd"])) > 0
