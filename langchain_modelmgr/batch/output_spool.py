"""OutputSpool: what one batch inference job has written, in a temporary file, by position."""

from __future__ import annotations

import json
from array import array
from bisect import bisect_right
from dataclasses import astuple
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Self

from langchain_modelmgr.batch.records import Output
from langchain_modelmgr.usage.pricing import TokenCounts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from langchain_modelmgr.batch.row_queue import JobRows

_NONE = -1


class OutputSpool:
    """The outputs of a job's rows. Memory has 8 bytes a row, whatever the answers' length.

    Args:
        rows: The job's rows. Outputs of other rows are ignored, and further ones of the same row.

    Attributes:
        passing: The outputs that failed for a passing reason.
    """

    def __init__(self, rows: JobRows) -> None:
        spans = sorted((first, last) for *_, own in rows for first, last in own)
        self._firsts = [first for first, _ in spans]
        self._lasts = [last for _, last in spans]
        self._indexes: list[int] = []
        count = 0
        for first, last in spans:
            self._indexes.append(count)
            count += last - first + 1
        self._offsets = array("q", [_NONE]) * count
        self._file = TemporaryFile()  # noqa: SIM115 - closed by __exit__
        self._count = 0
        self.passing = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Output]:
        """Yield the outputs in the order of their positions."""
        return (self._at(offset) for offset in self._offsets if offset != _NONE)

    def add(self, output: Output) -> None:
        """Add an output, unless its row has one, or is not the job's."""
        index = self._index_of(output.position)
        if index is None or self._offsets[index] != _NONE:
            return
        self._offsets[index] = self._file.seek(0, 2)
        usage = None if output.usage is None else astuple(output.usage)
        line = json.dumps([*output._replace(usage=None), usage])
        self._file.write(line.encode() + b"\n")
        self._count += 1
        self.passing += output.may_pass

    def get(self, position: int) -> Output | None:
        """Return the output of a row; None: there is none."""
        index = self._index_of(position)
        offset = _NONE if index is None else self._offsets[index]
        return None if offset == _NONE else self._at(offset)

    def _at(self, offset: int) -> Output:
        self._file.seek(offset)
        *fields, usage = json.loads(self._file.readline())
        return Output(*fields)._replace(usage=None if usage is None else TokenCounts(*usage))

    def _index_of(self, position: int) -> int | None:
        span = bisect_right(self._firsts, position) - 1
        if span < 0 or position > self._lasts[span]:
            return None
        return self._indexes[span] + position - self._firsts[span]
