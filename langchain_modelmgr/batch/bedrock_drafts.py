"""Drafts of batch inference jobs: as many rows as the quotas and the budgets allow."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import IO, TYPE_CHECKING

from langchain_modelmgr.budgets.job_hold import Room, room_of
from langchain_modelmgr.budgets.money import usd_of_nano
from langchain_modelmgr.budgets.worst_case import WorstCase
from langchain_modelmgr.errors import ConfigurationError

if TYPE_CHECKING:
    from langchain_modelmgr.batch.records import RecordForm
    from langchain_modelmgr.batch.row_queue import JobRow, RowQueue
    from langchain_modelmgr.budgets.call_budget import CallBudget

MIN_RECORDS, MAX_RECORDS, MAX_BYTES = 100, 50_000, 1024**3
"""AWS's default quotas of a job, and of an input file. Read 2026-11-27."""


class NoMoneyError(Exception):
    """Raised if the budgets can't pay for the smallest job. Its text says what would be enough."""


@dataclass(slots=True)
class Draft:
    """The rows of a job while they are collected.

    Attributes:
        file: The input file.
        rows: The rows.
        ends: The size of the file after each of them.
        worsts: The most that each of them can use; None: unknown.
    """

    file: IO[bytes]
    rows: list[JobRow]
    ends: list[int]
    worsts: list[WorstCase | None]

    @property
    def worst(self) -> WorstCase:
        """The most that all rows can use."""
        nano = [None if each is None else each.nano_usd for each in self.worsts]
        tokens = [None if each is None else each.tokens for each in self.worsts]
        return WorstCase(
            None if None in tokens else sum(n for n in tokens if n is not None),
            None if None in nano else sum(n for n in nano if n is not None),
            0,
        )

    def keep(self, count: int) -> list[JobRow]:
        """Keep the first rows; return the others."""
        dropped = self.rows[count:]
        del self.rows[count:], self.ends[count:], self.worsts[count:]
        self.file.truncate(self.ends[-1] if self.ends else 0)
        return dropped


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
        draft, nano, tokens, fits = Draft(file, [], [], []), 0, 0, True
        while len(draft.rows) < self.most and (row := self._queue.peek()) is not None:
            record = self._form.record(row[1])
            if file.tell() + len(record.line) > MAX_BYTES:
                break
            if record.worst is not None:
                nano += record.worst.nano_usd or 0
                tokens += record.worst.tokens or 0
            elif self._call is not None:
                raise self._without_limit()
            fits = fits and room.has(nano, tokens)
            if not fits and len(draft.rows) >= self.fewest:
                break
            file.write(record.line)
            draft.rows.append(self._queue.take())
            draft.ends.append(file.tell())
            draft.worsts.append(record.worst)
            if not fits and len(draft.rows) >= self.fewest:
                refused = self._too_dear(draft, room)
                self._queue.put_back(draft.keep(0))
                raise refused
        self._leave_enough(draft)
        return draft

    def _leave_enough(self, draft: Draft) -> None:
        """Give some rows to the next job if it had too few."""
        left = self._queue.ahead(self.fewest)
        kept = len(draft.rows) - (self.fewest - left)
        if 0 < left < self.fewest <= kept:
            self._queue.put_back(draft.keep(kept))

    def _without_limit(self) -> ConfigurationError:
        return ConfigurationError(
            f"agents.{self._agent_name}.max_tokens is not set: without it a batch inference job "
            "has no worst case, and max_usd and budgets can't hold it"
        )

    def _too_dear(self, draft: Draft, room: Room) -> NoMoneyError:
        worst, count = draft.worst, len(draft.rows)
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
