"""Worker: asks the rows of chunks on threads, and writes its counts every few seconds."""

from __future__ import annotations

import json
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self

from langchain_modelmgr.batch.answers import EXACT
from langchain_modelmgr.batch.asking import Asker, Manager, OnThrottle, RunEndedError
from langchain_modelmgr.batch.plan import row_groups
from langchain_modelmgr.batch.runs import WORKERS, RunNote, WorkerCounts
from langchain_modelmgr.batch.throttling import ConcurrencyLimit
from langchain_modelmgr.errors import JobError, ModelManagerError
from langchain_modelmgr.runtime.masking import mask_account_ids

if TYPE_CHECKING:
    from langchain_modelmgr.batch.answers import Answer
    from langchain_modelmgr.batch.chunks import Chunks, OpenChunk
    from langchain_modelmgr.batch.plan import Plan
    from langchain_modelmgr.batch.rows import Row
    from langchain_modelmgr.budgets import TaskBudget

STOP = "stop"

COUNT_SECONDS = 5.0
"""Seconds between two writings of a worker's counts, and between two looks for a stop."""

_FLUSH_SECONDS = 2.0
_JOIN_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class RunSettings:
    """How a run asks its rows. It travels to other processes.

    Attributes:
        run: The run's id.
        engine: The engine's name.
        concurrency: The most rows that all workers together have out.
        on_throttle: What becomes of a throttled row.
        max_usd: The most that the job may spend, as text; None: no limit.
        host: The host of the driver.
    """

    run: str
    engine: str
    concurrency: int
    on_throttle: OnThrottle = "wait"
    max_usd: str | None = None
    host: str = ""


class BudgetingManager(Manager, Protocol):
    """A manager that also has budgets for tasks."""

    def budget(
        self, task: str | None = None, *, usd: Any = None, wait_seconds: float = 0.0
    ) -> TaskBudget:
        """Return the budget of a task."""


def task_name(plan: Plan) -> str:
    """Return the name of the task whose budget holds the calls of a job."""
    return f"modelmgr-batch-{plan.job}"


class Worker:
    """Asks rows on its threads, for as many chunks as it is fed.

    Args:
        manager: The manager.
        chunks: The job's chunks.
        settings: How the run asks.
        concurrency: The most rows that this worker has out.
    """

    def __init__(
        self,
        manager: BudgetingManager,
        chunks: Chunks,
        settings: RunSettings,
        concurrency: int,
    ) -> None:
        self._chunks = chunks
        self._settings = settings
        self._limit = ConcurrencyLimit(concurrency)
        self._stopped = threading.Event()
        self._reason: str | None = None
        self._task = None
        if settings.max_usd is not None:
            # A budget by name: processes and machines that share its store share what is left.
            name = task_name(chunks.plan)
            self._task = manager.budget(name, usd=settings.max_usd, wait_seconds=float("inf"))
        self._asker = Asker(
            manager,
            chunks.plan,
            limit=self._limit,
            engine=settings.engine,
            on_throttle=settings.on_throttle,
            task=None if self._task is None else self._task.name,
            is_stopped=self._stopped.is_set,
            wait=self._stopped.wait,
        )
        self._counts = WorkerCounts.here(settings.run, settings.engine)
        self._cost = Decimal(0)
        self._open: set[OpenChunk] = set()
        self._lock = threading.Lock()
        self._threads = ThreadPoolExecutor(concurrency, thread_name_prefix="modelmgr-batch")
        self._finishing = ThreadPoolExecutor(1, thread_name_prefix="modelmgr-batch-results")
        self._closing = threading.Event()
        self._counting = threading.Thread(target=self._count, name="modelmgr-batch-counts")
        self._counting.daemon = True
        self._counting.start()

    @property
    def run(self) -> str:
        """The run's id."""
        return self._settings.run

    @property
    def is_idle(self) -> bool:
        """Whether it works on no chunk."""
        return not self._open

    @property
    def reason(self) -> str | None:
        """Why it stopped before all rows were asked; None: it did not."""
        return self._reason

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def feed(self, chunk: OpenChunk) -> None:
        """Ask the rows of a chunk; return when the last of them was begun.

        The next chunk's rows start while the last of this one are out.
        """
        with self._lock:
            self._open.add(chunk)
        for group in row_groups(chunk.pending, self._limit.most):
            if self._stopped.is_set() or chunk.is_finished.is_set():
                return
            self._in_store(chunk.note_group, group)
            for row in group:
                if self._limit.enter(self._stopped.is_set):
                    try:
                        self._threads.submit(self._ask, chunk, row)
                    except RuntimeError:  # retired at this moment
                        self._limit.leave()
                elif not self._chunks.store.notes_each_row:
                    self._in_store(chunk.returned, row)

    def finish(self, chunk: OpenChunk) -> bool:
        """Wait for a chunk's last row; return whether its results are written."""
        while not chunk.is_finished.wait(0.2):
            if self._stopped.is_set() and not self._limit.used:
                return chunk.is_finished.is_set()
        return True

    def stop(self, reason: str) -> None:
        """Begin no further row. Rows that are out end, and are kept."""
        with self._lock:
            self._reason = self._reason or reason
        self._stopped.set()

    def retire(self, reason: str) -> None:
        """Stop, and let the threads end, without waiting for the rows that are out."""
        self.stop(reason)
        self._closing.set()
        self._threads.shutdown(wait=False)
        self._finishing.shutdown(wait=False)

    def close(self) -> None:
        """Wait for the rows that are out, and write the counts."""
        self._threads.shutdown(wait=True)
        self._finishing.shutdown(wait=True)
        for chunk in tuple(self._open):
            self._in_store(chunk.close)
        self._closing.set()
        self._counting.join(_JOIN_SECONDS)
        self._in_store(self._write_ended)

    def _ask(self, chunk: OpenChunk, row: Row) -> None:
        try:
            self._ask_noted(chunk, row)
        except Exception as error:  # noqa: BLE001 - a defect ends the run, and names itself
            self.stop(_text_of(error))
        finally:
            self._limit.leave()

    def _ask_noted(self, chunk: OpenChunk, row: Row) -> None:
        if chunk.is_finished.is_set():  # by another worker
            return
        chunk.note(row)
        try:
            answer = self._asker.ask(row)
        except RunEndedError as end:
            self.stop(str(end))
            chunk.returned(row)
            return
        self._add(answer)
        if chunk.keep(answer):
            self._finish(chunk)
        if chunk.is_finished.is_set():
            self._discard(chunk)

    def _finish(self, chunk: OpenChunk) -> None:
        """Write a chunk's results on one thread: pyarrow keeps memory for each that uses it."""
        try:
            finishing = self._finishing.submit(chunk.finish)
        except RuntimeError:  # retired at this moment
            chunk.finish()
        else:
            finishing.result()

    def _add(self, answer: Answer) -> None:
        with self._lock:
            self._counts.rows += 1
            self._counts.failed += answer.error is not None
            if answer.cost_usd is not None:
                self._cost = EXACT.add(self._cost, answer.cost_usd)

    def _in_store(self, step: Any, *arguments: Any) -> None:
        """Do a step of the store; an error ends the run."""
        try:
            step(*arguments)
        except JobError as error:
            self.stop(str(error))

    def _count(self) -> None:
        """Write counts and waiting lines, and look for a stop, until the worker is closed."""
        self._in_store(self._write_counts)  # at once: other drivers look for it
        due = 0.0
        while not self._closing.wait(_FLUSH_SECONDS):
            for chunk in tuple(self._open):
                self._in_store(chunk.flush)
            if self._stopped.is_set() and not self._limit.used:
                self._release()
            if time.monotonic() >= due:
                due = time.monotonic() + COUNT_SECONDS - _FLUSH_SECONDS / 2
                self._in_store(self._look)

    def _look(self) -> None:
        """Write the counts; see whether the run goes on, and what other workers have finished."""
        if not self._open:
            if not self._counts.ended:
                self._write_counts(ended=True)
            return
        self._write_counts()
        if self._chunks.store.read(STOP) is not None:
            self.stop("stopped")
        last = RunNote.read(self._chunks)
        if last is not None and last.run != self._settings.run:
            self.stop("another run began")
        finished = self._chunks.finished()
        for chunk in tuple(self._open):
            done = finished.get(chunk.task.chunk)
            if done is not None and done.version >= chunk.task.version:
                chunk.end()
                self._discard(chunk)

    def _release(self) -> None:
        """Close the chunks of a run that was stopped, and say that this worker has ended."""
        for chunk in tuple(self._open):
            self._in_store(chunk.close)
            self._discard(chunk)
        if not self._counts.ended:
            self._in_store(self._write_ended)

    def _discard(self, chunk: OpenChunk) -> None:
        with self._lock:
            self._open.discard(chunk)

    def _write_ended(self) -> None:
        self._write_counts(ended=True)

    def _write_counts(self, *, ended: bool = False) -> None:
        with self._lock:
            counts = self._counts
            counts.updated, counts.ended = time.time(), ended
            counts.throttles, counts.concurrency = self._limit.throttles, self._limit.allowed
            counts.cost_usd, counts.reason = str(self._cost), self._reason
            body = json.dumps(asdict(counts)).encode()
        self._chunks.store.write(f"{WORKERS}/{counts.worker}.json", body)


def _text_of(error: Exception) -> str:
    """Return what an error says; others' texts may have the content of a row."""
    if isinstance(error, ModelManagerError | OSError):
        return f"{type(error).__name__}: {mask_account_ids(str(error))}"
    (*_, last) = traceback.extract_tb(error.__traceback__)
    return f"{type(error).__name__} in {Path(last.filename).name}, line {last.lineno}"
