"""The counts of a run with batch inference jobs, which ``status`` shows."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Self

from langchain_modelmgr.batch.runs import WORKERS, RunNote, WorkerCounts
from langchain_modelmgr.batch.worker import COUNT_SECONDS, STOP
from langchain_modelmgr.errors import JobError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from langchain_modelmgr.batch.chunks import Chunks
    from langchain_modelmgr.batch.worker import RunSettings

_JOIN_SECONDS = 30.0


class JobCounts:
    """Writes every few seconds what jobs have processed, on a thread, and looks for a stop.

    Args:
        chunks: The plan's chunks.
        settings: How the run asks.
    """

    def __init__(self, chunks: Chunks, settings: RunSettings) -> None:
        self._chunks = chunks
        self._counts = WorkerCounts.here(settings.run, settings.engine)
        self._jobs: dict[str, tuple[int, int]] = {}
        self._statuses: dict[str, str] = {}
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._write_often, name="modelmgr-batch-counts")
        self._thread.daemon = True
        self.stop_requested = False
        """Whether ``stop`` was called."""
        self.other_run = False
        """Whether another run has begun."""

    def __enter__(self) -> Self:
        self._write()  # at once: other drivers look for it
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._thread.join(_JOIN_SECONDS)
        try:
            self._write(ended=True)
        except JobError:
            return  # it is seen as ended once its process has ended, or is silent

    def saw(self, arn: str, found: Mapping[str, Any], *, ended: bool) -> None:
        """Count what GetModelInvocationJob says of a job.

        Args:
            arn: The job.
            found: The response. Its counts may be missing.
            ended: Whether the job has ended.
        """
        done, failed = found.get("processedRecordCount"), found.get("errorRecordCount")
        with self._lock:
            self._jobs[arn] = int(done or 0), int(failed or 0)
            if ended:
                self._statuses.pop(arn, None)
            else:
                self._statuses[arn] = str(found["status"])

    def _write_often(self) -> None:
        while not self._closing.wait(COUNT_SECONDS):
            try:
                self._write()
                self.stop_requested = self._chunks.store.read(STOP) is not None
                last = RunNote.read(self._chunks)
            except JobError:
                continue  # the run itself finds that its place can't be used
            self.other_run = last is not None and last.run != self._counts.run

    def _write(self, *, ended: bool = False) -> None:
        with self._lock:
            counts = self._counts
            counts.updated, counts.ended = time.time(), ended
            counts.rows = sum(done for done, _ in self._jobs.values())
            counts.failed = sum(failed for _, failed in self._jobs.values())
            counts.jobs = dict(Counter(self._statuses.values()))
            counts.in_jobs = sum(self._jobs[arn][0] for arn in self._statuses)
            body = json.dumps(asdict(counts)).encode()
        self._chunks.store.write(f"{WORKERS}/{counts.worker}.json", body)
