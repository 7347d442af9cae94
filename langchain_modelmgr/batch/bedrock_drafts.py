"""Drafts of batch inference jobs: as many rows as the quotas and the budgets allow."""

from __future__ import annotations

from collections import deque
from decimal import Decimal
from typing import IO, TYPE_CHECKING, NamedTuple

from langchain_modelmgr.batch.row_queue import append_row, rows_without_content
from langchain_modelmgr.budgets.job_hold import Room, room_of
from langchain_modelmgr.budgets.money import usd_of_nano
from langchain_modelmgr.budgets.worst_case import WorstCase
from langchain_modelmgr.errors import ConfigurationError

if TYPE_CHECKING:
    from langchain_modelmgr.batch.records import Record, RecordForm
    from langchain_modelmgr.batch.row_queue import JobRow, JobRows, RowQueue
    from langchain_modelmgr.budgets.call_budget import CallBudget

MIN_RECORDS, MAX_RECORDS, MAX_BYTES = 100, 50_000, 1024**3
"""AWS's default quotas of a job, and of an input file. Read 2026-11-27."""


class NoMoneyError(Exception):
    """Raised if the budgets can't pay for the smallest job. Its text says what would be enough."""


class _Last(NamedTuple):
    """A row that may be given back, and what the draft had before it."""

    row: JobRow
    bytes: int
    nano_usd: int | None
    tokens: int | None


class Draft:
    """The rows of a job while they are collected. Their content is in the file alone.

    Args:
        file: The input file.
        fewest: The most rows that ``drop`` can remove.

    Attributes:
        file: The input file.
        count: The number of the rows.
    """

    def __init__(self, file: IO[bytes], fewest: int) -> None:
        self.file = file
        self.count = 0
        self._fewest = fewest
        self._earlier: JobRows = []
        self._last: deque[_Last] = deque()
        self._nano: int | None = 0
        self._tokens: int | None = 0

    @property
    def rows(self) -> JobRows:
        """The rows, without their content."""
        found: JobRows = [
            (chunk, version, [list(span) for span in spans])
            for chunk, version, spans in self._earlier
        ]
        for last in self._last:
            append_row(found, last.row)
        return found

    @property
    def worst(self) -> WorstCase:
        """The most that all rows can use; None: unknown."""
        return WorstCase(self._tokens, self._nano, 0)

    def add(self, row: JobRow, record: Record) -> None:
        """Add a row, and write its record."""
        self._last.append(_Last(row, self.file.tell(), self._nano, self._tokens))
        if len(self._last) > self._fewest:
            append_row(self._earlier, self._last.popleft().row)
        worst = record.worst or WorstCase(None, None, 0)
        self._nano = _sum(self._nano, worst.nano_usd)
        self._tokens = _sum(self._tokens, worst.tokens)
        self.file.write(record.line)
        self.count += 1

    def drop(self, count: int) -> JobRows:
        """Remove the last rows, ``fewest`` at most, and return them without their content."""
        dropped = [self._last.pop() for _ in range(count)]
        if dropped:
            _, size, self._nano, self._tokens = dropped[-1]
            self.file.seek(size)
            self.file.truncate()
            self.count -= count
        return rows_without_content(each.row for each in reversed(dropped))


def _sum(amount: int | None, more: int | None) -> int | None:
    return None if amount is None or more is None else amount + more


class Drafts:
    """Collects the rows of one job after the other.

    Args:
        queue: The rows.
        form: Forms their records.
        call: The budgets that hold the jobs; None: no budget does.
        agent_name: The agent, for errors.
        max_usd: The limit of the whole plan, as text; None: none.

    Attributes:
        fewest: The fewest records of a job.
        most: The most records of a job.
    """

    def __init__(
        self,
        queue: RowQueue,
        form: RecordForm,
        call: CallBudget | None,
        *,
        agent_name: str,
        max_usd: str | None,
    ) -> None:
        self._queue = queue
        self._form = form
        self._call = call
        self._agent_name = agent_name
        self._max_usd = max_usd
        self.fewest, self.most = MIN_RECORDS, MAX_RECORDS

    @property
    def has_rows(self) -> bool:
        """Whether enough rows for a job are left."""
        return self._queue.ahead(self.fewest) >= self.fewest

    def collect(self, file: IO[bytes]) -> Draft:
        """Return the rows of the next job, as many as fit, and write them into its input file.

        Raises:
            ConfigurationError: A budget holds the job, and a record has no ``maxTokens``.
            JobError: The model can't serve a row.
            NoMoneyError: The budgets can't pay for the smallest job; no row was taken.
        """
        room = Room(None, None) if self._call is None else room_of(self._call)
        draft, nano, tokens, fits = Draft(file, self.fewest), 0, 0, True
        while draft.count < self.most and (row := self._queue.peek()) is not None:
            record = self._form.record(row[1])
            if file.tell() + len(record.line) > MAX_BYTES:
                break
            if record.worst is not None:
                nano += record.worst.nano_usd or 0
                tokens += record.worst.tokens or 0
            elif self._call is not None:
                raise self._without_limit()
            fits = fits and room.has(nano, tokens)
            if not fits and draft.count >= self.fewest:
                break
            draft.add(self._queue.take(), record)
            if not fits and draft.count >= self.fewest:
                refused = self._too_dear(draft, room)
                self._queue.put_back(draft.drop(draft.count))
                raise refused
        self._leave_enough(draft)
        return draft

    def _leave_enough(self, draft: Draft) -> None:
        """Give some rows to the next job if it had too few."""
        left = self._queue.ahead(self.fewest)
        if 0 < left < self.fewest <= draft.count - (self.fewest - left):
            self._queue.put_back(draft.drop(self.fewest - left))

    def _without_limit(self) -> ConfigurationError:
        return ConfigurationError(
            f"agents.{self._agent_name}.max_tokens is not set: without it a batch inference job "
            "has no worst case, and max_usd and budgets can't hold it"
        )

    def _too_dear(self, draft: Draft, room: Room) -> NoMoneyError:
        worst, count = draft.worst, draft.count
        if room.nano_usd is None or worst.nano_usd is None:
            return NoMoneyError(
                f"the budgets have {room.tokens} tokens left, and one job of {count} rows may use "
                f"{worst.tokens}: raise the budget"
            )
        more = usd_of_nano(worst.nano_usd - room.nano_usd)
        remedy = f"raise the budget by {more} USD at least"
        if self._max_usd is not None:
            remedy = f"set max_usd to {Decimal(self._max_usd) + more} at least"
        return NoMoneyError(
            f"the budgets have {usd_of_nano(room.nano_usd)} USD left, and one job of {count} rows "
            f"may cost {usd_of_nano(worst.nano_usd)} USD: {remedy}"
        )
