"""RowQueue: the rows of a run that are in no batch inference job yet, in the plan's order."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from langchain_modelmgr.batch.chunks import Chunks, ChunkTask
    from langchain_modelmgr.batch.rows import Row

JobRow = tuple["ChunkTask", "Row"]
"""A row with its chunk."""


class RowQueue:
    """Rows in order, read chunk by chunk.

    Args:
        chunks: The job's chunks.
        tasks: What is to be done.
        taken: The positions that are in a batch inference job, by what is to be done.
    """

    def __init__(
        self, chunks: Chunks, tasks: Sequence[ChunkTask], taken: Mapping[ChunkTask, set[int]]
    ) -> None:
        self._chunks = chunks
        self._tasks = deque(tasks)
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

    def put_back(self, rows: Iterable[JobRow]) -> None:
        """Put rows before all others, in their order."""
        self._rows.extendleft(reversed(list(rows)))

    def _fill(self, count: int) -> None:
        while len(self._rows) < count and self._tasks:
            task = self._tasks.popleft()
            chunk = self._chunks.open(task)
            chunk.close()
            taken = self._taken.get(task, set())
            self._rows.extend((task, row) for row in chunk.pending if row.position not in taken)
