"""Ledger: records attempts from any thread, and moves them into the database in the background."""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from contextlib import contextmanager, suppress
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any

from langchain_modelmgr.ledger.database import Counts, Database
from langchain_modelmgr.ledger.failure_log import FailureLog
from langchain_modelmgr.ledger.ingest import Ingest
from langchain_modelmgr.ledger.line_writer import OpenAttempt, kept_of, write_end, write_start
from langchain_modelmgr.ledger.marks import rows_of, store_once
from langchain_modelmgr.ledger.process_lock import SUFFIX as LOCK
from langchain_modelmgr.ledger.process_lock import is_alive
from langchain_modelmgr.ledger.rejected_lines import RejectedLines
from langchain_modelmgr.ledger.retention import DAYS, MAX_MB, Retention
from langchain_modelmgr.ledger.segment import FOLDER, SealedError, Writer
from langchain_modelmgr.runtime.at_exit import AT_EXIT, EXIT_SECONDS
from langchain_modelmgr.runtime.forks import AFTER_FORK
from langchain_modelmgr.runtime.guard import Guard
from langchain_modelmgr.runtime.interval_worker import Clock, Order, Worker
from langchain_modelmgr.runtime.rate_limited_log import RateLimitedLog
from langchain_modelmgr.usage.record import AttemptStart

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from langchain_modelmgr.ledger.ingest import Batcher
    from langchain_modelmgr.ledger.relay import Relay
    from langchain_modelmgr.usage.record import ModelUsageMetrics

logger = logging.getLogger(__name__)

INTERVAL_SECONDS = 60.0
FLUSH_SECONDS = 30.0
"""Default time of a flush: enough for one request that hangs and the next ones."""

WAKE_LINES = 20_000
"""Lines after which the ledger ingests before its interval is over."""

_BUSY_SECONDS = 0.2


class Ledger:
    """The durable log of attempts.

    Args:
        folder: The ledger's folder; None: memory, which ends with the process.
        batcher: Makes batches of data points from rows.
        relay: Sends the batches; None: nothing is sent.
        environment: The environment of all attempts.
        allowed: Metadata keys and tags that are stored.
        days: How long attempts are kept; their totals are kept for 13 months.
        max_mb: Largest size of the database.
        interval_seconds: Seconds between two ingests.
        clock: The clock; tests replace it.
    """

    def __init__(  # noqa: PLR0913 - settings, keyword-only, each with its default
        self,
        folder: Path | None,
        batcher: Batcher,
        *,
        relay: Relay | None = None,
        environment: str = "",
        allowed: Sequence[str] = (),
        days: int = DAYS,
        max_mb: int = MAX_MB,
        interval_seconds: float = INTERVAL_SECONDS,
        clock: Clock | None = None,
    ) -> None:
        self.environment = environment
        self.retention = Retention(days, max_mb)
        self._batcher = batcher
        self._relay = relay
        self._allowed = frozenset(allowed)
        self._interval = interval_seconds
        self._clock = clock or Clock()
        self._worker = Worker(self._work, self._pause, interval=interval_seconds, clock=self._clock)
        self._database = Database(folder)
        self._log = RateLimitedLog(logger, self._clock.monotonic)
        self.failures = FailureLog(self._log)
        self._guard = Guard(self.failures.note)
        self._writer: Writer | None = None
        self._names: list[str] = []
        self._numbers, self._calls = count(1), count(1)
        self._open_attempts = 0
        self._counts = Counts()
        self._working, self._opening = threading.RLock(), threading.RLock()
        self._rejected = RejectedLines(self._log)
        AFTER_FORK.watch(self)
        AT_EXIT.remember(self)  # a handler that an exit handler registers is never called

    @property
    def folder(self) -> Path | None:
        """The ledger's folder; None: memory."""
        return self._database.folder

    # -- called in the callers' threads: never raises, never waits for another process

    def attempt_started(self, start: AttemptStart) -> OpenAttempt | None:
        """Write that an attempt starts; return what ``attempt_ended`` needs."""
        with self._guard:
            writer = self._open_writer()
            number = next(self._numbers)
            write_start(writer, number, start)
            self._open_attempts += 1
            return OpenAttempt(writer, number, start)
        return None

    def attempt_ended(self, open_attempt: OpenAttempt | None, usage: ModelUsageMetrics) -> None:
        """Write that an attempt ended; without ``open_attempt``, its start too."""
        with self._guard:
            if usage.outcome != "cached":
                self._ended(open_attempt, usage)

    def _ended(self, open_attempt: OpenAttempt | None, usage: ModelUsageMetrics) -> None:
        start = None
        if open_attempt is not None:
            self._open_attempts -= 1
            start = open_attempt.start
            with suppress(SealedError):
                write_end(open_attempt.writer, open_attempt.number, usage)
                self._look(open_attempt.writer)
                return
        writer, number = self._open_writer(), next(self._numbers)
        write_start(writer, number, start or self.start_of(usage))
        write_end(writer, number, usage)
        self._look(writer)

    def _look(self, writer: Writer) -> None:
        if not self._worker.is_running:
            AT_EXIT.remember(self)
            self._worker.start()
        if writer.waiting >= WAKE_LINES:
            self._worker.wake()

    def start_of(self, usage: ModelUsageMetrics) -> AttemptStart:
        """Return the start of an attempt that was not written when it started."""
        metadata, tags = self.kept(usage.metadata, usage.tags)
        return AttemptStart.of(usage, next(self._calls), metadata, tags)

    def kept(
        self, metadata: Mapping[str, Any], tags: Sequence[str]
    ) -> tuple[str | None, str | None]:
        """Return the metadata and tags of a call that may be stored, as JSON."""
        return kept_of(self._allowed, metadata, tags) if self._allowed else (None, None)

    def next_call(self) -> int:
        """Return a number for a call."""
        return next(self._calls)

    @staticmethod
    def now_ms() -> int:
        """Return the current time in milliseconds since 1970."""
        return time.time_ns() // 1_000_000

    def record_once(self, mark: str, attempts: Iterable[ModelUsageMetrics]) -> bool:
        """Record attempts in one transaction with a mark; return False if the mark is there.

        Raises:
            OSError: The ledger's folder can't be used.
            sqlite3.Error: The database can't be written.
        """
        with self._working:
            writer, connection = self._open_writer(), self._database.open()
            try:
                self._identify(writer, ask=False)
                self._ingest(connection, writer, None)
                rows = partial(rows_of, attempts, writer.name, self.kept, self._calls)
                now = self._clock.wall()
                is_new = store_once(connection, writer, self._batcher, now, mark, rows)
            finally:
                self._database.release()
        self._look(writer)
        return is_new

    # -- what waits for the worker

    def flush(self, timeout: float | None = None) -> None:
        """Ingest and send what was recorded, within ``timeout`` seconds."""
        if self._writer is not None:
            self._worker.order(FLUSH_SECONDS if timeout is None else timeout)

    def ingest(self, timeout: float = FLUSH_SECONDS) -> None:
        """Ingest what this process and others have recorded, without sending it."""
        self._worker.order(timeout, publish=False)

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Yield a read-only connection that sees everything recorded so far."""
        self.ingest()
        with self._working, self._database.reading() as connection:
            yield connection

    def close(self) -> None:
        """Ingest and send within 5 seconds, and stop the thread. The next record restarts it."""
        AT_EXIT.forget(self)
        if self._writer is not None:
            self._worker.stop(EXIT_SECONDS)
            self.report_undelivered()
        self.release_files()

    @property
    def counts(self) -> Counts:
        """Counts of data points as of the last ingest."""
        return self._counts

    @property
    def names(self) -> list[str]:
        """Names of this process's writers, the current one last."""
        return self._names

    @property
    def has_lines(self) -> bool:
        """Whether lines wait to be ingested."""
        return self._writer is not None and bool(self._writer.waiting)

    def is_alive(self, writer: str) -> bool:
        """Return whether the process of a writer is alive."""
        if writer in self._names or self.folder is None:
            return True
        return is_alive(self.folder / FOLDER / f"{writer}{LOCK}")

    # -- start, end and forks

    def release_files(self) -> None:
        """Close the files. A segment that was read is deleted; others wait for the next process."""
        writer = self._writer
        if writer is None or self.folder is None or self._open_attempts > 0:
            return  # nothing to release in memory; running attempts end in the same segment
        if not self._working.acquire(timeout=_BUSY_SECONDS):
            return  # the thread waits for CloudWatch: the next process ingests the segment
        try:
            self._writer = None
            if writer.seal():
                self._end(writer)
            else:
                writer.close()
        finally:
            self._working.release()

    def report_undelivered(self) -> None:
        """Log how many data points could not be sent."""
        waiting = self._counts.waiting
        if waiting and self._relay is not None and not self._relay.is_gone:
            kept = "" if self.folder is None else ": the ledger keeps them for the next process"
            logger.warning("%d data points could not be delivered to CloudWatch%s", waiting, kept)

    def reset_after_fork(self) -> None:
        """Start with new files in a forked child: earlier lines belong to the parent."""
        if self._writer is not None:
            self._writer.close()
        self._database.abandon()
        self._writer = None
        self._names = []
        self._numbers, self._calls = count(1), count(1)
        self._open_attempts = 0
        self._counts = Counts()
        self._working, self._opening = threading.RLock(), threading.RLock()
        self._rejected = RejectedLines(self._log)
        self.retention.reset_after_fork()

    def _open_writer(self) -> Writer:
        writer = self._writer
        if writer is None:
            with self._opening:
                if (writer := self._writer) is None:
                    writer = self._writer = self._new_writer()
                    self._names.append(writer.name)
        return writer

    def _new_writer(self) -> Writer:
        with Guard(self._to_memory):  # a lock library may raise errors of its own
            return Writer(self.folder, self._head())
        return Writer(None, self._head())

    def _head(self) -> dict[str, Any]:
        head = {} if self._relay is None else self._relay.head()
        return {"environment": self.environment, **head}

    def _leave_memory(self, folder: Path) -> None:
        """Use a folder that has become usable, and move what was recorded meanwhile into it."""
        with Guard():  # tried again at the next interval
            new = Writer(folder, self._head())
            with Guard(partial(self._stay_in_memory, new)):
                old, self._writer = self._open_writer(), new
                self._names.append(new.name)
                connection = self._database.open()
                while not old.seal():  # running attempts still end there
                    self._ingest(connection, old, None)
                self._database.move_to(folder, self._clock.wall())

    def _stay_in_memory(self, new: Writer, error: Exception) -> None:
        self.failures.note(error)
        new.close()  # the next process reads what is in it
        self._writer = None

    def _to_memory(self, error: Exception) -> None:
        self._database.folder = None
        logger.warning(
            "the ledger's folder can't be used (%s): until it can, what is recorded does not "
            "survive the death of this process; ledger names another folder",
            type(error).__name__,
        )

    def _end(self, writer: Writer) -> None:
        try:
            self._database.note_end(writer.name, self._clock.wall())
        except (OSError, sqlite3.Error):
            writer.close()
        else:
            writer.end()
        finally:
            self._database.release()

    # -- called by the worker, under one lock

    def _pause(self) -> float:
        return float("inf") if self._relay is None else self._relay.pause

    def _work(self, order: Order | None) -> None:
        with self._working:
            with self._guard:
                self._move_on(order)
            with self._guard:
                self._database.release()

    def _move_on(self, order: Order | None) -> None:
        if (folder := self._database.missing_folder) is not None:
            self._leave_memory(folder)
        writer = self._open_writer()
        if self._relay is not None and self._relay.is_gone:
            self._forget(writer)
            return
        with suppress(OSError):  # full disk: the lines wait in memory
            writer.recover()
        writer.rotate()
        connection = self._database.open()
        self._identify(writer, ask=order is None)
        if self._is_due(order):
            self._ingest(connection, writer, order)
            self._counts = self._database.counts(self._names)
        if self._relay is not None and (order is None or order.publish):
            self._relay.publish(self, connection, order)
        self.retention.apply(connection, self._clock.wall(), in_memory=self.folder is None)
        self._counts = self._database.counts(self._names)

    def _is_due(self, order: Order | None) -> bool:
        """Return whether to ingest: not if another process has just ingested all segments."""
        writer = self._writer
        if order or self.folder is None or writer is None or writer.waiting >= WAKE_LINES:
            return True
        since = self._database.seconds_since_others_ingest(writer.name, self._clock.wall())
        return not 0 <= since < min(self._interval, INTERVAL_SECONDS)

    def _ingest(self, connection: sqlite3.Connection, writer: Writer, order: Order | None) -> None:
        waiting = writer.waiting
        ingest = Ingest(
            connection,
            folder=self.folder,
            own=writer,
            batcher=self._batcher,
            wall=self._clock.wall,
            reject=self._rejected.of(self.folder),
        )
        if ingest.run((lambda: False) if order is None else order.half_over(self._clock)):
            writer.waiting -= waiting
            self._database.note_ingest(writer.name, self._clock.wall())

    def _identify(self, writer: Writer, *, ask: bool) -> None:
        if self._relay is not None and self.folder is not None:
            identity = self._relay.identity(ask=ask)
            if identity is not None and identity != writer.identity:
                writer.identify(identity)

    def _forget(self, writer: Writer) -> None:
        """Discard everything that was recorded for a destination that has ended."""
        writer.waiting = 0
        if self.folder is None:
            connection = self._database.open()
            writer.segment.forget(writer.segment.size)
            connection.execute("DELETE FROM batches")
            self._counts = Counts()
