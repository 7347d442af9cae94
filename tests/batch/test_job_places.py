"""Places of jobs: each keeps its own money, and a place that fails is named."""

from __future__ import annotations

import decimal
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from langchain_modelmgr import Job, JobError, ModelManager
from langchain_modelmgr.batch import plan
from langchain_modelmgr.batch.answers import Answer
from langchain_modelmgr.batch.chunks import LOGS, RESULTS, Chunks, ChunkTask
from langchain_modelmgr.batch.plan import planned
from langchain_modelmgr.batch.results import dataset_of
from langchain_modelmgr.batch.rows import Rows
from langchain_modelmgr.batch.status import status_of
from langchain_modelmgr.batch.store import FolderStore
from langchain_modelmgr.local.scripted import ScriptedReply
from tests.batch.conftest import PROMPT, tickets

if TYPE_CHECKING:
    from collections.abc import Callable

    from langchain_modelmgr.batch.chunks import OpenChunk
    from langchain_modelmgr.local import LocalAWS

USAGE = {"inputTokens": 1_234, "outputTokens": 100, "totalTokens": 1_334}


def job_of(manager: ModelManager, into: Any, count: int = 4) -> Job:
    return manager.batch("labeler", tickets(count), into=into, key="id", prompt=PROMPT)


def test_the_same_rows_in_another_place_have_money_of_their_own(
    manager: ModelManager, tmp_path: Path, local_aws: LocalAWS
) -> None:
    local_aws.script(lambda _: ScriptedReply(text="label", usage=USAGE))
    spent = job_of(manager, tmp_path / "one").run(max_usd=1).cost_usd

    status = job_of(manager, tmp_path / "two").run(max_usd=spent * 2)

    assert (status.done, status.reason) == (4, None)


def test_a_folder_is_found_after_the_process_went_to_another_one(
    manager: ModelManager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    job = job_of(manager, "job")
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")

    assert job.run().done == 4
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize(
    ("into", "message"),
    [
        ("file", r"file/plan\.json can't be read: Not a directory"),
        ("file/below", r"plan\.json can't be read: Not a directory"),
        ("a" * 300, r"plan\.json can't be read: File name too long"),
        ("a\0b", "give a folder or s3://bucket/prefix"),
        ("a\ud800", "give a folder or s3://bucket/prefix"),
        (None, "into None: give a folder or s3://bucket/prefix"),
        (b"job", "into b'job': give a folder or s3://bucket/prefix"),
    ],
)
def test_a_place_that_cannot_be_used_is_named(
    into: Any, message: str, manager: ModelManager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("x")

    with pytest.raises(JobError, match=message):
        job_of(manager, into)


@pytest.mark.parametrize("name", ["a b#%20", "jöb [1]?", "line\nbreak"])
def test_a_folder_may_have_any_name(name: str, manager: ModelManager, tmp_path: Path) -> None:
    job = job_of(manager, f"{tmp_path / name}/")

    assert job.run().done == 4
    assert job.results().count_rows() == 4


class Watched(FolderStore):
    """A folder in which something happens after a listing."""

    after: tuple[str, Callable[[], None]] | None = None

    def names(self, prefix: str) -> list[str]:
        found = super().names(prefix)
        if self.after is not None and self.after[0] == prefix:
            step, self.after = self.after[1], None
            step()
        return found


def answer_all(chunk: OpenChunk) -> None:
    for row in chunk.pending:
        chunk.note(row)
        chunk.answered(Answer(row.position, "t", None, "m", "local", 1, 1, decimal.Decimal(1)))


@pytest.mark.parametrize("prefix", [LOGS, RESULTS])
def test_a_chunk_that_ends_while_the_job_is_looked_at_is_counted(
    prefix: str, tmp_path: Path
) -> None:
    store = Watched(tmp_path / "job")
    made = planned(store, "a", Rows(["a", "b"], key=None, prompt=None), system="", window=None)
    chunks = Chunks(made, store)
    chunk = chunks.open(ChunkTask(0))
    answer = Answer(0, "t", None, "m", "local", 1, 1, decimal.Decimal(1))
    chunk.answered(answer)

    def end() -> None:
        chunk.answered(answer._replace(position=1))

    store.after = (prefix, end)
    found = status_of(chunks)

    assert found.done + found.pending == 2
    assert found.done >= 1


def test_rows_that_a_dead_retry_answered_are_results(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "job")
    made = planned(store, "a", Rows(["a", "b"], key=None, prompt=None), system="", window=None)
    chunks = Chunks(made, store)
    first = chunks.open(ChunkTask(0))
    for row in first.pending:
        first.answered(Answer.failed(row.position, "odd", "local"))
    again = chunks.open(ChunkTask(0, 1))
    again.answered(Answer(0, "t", None, "m", "local", 1, 1, decimal.Decimal(1)))

    found = status_of(chunks)

    assert (found.done, found.failed, found.pending) == (1, 1, 0)
    assert dataset_of(chunks).to_table().column("text").to_pylist() == ["t", None]
    answer_all(chunks.open(ChunkTask(0, 1)))
    assert (status_of(chunks).done, status_of(chunks).cost_usd) == (2, decimal.Decimal(2))


def test_a_folder_that_cannot_be_listed_does_not_look_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = FolderStore(tmp_path)
    store.write("results/one", b"x")

    def stale(_: Any) -> Any:
        raise OSError(116, "Stale file handle")

    monkeypatch.setattr(os, "scandir", stale)
    with pytest.raises(JobError, match="results can't be read: Stale file handle"):
        store.names("results")


def test_a_line_that_was_cut_short_does_not_spoil_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = FolderStore(tmp_path).log("open/0-0/a")
    write = os.write
    monkeypatch.setattr(os, "write", lambda file, body: write(file, body[:5]))
    with pytest.raises(JobError, match="no space left"):
        log.append("[1, 2, 3]")
    monkeypatch.undo()
    log.append("[4]")
    log.close()

    assert (tmp_path / "open/0-0/a.jsonl").read_bytes().splitlines() == [b"[1, 2", b"[4]"]


def test_the_application_s_decimal_context_changes_no_amount(
    manager: ModelManager, tmp_path: Path, local_aws: LocalAWS, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "CHUNK_ROWS", 3)
    local_aws.script(lambda _: ScriptedReply(text="label", usage=USAGE))
    expected = job_of(manager, tmp_path / "a", 8)
    strict = decimal.Context(prec=3, traps=[decimal.Inexact, decimal.FloatOperation])
    with decimal.localcontext(strict):
        job = job_of(manager, tmp_path / "b", 8)
        before, status = job.estimate(), job.run(max_usd=12.3456789)

    assert {e: (f.usd_low, f.usd_high) for e, f in before.items()} == {
        e: (f.usd_low, f.usd_high) for e, f in expected.estimate().items()
    }
    assert status.cost_usd == expected.run().cost_usd


def test_a_finished_job_is_estimated_at_zero_usd(manager: ModelManager, tmp_path: Path) -> None:
    job = job_of(manager, tmp_path / "job")
    job.run()

    found = job.estimate()["local"]

    assert (found.rows, str(found.usd_low), str(found.usd_high)) == (0, "0", "0")


@pytest.mark.parametrize("name", ["run.json", "workers/one.json", "results/000000-0.parquet"])
@pytest.mark.usefixtures("local_aws")
def test_an_object_of_a_job_that_is_damaged_is_named(
    name: str, manager: ModelManager, tmp_path: Path
) -> None:
    job = job_of(manager, tmp_path / "job")
    job.run()
    path = tmp_path / "job" / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"damaged")

    with pytest.raises(JobError, match=f"{name} is damaged"):
        job_of(manager, tmp_path / "job").status()
