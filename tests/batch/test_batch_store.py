"""Stores of a job: a folder and an S3 prefix behave alike."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import boto3
import pytest

from langchain_modelmgr.batch import store as module
from langchain_modelmgr.batch.answers import Logged
from langchain_modelmgr.batch.store import FolderStore, S3Store, store_of
from langchain_modelmgr.errors import JobError

if TYPE_CHECKING:
    from pathlib import Path

    from langchain_modelmgr.batch.store import Store


def test_what_was_written_is_read_and_listed(store: Store) -> None:
    store.write("a/2.json", b"two")
    store.write("a/1.json", b"one")
    store.write("b/3.json", b"three")
    store.write("a/1.json", b"new")

    assert store.read("a/1.json") == b"new"
    assert store.read("a/none") is None
    assert store.names("a") == ["a/1.json", "a/2.json"]
    assert store.names("none") == []


def test_the_first_of_many_writers_wins(store: Store) -> None:
    bodies = [str(n).encode() for n in range(8)]
    with ThreadPoolExecutor(8) as threads:
        won = list(threads.map(lambda body: store.write_new("one", body), bodies))

    assert sum(won) == 1
    assert store.read("one") == bodies[won.index(True)]
    assert store.names("") in (["one"], [])  # no temporary file is left
    assert not store.write_new("one", b"late")


def test_removed_objects_are_gone_and_unknown_ones_are_ignored(store: Store) -> None:
    store.write("a/1", b"")
    store.write("a/2", b"")

    store.remove(["a/1", "a/none"])

    assert store.names("a") == ["a/2"]


def test_a_log_can_be_read_while_it_is_written(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SEGMENT_ROWS", 2)
    log = store.log("open/one")

    log.append_now("[1]")
    assert Logged.read(_bodies(store)).notes == {1: 1}
    for line in ("[2]", "[3]", "[4]"):
        log.append(line)
    assert {1, 2, 3} <= Logged.read(_bodies(store)).notes.keys()
    log.close()

    assert Logged.read(_bodies(store)).notes == dict.fromkeys((1, 2, 3, 4), 1)


def _bodies(store: Store) -> list[bytes]:
    found = (store.read(name) for name in store.names("open"))
    return [body for body in found if body is not None]


def test_the_log_of_a_prefix_writes_what_is_old(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SEGMENT_SECONDS", 0.0)
    store = S3Store(boto3.client("s3"), bucket, "job")

    store.log("open/one").append("[1]")

    assert len(store.names("open")) == 1


def test_lists_and_removals_of_more_than_a_page_are_whole(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PAGE", 2)
    store = S3Store(boto3.client("s3"), bucket, "job")
    names = [f"a/{n}" for n in range(5)]
    for name in names:
        store.write(name, b"")

    assert store.names("a") == names
    store.remove(names)
    assert store.names("a") == []


@pytest.mark.parametrize(
    ("into", "message"),
    [
        ("", "into is empty: give a folder or s3://bucket/prefix"),
        ("s3://bucket", "names no bucket and prefix"),
        ("s3:///prefix", "names no bucket and prefix"),
        ("gs://bucket/prefix", "give a folder or s3://bucket/prefix"),
    ],
)
def test_a_place_that_is_neither_folder_nor_prefix_is_refused(into: str, message: str) -> None:
    with pytest.raises(JobError, match=message):
        store_of(into, lambda: None)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    store = FolderStore(tmp_path / "file" / "job")

    with pytest.raises(JobError, match=r"plan\.json can't be written: Not a directory"):
        store.write_new("plan.json", b"")
    with pytest.raises(JobError, match="can't be written"):
        store.log("open/one")


def test_a_file_system_without_hard_links_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr("pathlib.Path.hardlink_to", refuse)

    with pytest.raises(JobError, match="the file system has no hard links"):
        FolderStore(tmp_path).write_new("one", b"")
    assert list(tmp_path.iterdir()) == []


def test_a_refusal_of_s3_names_bucket_operation_and_code(bucket: str) -> None:
    store = S3Store(boto3.client("s3"), f"{bucket}-none", "job")

    with pytest.raises(JobError, match=rf"s3://{bucket}-none/job: PutObject failed: NoSuchBucket"):
        store.write("one", b"")
    with pytest.raises(JobError, match="GetObject failed: NoSuchBucket"):
        store.read("one")


def test_an_s3_that_cannot_be_reached_is_named(bucket: str) -> None:
    from botocore.config import Config

    once = Config(retries={"total_max_attempts": 1})
    client = boto3.client("s3", endpoint_url="http://127.0.0.1:9", config=once)

    with pytest.raises(JobError, match="ListObjectsV2 failed: EndpointConnectionError"):
        S3Store(client, bucket, "job").names("a")
