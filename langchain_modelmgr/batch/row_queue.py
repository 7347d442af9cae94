"""RowQueue: the rows of a run that are in no batch inference job yet, in the plan's order."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from langchain_modelmgr.batch.chunks import ChunkTask

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from langchain_modelmgr.batch.chunks import Chunks
    from langchain_modelmgr.batch.rows import Row

JobRow = tuple[ChunkTask, "Row"]
"""A row with its chunk."""

Spans = list[list[int]]
"""Positions: the first and the last one of each range."""

JobRows = list[tuple[int, int, Spans]]
"""Rows without their content: chunk, version and positions."""


def append_row(rows: JobRows, added: JobRow) -> None:
    """Append a row, which comes after all others."""
    task, row = added
    if not rows or rows[-1][:2] != task:
        rows.append((task.chunk, task.version, []))
    spans = rows[-1][2]
    if spans and spans[-1][1] == row.position - 1:
        spans[-1][1] = row.position
    else:
        spans.append([row.position, row.position])


def rows_without_content(rows: Iterable[JobRow]) -> JobRows:
    """Return rows in order without their content."""
    found: JobRows = []
    for row in rows:
        append_row(found, row)
    return found


def positions_of(spans: Spans) -> set[int]:
    """Return the positions of ranges."""
    return {position for first, last in spans for position in range(first, last + 1)}


class RowQueue:
    """Rows in order, read chunk by chunk.

    Args:
        chunks: The job's chunks.
        tasks: What is to be done.
        taken: The positions that are in a batch inference job, by what is to be done.
    """

    def __init__(
        self, chunks: Chunks, tasks: Sequence[ChunkTask], taken: Mapping[ChunkTask, Spans]
    ) -> None:
        self._chunks = chunks
        self._sources: deque[tuple[ChunkTask, Spans | None]] = deque((t, None) for t in tasks)
        self._taken = taken
        self._rows: deque[JobRow] = deque()

    def ahead(self, most: int) -> int:
        """Return how many rows are left, but no more than ``most``."""
        self._fill(most)
        return min(most, len(self._rows))

    def peek(self) -> JobRow | None:
        """Return the next row; None: there is none."""
        self._fill(1)
        return self._rows[0] if self._rows else None

    def take(self) -> JobRow:
        """Remove the next row and return it."""
        return self._rows.popleft()

    def put_back(self, rows: JobRows) -> None:
        """Put rows before all others, in their order. Those without an answer are read again."""
        read = rows_without_content(self._rows)
        self._rows.clear()
        for chunk, version, spans in reversed([*rows, *read]):
            self._sources.appendleft((ChunkTask(chunk, version), spans))

    def _fill(self, count: int) -> None:
        while len(self._rows) < count and self._sources:
            task, spans = self._sources.popleft()
            chunk = self._chunks.open(task)
            chunk.close()
            if spans is None:
                taken = positions_of(self._taken.get(task, []))
                rows = [row for row in chunk.pending if row.position not in taken]
            else:
                wanted = positions_of(spans)
                rows = [row for row in chunk.pending if row.position in wanted]
            self._rows.extend((task, row) for row in rows)
