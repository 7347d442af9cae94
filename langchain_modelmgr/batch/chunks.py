"""The chunks of a job in its store: which are finished, and what is known of the open ones."""

from __future__ import annotations

import re
import threading
import uuid
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from langchain_modelmgr.batch.answers import (
    EXACT,
    Answer,
    Logged,
    Sums,
    answers_of_object,
    note_line,
    result_object,
    result_table,
    returned_line,
    sums_of_object,
)
from langchain_modelmgr.errors import JobError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from langchain_modelmgr.batch.plan import Plan
    from langchain_modelmgr.batch.rows import Row
    from langchain_modelmgr.batch.store import Store

RESULTS = "results"
LOGS = "open"
_RESULT = re.compile(rf"{RESULTS}/(\d+)-(\d+)\.parquet")
_LOG = re.compile(rf"{LOGS}/(\d+)-(\d+)/")


class ChunkTask(NamedTuple):
    """What is to be done about a chunk.

    Attributes:
        chunk: Its number.
        version: 0: ask all its rows. n: ask those again that failed in version n - 1.
    """

    chunk: int
    version: int = 0

    @property
    def result(self) -> str:
        """The name of the object with its results."""
        return f"{RESULTS}/{self.chunk:06}-{self.version}.parquet"

    @property
    def logs(self) -> str:
        """The prefix of the names of its logs."""
        return f"{LOGS}/{self.chunk:06}-{self.version}"


class Progress(NamedTuple):
    """The chunks of a job at one moment.

    Attributes:
        finished: The last finished version of each chunk that has one.
        logged: What the logs say of versions that are not finished.
    """

    finished: dict[int, ChunkTask]
    logged: dict[ChunkTask, Logged]


@dataclass(frozen=True, slots=True)
class Chunks:
    """The chunks of a job.

    Attributes:
        plan: The job's plan.
        store: Where it is.
    """

    plan: Plan
    store: Store
    _sums: dict[ChunkTask, Sums] = field(default_factory=dict, init=False, repr=False)

    def finished(self) -> dict[int, ChunkTask]:
        """Return the last finished version of each chunk that has one."""
        found: dict[int, ChunkTask] = {}
        for name in self.store.names(RESULTS):
            if match := _RESULT.fullmatch(name):
                task = ChunkTask(int(match[1]), int(match[2]))
                if task.version >= found.get(task.chunk, task).version:
                    found[task.chunk] = task
        return dict(sorted(found.items()))

    def progress(self) -> Progress:
        """Return what is finished, and what the logs of the other chunks say.

        Any worker may finish a chunk at any moment: its results are written, then its logs are
        removed. The logs are read before the results are listed, so that no chunk is missed.
        """
        names: dict[ChunkTask, list[str]] = {}
        for name in self.store.names(LOGS):
            if match := _LOG.match(name):
                names.setdefault(ChunkTask(int(match[1]), int(match[2])), []).append(name)
        logged = {task: self.read_logs(own) for task, own in names.items()}
        finished = self.finished()

        def is_open(task: ChunkTask) -> bool:
            done = finished.get(task.chunk)
            return done is None or done.version < task.version

        return Progress(finished, {task: logs for task, logs in logged.items() if is_open(task)})

    def pending(self) -> list[ChunkTask]:
        """Return the chunks that were never finished, in order."""
        finished = self.finished()
        return [ChunkTask(n) for n in range(self.plan.chunks) if n not in finished]

    def unfinished(self, tasks: Iterable[ChunkTask]) -> list[ChunkTask]:
        """Return what is left of some tasks."""
        finished = self.finished()
        return [t for t in tasks if t.chunk not in finished or finished[t.chunk] < t]

    def failed(self) -> list[ChunkTask]:
        """Return what is to be done to ask the rows again that failed, in finished chunks."""
        return [
            ChunkTask(task.chunk, task.version + 1)
            for task in self.finished().values()
            if self.sums(task).failed
        ]

    def sums(self, task: ChunkTask) -> Sums:
        """Return the sums of a finished chunk. They are kept: its object never changes."""
        if (found := self._sums.get(task)) is None:
            with self._named(task):
                found = self._sums[task] = sums_of_object(self.body(task))
        return found

    @contextmanager
    def _named(self, task: ChunkTask) -> Iterator[None]:
        """Name the object of a finished chunk if it is damaged."""
        import pyarrow as pa

        try:
            yield
        except (pa.ArrowException, KeyError, TypeError, ValueError) as error:
            raise JobError(
                f"{self.store.where}: {task.result} is damaged ({type(error).__name__}): "
                "remove it, and its rows are asked again"
            ) from error

    def body(self, task: ChunkTask) -> bytes:
        """Return the object of a finished chunk."""
        body = self.store.read(task.result)
        if body is None:
            raise FileNotFoundError(task.result)
        return body

    def answers(self, task: ChunkTask) -> dict[int, Answer]:
        """Return the answers of a finished chunk by position."""
        positions = self.plan.table_of(self.store, task.chunk).column("position").to_pylist()
        with self._named(task):
            return {each.position: each for each in answers_of_object(self.body(task), positions)}

    def read_logs(self, names: Sequence[str]) -> Logged:
        """Return what logs say."""
        bodies = (self.store.read(name) for name in names)
        return Logged.read(body for body in bodies if body is not None)

    def open(self, task: ChunkTask) -> OpenChunk:
        """Return a chunk, to ask its rows that have no answer yet."""
        return OpenChunk(self, task)

    def table(self, task: ChunkTask, answers: Mapping[int, Answer]) -> Any:
        """Return the results of those rows of a chunk that have an answer, as a pyarrow Table."""
        import pyarrow as pa

        planned = self.plan.table_of(self.store, task.chunk)
        positions = planned.column("position").to_pylist()
        has = pa.array([position in answers for position in positions])
        keys = planned.column("key").filter(has).combine_chunks()
        return result_table(keys, [answers[p] for p in positions if p in answers])

    def remove_finished_logs(self) -> None:
        """Remove the logs of finished chunks, which a process that died left there."""
        names = self.store.names(LOGS)
        finished = self.finished() if names else {}
        self.store.remove(name for name in names if _is_of(name, finished))


def _is_of(name: str, finished: Mapping[int, ChunkTask]) -> bool:
    """Return whether a log is of a version that is finished."""
    match = _LOG.match(name)
    done = None if match is None else finished.get(int(match[1]))
    return match is not None and done is not None and int(match[2]) <= done.version


class OpenChunk:
    """One chunk while its rows are asked. Any thread may use it.

    Args:
        chunks: The job's chunks.
        task: What is to be done.

    Attributes:
        pending: The rows to ask, in order.
        is_finished: Set when its results are written.
    """

    def __init__(self, chunks: Chunks, task: ChunkTask) -> None:
        self.task = task
        self.is_finished = threading.Event()
        self._chunks = chunks
        self._rows = chunks.plan.rows_of(chunks.store, task.chunk)
        self._base: dict[int, Answer] = {}
        if task.version:
            before = ChunkTask(task.chunk, task.version - 1)
            self._base = chunks.answers(before)
            self._before = chunks.sums(before)
        wanted = [r for r in self._rows if not self._base or self._base[r.position].error]
        logged = chunks.read_logs(chunks.store.names(task.logs))
        self._answers = logged.answers
        self.pending = [row for row in wanted if row.position not in self._answers]
        # Read after the logs: who writes the results removes the logs.
        if self.pending and chunks.store.read(task.result) is not None:
            self.pending = []
            self.is_finished.set()
        self._left = len(self.pending)
        self._log = chunks.store.log(f"{task.logs}/{uuid.uuid4().hex}") if self._left else None
        self._lock = threading.Lock()
        if not self._left and not self.is_finished.is_set():
            self.finish()

    def end(self) -> None:
        """Ask no further row: another worker has written the results."""
        self.pending = []
        self.is_finished.set()
        self.close()

    def note_group(self, rows: Sequence[Row]) -> None:
        """Note rows that are about to be sent, where single notes would be too many."""
        if (log := self._log) is not None and not self._chunks.store.notes_each_row:
            log.append_now("\n".join(note_line(row.position) for row in rows))

    def note(self, row: Row) -> None:
        """Note that a row is about to be sent."""
        if (log := self._log) is not None and self._chunks.store.notes_each_row:
            log.append(note_line(row.position))

    def returned(self, row: Row) -> None:
        """Note that a row was not sent after all."""
        if (log := self._log) is not None:
            log.append(returned_line(row.position))

    def answered(self, answer: Answer) -> None:
        """Keep an answer; with the last one, write the chunk's results."""
        if self.keep(answer):
            self.finish()

    def keep(self, answer: Answer) -> bool:
        """Keep an answer; return whether it is the last one, so that ``finish`` is due."""
        if (log := self._log) is not None:
            log.append(answer.line)
        with self._lock:
            self._answers.setdefault(answer.position, answer)
            self._left -= 1
            return self._left == 0

    def flush(self) -> None:
        """Write the lines that wait."""
        if (log := self._log) is not None:  # another thread may close it
            log.flush()

    def close(self) -> None:
        """Release the log's file, after its last row."""
        log, self._log = self._log, None
        if log is not None:
            log.close()

    def finish(self) -> None:
        """Write the chunk's results."""
        self.close()
        chunks, task = self._chunks, self.task
        answers = with_earlier(self._base, self._answers)
        names = chunks.store.names(task.logs)
        twice = chunks.read_logs(names).sent_again
        if self._base:
            twice += self._before.maybe_billed_twice
        body = result_object(chunks.table(task, answers), Sums.of(answers.values(), twice))
        chunks.store.write_new(task.result, body)  # another worker may have been first
        chunks.store.remove(names)
        self.is_finished.set()


def with_earlier(before: Mapping[int, Answer], answers: Mapping[int, Answer]) -> dict[int, Answer]:
    """Return the answers of a version, and those of the one before that it did not ask again.

    A row that was asked again costs what all its attempts cost.
    """
    found = dict(before)
    for position, answer in answers.items():
        cost = answer.cost_usd
        if (earlier := before.get(position)) is not None:
            known = earlier.cost_usd is not None and cost is not None
            cost = EXACT.add(earlier.cost_usd, cost) if known else None  # type: ignore[arg-type]
        found[position] = answer._replace(cost_usd=cost)
    return found
