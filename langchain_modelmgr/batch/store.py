"""Stores of a job: a folder or an S3 prefix, where the first writer of a name wins."""

from __future__ import annotations

import os
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from langchain_modelmgr.batch.s3_bodies import blocks_of
from langchain_modelmgr.errors import JobError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

SEGMENT_ROWS = 50
SEGMENT_SECONDS = 2.0
"""A log on S3 becomes an object after so many lines, or after so many seconds."""

_CONFLICT = 409
_EXISTS = 412
_PAGE = 1_000


class Log(Protocol):
    """The lines of one worker about one chunk."""

    def append(self, line: str) -> None:
        """Append a line; on S3 it is written within two seconds, or with the next ``flush``."""

    def append_now(self, line: str) -> None:
        """Append a line, and return when it can be read by others."""

    def flush(self) -> None:
        """Write everything that was appended."""

    def close(self) -> None:
        """Write everything, and release the file."""


class Store(Protocol):
    """The objects of a job, by name. Any thread may use it.

    Attributes:
        where: The folder or ``s3://`` prefix, for errors.
        notes_each_row: Whether a note for each row is cheap; otherwise one is written for a group.
    """

    where: str
    notes_each_row: bool

    def read(self, name: str) -> bytes | None:
        """Return an object; None if there is none."""

    def write(self, name: str, body: bytes) -> None:
        """Write an object, replacing another of that name."""

    def write_new(self, name: str, body: bytes) -> bool:
        """Write an object that does not exist yet; return whether it was written."""

    def names(self, prefix: str) -> list[str]:
        """Return the names below ``prefix/``, sorted."""

    def remove(self, names: Iterable[str]) -> None:
        """Remove objects; those that do not exist are ignored."""

    def log(self, name: str) -> Log:
        """Return a new log, whose objects' names begin with ``name``."""


def store_of(into: str | os.PathLike[str], s3_client: Callable[[], Any]) -> Store:
    """Return the store of a job.

    Args:
        into: A folder, or ``s3://bucket/prefix``.
        s3_client: Returns a boto3 client of S3.

    Raises:
        JobError: It is neither.
    """
    if not isinstance(into, str | os.PathLike) or not isinstance(text := os.fspath(into), str):
        raise JobError(f"into {into!r}: give a folder or s3://bucket/prefix")
    if not text.strip():
        raise JobError("into is empty: give a folder or s3://bucket/prefix")
    if not text.startswith("s3://"):
        is_path = "\0" not in text and _is_unicode(text)
        if "://" in text or not is_path:
            raise JobError(f"into {text!r}: give a folder or s3://bucket/prefix")
        return FolderStore(Path(text))
    bucket, _, prefix = text.removeprefix("s3://").partition("/")
    if not bucket or not prefix.strip("/"):
        raise JobError(f"into {text!r} names no bucket and prefix: give s3://bucket/prefix")
    return S3Store(s3_client(), bucket, prefix.strip("/"))


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


class FolderStore:
    """A folder of a local or shared file system that has hard links.

    Args:
        folder: The folder; it is created with the first object.
    """

    notes_each_row = True

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self.where = str(folder)

    def read(self, name: str) -> bytes | None:
        """Return an object; None if there is none."""
        try:
            return (self.folder / name).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._failed(name, "read", error) from error

    def write(self, name: str, body: bytes) -> None:
        """Write an object, replacing another of that name."""
        temporary = self._temporary(name, body)
        try:
            Path(temporary).replace(self.folder / name)
        except OSError as error:
            raise self._failed(name, "written", error) from error

    def write_new(self, name: str, body: bytes) -> bool:
        """Write an object that does not exist yet; return whether it was written.

        Raises:
            JobError: The file system has no hard links.
        """
        temporary = self._temporary(name, body)
        try:
            (self.folder / name).hardlink_to(temporary)
        except FileExistsError:
            return False
        except OSError as error:
            raise JobError(
                f"{self.where}: the file system has no hard links ({error.strerror}): "
                "use another folder, or s3://bucket/prefix"
            ) from error
        finally:
            Path(temporary).unlink(missing_ok=True)
        return True

    def _temporary(self, name: str, body: bytes) -> str:
        path = self.folder / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor, temporary = tempfile.mkstemp(prefix=".", suffix=".new", dir=path.parent)
        except OSError as error:
            raise self._failed(name, "written", error) from error
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(body)
                file.flush()
                os.fsync(descriptor)
        except OSError as error:
            with suppress(OSError):
                Path(temporary).unlink()
            raise self._failed(name, "written", error) from error
        return temporary

    def _failed(self, name: str, what: str, error: OSError) -> JobError:
        return JobError(f"{self.folder / name} can't be {what}: {error.strerror}")

    def names(self, prefix: str) -> list[str]:
        """Return the names below ``prefix/``, sorted."""
        root = self.folder / prefix

        def check(error: OSError) -> None:
            # Other workers remove folders. Any other failure must not look like missing results.
            if not isinstance(error, FileNotFoundError):
                raise self._failed(prefix, "read", error) from error

        return sorted(
            (Path(folder) / file).relative_to(self.folder).as_posix()
            for folder, _, files in os.walk(root, onerror=check)
            for file in files
            if not file.startswith(".")
        )

    def remove(self, names: Iterable[str]) -> None:
        """Remove objects, and their folders if these are empty then."""
        for name in names:
            path = self.folder / name
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise self._failed(name, "removed", error) from error
            with suppress(OSError):  # not empty
                path.parent.rmdir()

    def log(self, name: str) -> Log:
        """Return a new log, which is one file."""
        return _FileLog(self.folder / f"{name}.jsonl")


class _FileLog:
    def __init__(self, path: Path) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL
            self._file = os.open(path, flags | getattr(os, "O_BINARY", 0), 0o600)
        except OSError as error:
            raise JobError(f"{path} can't be written: {error.strerror}") from error
        self._path = path
        self._is_cut = False

    def append(self, line: str) -> None:
        # The line before may have been cut short by a full disk.
        body = f"\n{line}\n".encode() if self._is_cut else f"{line}\n".encode()
        try:
            written = os.write(self._file, body)
        except OSError as error:
            raise JobError(f"{self._path} can't be written: {error.strerror}") from error
        self._is_cut = written != len(body)
        if self._is_cut:
            raise JobError(f"{self._path} can't be written: no space left")

    append_now = append

    def flush(self) -> None:
        pass

    def close(self) -> None:
        os.close(self._file)


class S3Store:
    """A prefix of an S3 bucket.

    Args:
        client: A boto3 client of S3.
        bucket: The bucket.
        prefix: The prefix, without slashes at its ends.
    """

    notes_each_row = False

    def __init__(self, client: Any, bucket: str, prefix: str) -> None:
        self.where = f"s3://{bucket}/{prefix}"
        self.bucket = bucket
        self.prefix = prefix
        self._client = client

    def read(self, name: str) -> bytes | None:
        """Return an object; None if there is none."""

        def get(**more: str) -> Any:
            return self._call("GetObject", "get_object", Key=self._key(name), **more)

        try:
            return b"".join(blocks_of(get, f"{self.where}: "))
        except KeyError:
            return None

    def write(self, name: str, body: bytes) -> None:
        """Write an object, replacing another of that name."""
        self._call("PutObject", "put_object", Key=self._key(name), Body=body)

    def write_new(self, name: str, body: bytes) -> bool:
        """Write an object that does not exist yet; return whether it was written."""
        key = self._key(name)
        while True:
            try:
                self._call("PutObject", "put_object", Key=key, Body=body, IfNoneMatch="*")
            except FileExistsError:
                return False
            except BlockingIOError:  # another writer is about to write it
                time.sleep(SEGMENT_SECONDS / 10)
            else:
                return True

    def names(self, prefix: str) -> list[str]:
        """Return the names below ``prefix/``, sorted."""
        return sorted(self._names(prefix))

    def _names(self, prefix: str) -> Iterator[str]:
        more: dict[str, Any] = {"MaxKeys": _PAGE}
        while True:
            page = self._call(
                "ListObjectsV2", "list_objects_v2", Prefix=self._key(f"{prefix}/"), **more
            )
            for found in page.get("Contents", ()):
                yield found["Key"].removeprefix(f"{self.prefix}/")
            if not page.get("IsTruncated"):
                return
            more["ContinuationToken"] = page["NextContinuationToken"]

    def remove(self, names: Iterable[str]) -> None:
        """Remove objects; those that do not exist are ignored."""
        keys = [{"Key": self._key(name)} for name in names]
        for start in range(0, len(keys), _PAGE):
            objects = {"Objects": keys[start : start + _PAGE], "Quiet": True}
            self._call("DeleteObjects", "delete_objects", Delete=objects)

    def log(self, name: str) -> Log:
        """Return a new log, each of whose segments is one object."""
        return _S3Log(self, name)

    def _key(self, name: str) -> str:
        return f"{self.prefix}/{name}"

    def _call(self, operation: str, method: str, **arguments: Any) -> Any:
        """Make a request.

        Raises:
            KeyError: There is no such object.
            FileExistsError: There is one already.
            BlockingIOError: Another writer is writing it.
            JobError: The request failed; the message names bucket, operation and AWS's code.
        """
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            return getattr(self._client, method)(Bucket=self.bucket, **arguments)
        except ClientError as error:
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
            code = error.response.get("Error", {}).get("Code", "")
            if code == "NoSuchKey":
                raise KeyError(arguments["Key"]) from None
            if "IfNoneMatch" in arguments and status in (_EXISTS, _CONFLICT):
                kind = FileExistsError if status == _EXISTS else BlockingIOError
                raise kind(arguments["Key"]) from None
            raise JobError(f"{self.where}: {operation} failed: {code}") from error
        except BotoCoreError as error:
            raise JobError(f"{self.where}: {operation} failed: {type(error).__name__}") from error


class _S3Log:
    def __init__(self, store: S3Store, name: str) -> None:
        self._store = store
        self._name = name
        self._serial = 0
        self._lines: list[str] = []
        self._since = time.monotonic()
        self._lock = threading.Lock()

    def append(self, line: str) -> None:
        with self._lock:
            if not self._lines:
                self._since = time.monotonic()
            self._lines.append(line)
            is_due = len(self._lines) >= SEGMENT_ROWS
        if is_due or self.is_old:
            self.flush()

    @property
    def is_old(self) -> bool:
        return bool(self._lines) and time.monotonic() - self._since >= SEGMENT_SECONDS

    def append_now(self, line: str) -> None:
        with self._lock:
            self._lines.append(line)
        self.flush()

    def flush(self) -> None:
        with self._lock:
            if not self._lines:
                return
            body = "".join(f"{line}\n" for line in self._lines)
            self._store.write(f"{self._name}-{self._serial:06}.jsonl", body.encode())
            self._serial += 1
            self._lines = []

    close = flush
