r"""Segment and Writer: a process's part of the ledger, appended in the caller's thread.

A line is JSON between two line ends, so that one that was cut short never joins the next:

    {"segment": 1, ...}                       the first line: its writer
    {"identity": ".."}                        the account, once it is known
    [0, 7, "sql_agent"]                       a name, and its number in later lines
    [1, 7, 8, null, null, 3, 1763900000123, ..]   an attempt started: agent, model, .., number, time
    [2, null, null, 3, 1763900000945, 0, ..]      it ended; ``line_writer.py`` names the fields

A name may be written out in place of its number.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import uuid
from collections import deque
from itertools import count
from json.encoder import encode_basestring_ascii as quoted
from typing import TYPE_CHECKING, Any

from langchain_modelmgr.ledger.process_lock import SUFFIX as LOCK
from langchain_modelmgr.ledger.process_lock import ProcessLock

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

FOLDER = "segments"
SUFFIX = ".jsonl"

MAX_NAMES = 4_000
"""Names of a segment that get a number; further names are written out."""

MAX_BACKLOG_BYTES = 16_000_000
"""Bytes of lines that wait in memory while the disk is full; further lines are discarded."""

ROTATE_BYTES = 8_000_000
"""Size after which a new segment is begun, so that the old one can be deleted."""


class SealedError(Exception):
    """The writer has ended: the line must go to another writer."""


class Segment:
    """One file of a writer, or the same in memory. The caller holds the writer's lock.

    Args:
        path: The file, which must not exist; None: memory.
        head: The first line.
        names: Names with their numbers, for lines of a lost file.

    Raises:
        OSError: The file can't be made.
    """

    def __init__(
        self, path: Path | None, head: Mapping[str, Any], names: Mapping[str, str] | None = None
    ) -> None:
        self.path = path
        self.name = "memory" if path is None else path.name
        self.size = 0
        self._lines: deque[bytes] = deque()  # of memory: what no slice has looked at
        self._slice, self._forgotten = b"", 0
        self._fd = -1
        if path is not None:
            flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
            self._fd = os.open(path, flags, 0o600)
        self.names = dict(names or {})
        self._numbers = count(len(self.names))
        self.write(b"\n" + json.dumps(head).encode() + b"\n")
        for name, number in self.names.items():
            self.write(f"\n[0,{number},{quoted(name)}]\n".encode())

    def write(self, line: bytes) -> None:
        """Append a line.

        Raises:
            OSError: It is not in the file, or not whole.
        """
        if self.path is None:
            self._lines.append(line)
            self.size += len(line)
            return
        written = os.write(self._fd, line)
        self.size += written
        if written != len(line):
            raise OSError("a short write")

    def number_of(self, name: str) -> str:
        """Return the number of a name; write it to the segment if it is new."""
        known = self.names.get(name)
        if known is not None:
            return known
        text = quoted(name.encode("utf-8", "replace").decode())
        if len(self.names) >= MAX_NAMES:
            return text
        number = str(next(self._numbers))
        try:
            self.write(f"\n[0,{number},{text}]\n".encode())
        except OSError:
            return text
        self.names[name] = number  # a finaliser may have written it in between: two are the same
        return number

    def is_in_place(self) -> bool:
        """Return whether the file is still the one in its folder."""
        if self.path is None:
            return True
        try:
            return os.path.samestat(os.fstat(self._fd), self.path.stat())
        except OSError:
            return False

    def peek(self, offset: int) -> bytes:  # noqa: ARG002 - a file's reader needs it
        """Return the lines in memory that are not ingested. Other threads may write meanwhile."""
        with contextlib.suppress(IndexError):
            self._slice += b"".join([self._lines.popleft() for _ in range(len(self._lines))])
        return self._slice

    def forget(self, offset: int) -> None:
        """Discard lines in memory up to an offset: they are in the tables."""
        self._slice = self._slice[offset - self._forgotten :]
        self._forgotten = offset

    def rest(self, offset: int) -> bytes:
        """Return what was written from an offset on, even if the file was removed."""
        with contextlib.suppress(OSError, AttributeError):  # no pread on Windows
            return os.pread(self._fd, self.size - offset, offset)
        return b""

    def close(self) -> None:
        """Close the file."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            with contextlib.suppress(OSError):
                os.close(fd)


class Writer:
    """Appends lines to the segments of one ledger of one process.

    Args:
        folder: The ledger's folder; None: memory.
        head: The content of each segment's first line.

    Raises:
        OSError: The folder can't be used.

    Attributes:
        name: Its name, with which its files' names begin.
        waiting: Lines written since the last ingest.
        given_up: Lines discarded because the disk was full too long.
        read_to: Bytes of the segment that are in the tables.
        identity: The identity of the account, as written last.
    """

    def __init__(self, folder: Path | None, head: Mapping[str, Any]) -> None:
        self.name = uuid.uuid4().hex
        self.waiting = 0
        self.given_up = 0
        self.read_to = 0
        self._is_sealed = False
        self._head = {"segment": 1, "writer": self.name, **head}
        self.identity: str | None = self._head.get("identity")
        self._serial = count(1)
        self._folder = folder if folder is None else folder / FOLDER
        self._lock = threading.RLock()  # a finaliser may record in the middle of a write
        self._backlog: deque[bytes] = deque()
        self._backlog_bytes = 0
        self._process_lock: ProcessLock | None = None
        self._segment = self._open()

    @property
    def segment(self) -> Segment:
        """The segment that is written to."""
        return self._segment

    @property
    def has_backlog(self) -> bool:
        """True while lines wait in memory, for a disk that is full."""
        return bool(self._backlog)

    def append(self, kind: str, names: Iterable[str | None], rest: str) -> None:
        """Append a line: ``kind``, then names by number, then what is JSON already.

        Raises:
            SealedError: The writer has ended.
        """
        with self._lock:
            if self._is_sealed:
                raise SealedError
            segment = self._segment
            numbers = ",".join(
                ["null" if name is None else segment.number_of(name) for name in names]
            )
            self._append(f"\n[{kind},{numbers},{rest}]\n".encode())

    def append_line(self, line: str) -> None:
        """Append a line that is JSON already."""
        with self._lock:
            self._append(f"\n{line}\n".encode())

    def identify(self, identity: str) -> None:
        """Write the identity of the account to the segment."""
        self.identity = self._head["identity"] = identity
        self.append_line(json.dumps({"identity": identity}))

    def recover(self) -> None:
        """Write the lines that wait in memory; open a new file if the old one was removed.

        Raises:
            OSError: The disk is still full, or the folder can't be created.
        """
        with self._lock:
            if not self._segment.is_in_place():
                self._reopen()
            while self._backlog:
                self._segment.write(self._backlog[0])
                self._backlog_bytes -= len(self._backlog.popleft())

    def rotate(self) -> None:
        """Begin another segment if this one is large."""
        with self._lock:
            if self._segment.size > ROTATE_BYTES and not self._backlog and self._folder is not None:
                with contextlib.suppress(OSError):
                    past, self._segment = self._segment, self._open()
                    past.close()
                    self.read_to = 0

    def seal(self) -> bool:
        """Refuse further lines if all are in the tables; return whether that is so."""
        with self._lock:
            self._is_sealed = not self._backlog and self._segment.size == self.read_to
            return self._is_sealed

    def end(self) -> None:
        """Remove the file and its lock, after all of it was read."""
        with self._lock:
            if self._segment.path is not None:
                with contextlib.suppress(OSError):
                    self._segment.path.unlink()
            self._segment.close()
            if self._process_lock is not None:
                self._process_lock.end()

    def close(self) -> None:
        """Close the files and leave them to the next process; also in a forked child."""
        self._segment.close()
        if self._process_lock is not None:
            self._process_lock.close()

    def _append(self, line: bytes) -> None:
        self.waiting += 1
        if not self._backlog:
            try:
                self._segment.write(line)
            except OSError:
                pass
            else:
                return
        if self._backlog_bytes + len(line) > MAX_BACKLOG_BYTES:
            self.given_up += 1
            return
        self._backlog.append(line)
        self._backlog_bytes += len(line)

    def _open(self, names: Mapping[str, str] | None = None) -> Segment:
        if self._folder is None:
            return Segment(None, self._head, names)
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self._process_lock is None:  # other processes must not see a segment without a lock
            self._process_lock = ProcessLock(self._folder / f"{self.name}{LOCK}")
        path = self._folder / f"{self.name}-{next(self._serial):06}{SUFFIX}"
        return Segment(path, self._head, names)

    def _reopen(self) -> None:
        lost = self._segment
        if self._process_lock is not None and not self._lock_is_in_place():
            self._process_lock.close()
            self._process_lock = None
        segment = self._open(lost.names)
        rest = lost.rest(self.read_to)
        if rest:
            segment.write(rest)
        self._segment = segment
        self.read_to = 0
        lost.close()

    def _lock_is_in_place(self) -> bool:
        return self._folder is not None and (self._folder / f"{self.name}{LOCK}").exists()
