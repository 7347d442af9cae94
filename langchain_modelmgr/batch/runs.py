"""The runs of a job in its store: the last one, and the counts of its workers."""

from __future__ import annotations

import json
import os
import socket
import sys
import time
import uuid
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Self

from langchain_modelmgr.errors import JobError

if TYPE_CHECKING:
    from langchain_modelmgr.batch.chunks import Chunks

WORKERS = "workers"
RUN = "run.json"
"""The name of the object about the last run."""

_LOOK_SECONDS = 0.2
_SILENT_SECONDS = 15.0
"""A worker of another run that has written no counts for so long has died."""


@dataclass(frozen=True, slots=True)
class RunNote:
    """What the store has about the last run.

    Attributes:
        run: Its id.
        engine: The engine's name.
        host: The host of its driver.
        pid: The driver's process id.
        ended: Whether it has ended.
        reason: Why it ended before all rows were asked; None: it did not.
    """

    run: str
    engine: str
    host: str
    pid: int
    ended: bool = False
    reason: str | None = None

    @classmethod
    def of(cls, run: str, engine: str) -> Self:
        """Return the note of a run that this process begins."""
        return cls(run, engine, socket.gethostname(), os.getpid())

    @classmethod
    def read(cls, chunks: Chunks) -> Self | None:
        """Return the note of the last run; None: there was none."""
        body = chunks.store.read(RUN)
        return None if body is None else cls(**_parsed(chunks, RUN, body))

    def write(self, chunks: Chunks) -> None:
        """Write it."""
        chunks.store.write(RUN, json.dumps(asdict(self)).encode())

    @property
    def why_ended(self) -> str | None:
        """Why it ended before all rows were asked, also if its process has died; None: unknown."""
        if not self.ended and is_gone(self.host, self.pid):
            return "the process of the run has died: the same run goes on"
        return self.reason


@dataclass(slots=True)
class WorkerCounts:
    """The counts of one worker, as its object has them.

    Attributes:
        worker: Its id.
        run: The run's id.
        engine: The engine's name.
        host: Its host.
        pid: Its process id.
        started: When it began, in seconds since 1970.
        updated: When these counts were written.
        ended: Whether it has ended.
        rows: Rows that it answered, or that failed.
        failed: Rows that failed.
        throttles: Throttled requests.
        concurrency: Rows that it may have out now.
        cost_usd: What its rows cost, as text.
        reason: Why it stopped before all rows were asked; None: it did not.
        jobs: Batch inference jobs that have not ended, by status.
        in_jobs: Rows that these have processed.
    """

    worker: str
    run: str
    engine: str
    host: str
    pid: int
    started: float
    updated: float
    ended: bool = False
    rows: int = 0
    failed: int = 0
    throttles: int = 0
    concurrency: int = 0
    cost_usd: str = "0"
    reason: str | None = None
    jobs: dict[str, int] = field(default_factory=dict)
    in_jobs: int = 0

    @classmethod
    def here(cls, run: str, engine: str) -> Self:
        """Return the counts of a worker that begins in this process."""
        now = time.time()
        host, pid = socket.gethostname(), os.getpid()
        return cls(uuid.uuid4().hex, run, engine, host, pid, started=now, updated=now)


def read_counts(chunks: Chunks) -> list[WorkerCounts]:
    """Return the counts of all workers that the job has had."""
    found = []
    for name in chunks.store.names(WORKERS):
        body = chunks.store.read(name)
        if body is not None:
            found.append(WorkerCounts(**_parsed(chunks, name, body)))
    return found


def _parsed(chunks: Chunks, name: str, body: bytes) -> dict[str, Any]:
    """Return the content of an object.

    Raises:
        JobError: It is damaged.
    """
    try:
        found = json.loads(body)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise JobError(f"{chunks.store.where}: {name} is damaged: remove it")
    return found


def await_others(chunks: Chunks, run: str) -> None:
    """Wait until the workers of other runs have ended, or are silent.

    They end within some seconds of seeing that another run began.

    Args:
        chunks: The job's chunks.
        run: The id of the run that begins.
    """
    seen: dict[str, tuple[WorkerCounts, float]] = {}
    while True:
        now = time.monotonic()
        waiting = False
        for counts in read_counts(chunks):
            if counts.run == run or counts.ended or is_gone(counts.host, counts.pid):
                continue
            if counts.worker not in seen or seen[counts.worker][0].updated != counts.updated:
                seen[counts.worker] = counts, now
            waiting = waiting or now - seen[counts.worker][1] < _SILENT_SECONDS
        if not waiting:
            return
        time.sleep(_LOOK_SECONDS)


def is_gone(host: str, pid: int) -> bool:
    """Return whether a process is known to be gone; False if that can't be known."""
    if host != socket.gethostname() or sys.platform == "win32":
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False
