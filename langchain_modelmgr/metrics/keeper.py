"""Keeps a sink's journal, where there can be one; without it everything works, in memory alone."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, TypeVar

from langchain_modelmgr.metrics.journal import COMPACT_BYTES, Journal
from langchain_modelmgr.metrics.recovery import Left, adopt

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from langchain_modelmgr.metrics.aggregate import Aggregator, Pair
    from langchain_modelmgr.metrics.datums import Datum, Observation
    from langchain_modelmgr.metrics.destination import Destination

logger = logging.getLogger(__name__)

T = TypeVar("T")

_TIDY_BYTES = 64_000
"""A journal of which nothing matters is written anew beyond this."""


class JournalKeeper:
    """A journal that is opened with the first record, and given up when it can't be written.

    Args:
        folder: Where journals lie; None: there is none.
        destination: Where the metrics go.
        extra: ``metrics.extra``, for what is adopted.

    Attributes:
        lock: Guards the journal and what is counted, so that a drain does not part them.
    """

    def __init__(
        self, folder: Path | None, destination: Destination | None, extra: Iterable[str] = ()
    ) -> None:
        self._destination = destination
        self._extra = tuple(extra)
        self._folder = None
        if folder is not None and destination is not None:
            self._folder = folder / destination.folder_name
        self._journal: Journal | None = None
        self.lock = threading.RLock()

    @property
    def is_on(self) -> bool:
        """True unless there is no journal, or none any more."""
        return self._folder is not None

    @property
    def is_large(self) -> bool:
        """True if the journal has grown so far that a publication should make room."""
        return self._journal is not None and self._journal.size > COMPACT_BYTES

    def keep(
        self, pairs: Sequence[Pair], number: int, minute: int, found: list[Observation]
    ) -> None:
        """Write an attempt down."""
        journal = self._journal or self._opened()
        if journal is not None:
            try:
                journal.keep(pairs, number, minute, found)
            except OSError as error:
                self._give_up(error)

    def mark_drained(self) -> None:
        """Note that all attempts so far are in the datums that come next."""
        self._do(lambda journal: journal.mark_drained(), None)

    def take(self, datums: list[Datum]) -> list[Datum]:
        """Write datums down, and return them with their numbers."""
        return self._do(lambda journal: journal.take(datums), datums)

    def mark(self, state: str, datums: Iterable[Datum]) -> None:
        """Note that datums are ``sending``, ``kept``, ``done`` or ``ambiguous``."""
        numbered = [datum for datum in datums if datum.number]
        if numbered:
            self._do(lambda journal: journal.mark(state, numbered), None)

    def adopt(self) -> list[Left]:
        """Take over what dead processes with the same destination left."""
        folder = self._folder
        if folder is None or not folder.is_dir() or self._opened() is None:
            return []
        return self._do(lambda journal: adopt(folder, journal, self._extra), [])

    def tidy(self, aggregate: Aggregator, waiting: Sequence[Datum]) -> None:
        """Write the journal anew where it has grown, or where nothing in it matters."""
        journal = self._journal
        if journal is None:
            return
        if journal.size > (COMPACT_BYTES if waiting else _TIDY_BYTES):
            self._do(lambda journal: journal.compact(aggregate, waiting), None)

    def close(self, *, is_empty: bool) -> None:
        """Let go of the journal; with ``is_empty`` nothing in it matters, and it goes."""
        with self.lock:
            journal, self._journal = self._journal, None
        if journal is not None:
            journal.close(delete=is_empty)

    def let_go_after_fork(self) -> None:
        """Start without a journal in a forked child: its own is opened with its first record."""
        if self._journal is not None:
            self._journal.let_go_after_fork()
        self._journal = None
        self.lock = threading.RLock()

    def _opened(self) -> Journal | None:
        with self.lock:
            if self._journal is None and self._folder is not None and self._destination is not None:
                try:
                    self._journal = Journal(self._folder, self._destination, self.lock)
                except Exception as error:  # noqa: BLE001 - metrics boundary: a lock library may raise its own
                    self._give_up(error)
            return self._journal

    def _do(self, work: Callable[[Journal], T], otherwise: T) -> T:
        journal = self._journal
        if journal is None:
            return otherwise
        try:
            return work(journal)
        except OSError as error:
            self._give_up(error)
            return otherwise

    def _give_up(self, error: Exception) -> None:
        with self.lock:
            if self._folder is None:
                return
            self._folder = None
            journal, self._journal = self._journal, None
        logger.warning(
            "the metrics journal can't be written (%s): what is recorded from now on does not "
            "survive the death of this process; metrics.journal names another folder",
            type(error).__name__,
        )
        if journal is not None:  # what it says of what was sent is true no more
            journal.close(delete=True)
