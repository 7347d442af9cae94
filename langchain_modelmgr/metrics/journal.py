"""The journal: what was recorded survives the death of its process, though not of its machine.

One file a process, in a folder of its destination, held by a lock until the process ends. Lines:

    {"journal": 1, ...}           the first: its name, the destination
    {"pair": 3, "agent": ..}      an agent and a model, by number
    [3, 1763900000, 2, 812.5]     an attempt: pair, minute, then index and value of each data point
    {"cell": [3, 1763900000, 2, 812.5, 7]}    the same value seven times, after a compaction
    {"drained": true}             the attempts above are in the next datums
    {"datums": [..]}              datums that wait to be sent, each with its number
    {"sending": [4, 5]}           written before the first byte leaves
    {"kept": [4, 5]}              refused for a passing reason: they wait again
    {"done": [4, 5]}              taken, or given up and counted
    {"ambiguous": [4, 5]}         sent without an answer, given up and counted
    {"adopted": "name", "given_up": 3, "datums": ..}    what another's file had left
"""

from __future__ import annotations

import contextlib
import json
import os
import uuid
from dataclasses import asdict, replace
from decimal import Decimal
from itertools import count
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path
    from threading import RLock as Lock

    from langchain_modelmgr.metrics.aggregate import Aggregator, Pair
    from langchain_modelmgr.metrics.datums import Datum, Observation
    from langchain_modelmgr.metrics.destination import Destination

SUFFIX = ".jsonl"
COMPACT_BYTES = 32_000_000
"""A journal beyond this is written anew with what still matters; a million attempts take 100 MB."""


_COMMON, _COST = 5, 5
"""Data points of a priced answer, by far the most common attempt: a success, latency, both token
counts, and the last is the cost, whose index is 5."""

_CLOSED = "the journal is closed"


class Journal:
    """One process's journal. Appending takes microseconds: no fsync, since only a kill counts.

    Args:
        folder: The folder of the destination; made if it is missing.
        destination: What is written at the head.
        lock: The aggregate's: two locks would wait for each other when a finaliser records.

    Raises:
        OSError: The folder or the file can't be written.
    """

    def __init__(self, folder: Path, destination: Destination, lock: Lock) -> None:
        self.name = uuid.uuid4().hex
        self._folder = folder
        self._destination = destination
        self._numbers = count(1)
        self._pairs_written = 0
        self._given_up = 0
        self._lock = lock
        self._file: IO[bytes] | None = None
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # A journal must never be seen without its lock: it would be taken for a dead one's.
        fresh = self.path.with_suffix(".new")
        self._file, self._size = self._begin(fresh)
        fresh.replace(self.path)
        self._fd = self._file.fileno()

    @property
    def path(self) -> Path:
        """The file."""
        return self._folder / f"{self.name}{SUFFIX}"

    @property
    def size(self) -> int:
        """Bytes so far."""
        return self._size

    def keep(
        self, pairs: Sequence[Pair], number: int, minute: int, found: list[Observation]
    ) -> None:
        """Write an attempt down; when this returns, a killed process loses it no more.

        For who holds the lock.

        Raises:
            OSError: It can't be written.
        """
        if self._pairs_written < len(pairs):
            self._write_pairs(pairs)
        if self._file is None:
            raise OSError(_CLOSED)
        self._size += os.write(self._fd, _attempt(number, minute, found))

    def mark_drained(self) -> None:
        """Note that all attempts so far are in the datums that come next."""
        self._write({"drained": True})

    def take(
        self, datums: Iterable[Datum], *, adopted: str | None = None, given_up: int = 0
    ) -> list[Datum]:
        """Write datums down, and return them with their numbers.

        Args:
            datums: What is to be sent.
            adopted: The name of the journal that they are from.
            given_up: Data points that were ambiguous there.
        """
        numbered = [replace(datum, number=next(self._numbers)) for datum in datums]
        line: dict[str, Any] = {"datums": [_as_list(datum) for datum in numbered]}
        if adopted is not None:
            line |= {"adopted": adopted, "given_up": given_up}
            self._given_up += given_up
        if numbered or adopted is not None:
            self._write(line)
        return numbered

    def mark(self, state: str, datums: Iterable[Datum]) -> None:
        """Note that datums are ``sending``, ``kept``, ``done`` or ``ambiguous``."""
        noted = list(datums)
        if state == "ambiguous":
            self._given_up += sum(datum.samples for datum in noted)
        self._write({state: [datum.number for datum in noted]})

    def compact(self, aggregate: Aggregator, waiting: Iterable[Datum]) -> None:
        """Write the file anew with what still matters: what waits, and what is being counted.

        Raises:
            OSError: It can't be written; the old file stands.
        """
        fresh = self.path.with_suffix(".new")
        with aggregate.settled(), self._lock:
            before = self._file, self._size, self._pairs_written
            self._file, self._size = self._begin(fresh)
            self._fd = self._file.fileno()
            self._pairs_written = 0
            try:
                self._write_pairs(aggregate.pairs)
                listed = [_as_list(datum) for datum in waiting]
                self._write({"datums": listed, "given_up": self._given_up})
                for line in aggregate.as_lines():
                    self._append(line)
                fresh.replace(self.path)
            except OSError:
                self._file.close()
                self._file, self._size, self._pairs_written = before
                self._fd = -1 if self._file is None else self._file.fileno()
                with contextlib.suppress(OSError):
                    fresh.unlink()
                raise
            if before[0] is not None:
                before[0].close()

    def close(self, *, delete: bool) -> None:
        """Let go of the file; delete it if nothing in it matters any more."""
        with self._lock:
            file, self._file = self._file, None
            if file is None:
                return
            if delete:
                with contextlib.suppress(OSError):
                    self.path.unlink()
            file.close()

    def let_go_after_fork(self) -> None:
        """Close a forked child's copy of the file: the lock stays its parent's."""
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()  # the lock goes with the last copy
            self._file = None

    def _begin(self, path: Path) -> tuple[IO[bytes], int]:
        import portalocker

        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
        file = os.fdopen(os.open(path, flags, 0o600), "wb", buffering=0)
        portalocker.lock(file, portalocker.LockFlags.EXCLUSIVE | portalocker.LockFlags.NON_BLOCKING)
        head = {"journal": 1, "name": self.name, "destination": asdict(self._destination)}
        line = json.dumps(head).encode() + b"\n"
        file.write(line)
        return file, len(line)

    def _write_pairs(self, pairs: Sequence[Pair]) -> None:
        for number in range(self._pairs_written, len(pairs)):
            agent, model = pairs[number]
            self._write({"pair": number, "agent": agent, "model": model})
        self._pairs_written = len(pairs)

    def _write(self, line: dict[str, Any]) -> None:
        with self._lock:
            self._append(json.dumps(line).encode() + b"\n")

    def _append(self, line: bytes) -> None:
        """Append a line, for who holds the lock."""
        if self._file is None:
            raise OSError(_CLOSED)
        self._size += os.write(self._fd, line)


def _attempt(number: int, minute: int, found: list[Observation]) -> bytes:
    """Return an attempt's line. Written for speed: it is made while a caller waits."""
    if len(found) == _COMMON and found[-1][0] == _COST:
        (first, _), (_, latency), (_, read), (_, written), (_, cost) = found
        return (
            f'[{number},{minute},{first},1,2,{latency!r},3,{read!r},4,{written!r},5,"{cost!s}"]\n'
        ).encode()
    points = "".join(
        [
            f',{index},"{value!s}"' if type(value) is Decimal else f",{index},{value!r}"
            for index, value in found
        ]
    )
    return f"[{number},{minute}{points}]\n".encode()


def _as_list(datum: Datum) -> list[Any]:
    series = datum.series
    dimensions = [list(pair) for pair in series.dimensions]
    return [
        datum.number,
        series.name,
        series.unit,
        dimensions,
        datum.minute,
        list(datum.values),
        list(datum.counts),
    ]
