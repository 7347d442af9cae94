"""Finds the segments of a ledger, and reads their unread lines."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

from langchain_modelmgr.ledger.process_lock import SUFFIX as LOCK
from langchain_modelmgr.ledger.process_lock import locked_if_dead
from langchain_modelmgr.ledger.segment import FOLDER, SUFFIX

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import ExitStack
    from pathlib import Path

    from langchain_modelmgr.ledger.segment import Segment, Writer

MAX_BYTES = 4_000_000
"""Bytes that are read at once; a longer line is not a ledger's."""


@dataclass
class Source:
    """A segment to read, with the writer that it belongs to."""

    name: str
    writer: str
    read: Callable[[int], bytes]
    own: Writer | None = None
    segment: Segment | None = None
    path: Path | None = None
    is_last: bool = False
    is_dead: bool = False
    is_closed: bool = False
    is_done: bool = False


def unread_segments(folder: Path | None, own: Writer, locks: ExitStack) -> Iterator[Source]:
    """Yield the segments of a ledger: own segments first, then those of other processes.

    Args:
        folder: The ledger's folder; None: memory.
        own: The writer of the ledger that reads.
        locks: Keeps the locks of dead writers until all is read.
    """
    if folder is None:
        segment = own.segment
        yield Source(segment.name, own.name, segment.peek, own, segment)
        return
    by_writer: dict[str, list[Path]] = {}
    for path in sorted((folder / FOLDER).glob(f"*{SUFFIX}")):
        if not path.name.isascii() or not path.is_file():
            continue  # not a segment: a name that some databases refuse, a folder, a pipe
        by_writer.setdefault(path.name.partition("-")[0], []).append(path)
    yield from _own_sources(own, by_writer.pop(own.name, []))
    for writer, paths in by_writer.items():
        yield from _others(writer, paths, locks)


def _own_sources(own: Writer, paths: list[Path]) -> Iterator[Source]:
    for path in paths:
        current = own.segment if path == own.segment.path else None
        yield Source(
            path.name, own.name, _reader(path), own, current, path, is_closed=current is None
        )


def _others(writer: str, paths: list[Path], locks: ExitStack) -> Iterator[Source]:
    lock: IO[bytes] | None = locked_if_dead(paths[0].with_name(f"{writer}{LOCK}"), paths[-1])
    if lock is not None:
        locks.enter_context(lock)
        # It may have begun another segment before it died.
        paths = sorted(paths[0].parent.glob(f"{writer}-*{SUFFIX}"))
    for path in paths:
        if not os.access(path, os.R_OK):
            return
        last = path == paths[-1]
        yield Source(
            path.name, writer, _reader(path), path=path, is_last=last,
            is_dead=lock is not None, is_closed=lock is not None or not last,
        )  # fmt: skip


def _reader(path: Path) -> Callable[[int], bytes]:
    def read(offset: int) -> bytes:
        try:
            with path.open("rb") as file:
                file.seek(offset)
                return file.read(MAX_BYTES)
        except FileNotFoundError:  # another process has ingested it
            return b""

    return read


def whole_lines(data: bytes, most: int) -> tuple[int, list[bytes]]:
    """Return the whole lines and their size in bytes; the last line may still be incomplete."""
    end = data.rfind(b"\n") + 1
    if not end:
        return 0, []
    # Two line ends go with each line.
    parts = data[:end].split(b"\n", 2 * most)
    rest = parts.pop() if parts else b""
    return end - len(rest), [part for part in parts if part]


def parsed(lines: list[bytes]) -> Iterator[tuple[bytes, Any]]:
    """Yield each line with its JSON: parsed at once, or one by one if a line is not JSON."""
    try:
        values = json.loads(b"[" + b",".join(lines) + b"]")
    except (ValueError, RecursionError):
        values = []
    if len(values) == len(lines):
        yield from zip(lines, values, strict=True)
        return
    for line in lines:
        try:
            yield line, json.loads(line)
        except (ValueError, RecursionError):
            yield line, None
