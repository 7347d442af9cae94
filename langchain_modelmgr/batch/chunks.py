"""The chunks of a job in its store: which are finished, and what is known of the open ones."""

from __future__ import annotations

import re
import threading
import uuid
from dataclasses import dataclass
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

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

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


@dataclass(frozen=True, slots=True)
class Chunks:
    """The chunks of a job.

    Attributes:
        plan: The job's plan.
        store: Where it is.
    """

    plan: Plan
    store: Store

    def finished(self) -> dict[int, ChunkTask]:
        """Return the last finished version of each chunk that has one."""
        found: dict[int, ChunkTask] = {}
        for name in self.store.names(RESULTS):
            if match := _RESULT.fullmatch(name):
                task = ChunkTask(int(match[1]), int(match[2]))
                if task.version >= found.get(task.chunk, task).version:
                    found[task.chunk] = task
        return dict(sorted(found.items()))

    def logged(self) -> dict[ChunkTask, list[str]]:
        """Return the names of the logs of chunks that are not finished."""
        finished = self.finished()
        found: dict[ChunkTask, list[str]] = {}
        for name in self.store.names(LOGS):
            if match := _LOG.match(name):
                task = ChunkTask(int(match[1]), int(match[2]))
                done = finished.get(task.chunk)
                if done is None or done.version < task.version:
                    found.setdefault(task, []).append(name)
        return found

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
        """Return the sums of a finished chunk."""
        return sums_of_object(self.body(task))

    def body(self, task: ChunkTask) -> bytes:
        """Return the object of a finished chunk."""
        body = self.store.read(task.result)
        if body is None:
            raise FileNotFoundError(task.result)
        return body

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
        keep = {name for names in self.logged().values() for name in names}
        self.store.remove(name for name in self.store.names(LOGS) if name not in keep)


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
            positions = [row.position for row in self._rows]
            body = chunks.body(before)
            self._base = {a.position: a for a in answers_of_object(body, positions)}
            self._before = sums_of_object(body)
        wanted = [r for r in self._rows if not self._base or self._base[r.position].error]
        logged = chunks.read_logs(chunks.store.names(task.logs))
        self._answers = logged.answers
        self.pending = [row for row in wanted if row.position not in self._answers]
        self._left = len(self.pending)
        self._log = chunks.store.log(f"{task.logs}/{uuid.uuid4().hex}") if self._left else None
        self._lock = threading.Lock()
        if not self._left:
            self._finish()

    def note_group(self, rows: Sequence[Row]) -> None:
        """Note rows that are about to be sent, where single notes would be too many."""
        if self._log is not None and not self._chunks.store.notes_each_row:
            self._log.append_now("\n".join(note_line(row.position) for row in rows))

    def note(self, row: Row) -> None:
        """Note that a row is about to be sent."""
        if self._log is not None and self._chunks.store.notes_each_row:
            self._log.append(note_line(row.position))

    def returned(self, row: Row) -> None:
        """Note that a row was not sent after all."""
        if self._log is not None:
            self._log.append(returned_line(row.position))

    def answered(self, answer: Answer) -> None:
        """Keep an answer; with the last one, write the chunk's results."""
        if self._log is not None:
            self._log.append(answer.line)
        with self._lock:
            self._answers.setdefault(answer.position, answer)
            self._left -= 1
            is_last = self._left == 0
        if is_last:
            self._finish()

    def flush(self) -> None:
        """Write the lines that wait."""
        if self._log is not None:
            self._log.flush()

    def close(self) -> None:
        """Release the log's file, after its last row."""
        log, self._log = self._log, None
        if log is not None:
            log.close()

    def _finish(self) -> None:
        self.close()
        chunks, task = self._chunks, self.task
        answers = {**self._base, **self._with_earlier_costs()}
        names = chunks.store.names(task.logs)
        twice = chunks.read_logs(names).sent_again
        if self._base:
            twice += self._before.maybe_billed_twice
        body = result_object(chunks.table(task, answers), Sums.of(answers.values(), twice))
        chunks.store.write_new(task.result, body)  # another worker may have been first
        chunks.store.remove(names)
        self.is_finished.set()

    def _with_earlier_costs(self) -> dict[int, Answer]:
        """Return the answers; a row that was asked again costs what all its attempts cost."""
        found = {}
        for position, answer in self._answers.items():
            before = self._base.get(position)
            if before is not None:
                known = None not in (before.cost_usd, answer.cost_usd)
                cost = EXACT.add(before.cost_usd, answer.cost_usd) if known else None  # type: ignore[arg-type]
                answer = answer._replace(cost_usd=cost)  # noqa: PLW2901
            found[position] = answer
        return found
