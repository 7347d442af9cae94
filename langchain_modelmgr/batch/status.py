"""JobStatus: the counts and the money of a job, from its results, logs and workers."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from langchain_modelmgr.batch.answers import Sums
from langchain_modelmgr.batch.runs import RunNote, WorkerCounts, is_gone, read_counts
from langchain_modelmgr.batch.worker import COUNT_SECONDS

if TYPE_CHECKING:
    from decimal import Decimal

    from langchain_modelmgr.batch.chunks import Chunks

_SILENT_SECONDS = 6 * COUNT_SECONDS
"""A worker whose counts are older has died."""


@dataclass(frozen=True, slots=True)
class JobStatus:
    """The counts and the money of a job.

    Attributes:
        rows: The rows of the plan.
        done: Those that were answered.
        failed: Those that failed for good; ``retry`` asks them again.
        pending: Those that are not asked yet, or are being asked.
        cost_usd: What the rows that are done or failed cost, as far as it is known.
        unpriced: How many of these rows have an unknown cost.
        maybe_billed_twice: How often a row was sent again after the death of a worker, whose first
            answer was perhaps billed.
        reason: Why the last run ended before all rows were asked; None: it did not, or runs.
        workers: The workers that run now.
        rows_per_second: The rows that they have answered a second, since they began; of engine
            ``bedrock`` those that its jobs have processed.
        throttles: The throttled requests of the last run.
        jobs: The batch inference jobs that run now, by their status.
        in_jobs: The rows that these have processed, as far as Bedrock says it. They are pending
            until their job ends.
    """

    rows: int
    done: int
    failed: int
    pending: int
    cost_usd: Decimal
    unpriced: int
    maybe_billed_twice: int
    reason: str | None
    workers: int
    rows_per_second: float
    throttles: int
    jobs: dict[str, int]
    in_jobs: int

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-safe dict: money as a decimal string."""
        return {**asdict(self), "cost_usd": str(self.cost_usd)}


def status_of(chunks: Chunks) -> JobStatus:
    """Return the status of a job.

    Args:
        chunks: The job's chunks.
    """
    total = Sums()
    progress = chunks.progress()
    for task in progress.finished.values():
        total += chunks.sums(task)
    for task, logged in progress.logged.items():
        sums = Sums.of(logged.answers.values(), logged.sent_again)
        if task.version:  # its rows are part of an earlier version
            answered = sums.rows - sums.failed
            sums = Sums(0, -answered, sums.cost_usd, sums.unpriced, sums.maybe_billed_twice)
        total += sums
    run = RunNote.read(chunks)
    workers = [each for each in read_counts(chunks) if run is not None and each.run == run.run]
    alive = [each for each in workers if _is_alive(each)]
    return JobStatus(
        rows=chunks.plan.rows,
        done=total.rows - total.failed,
        failed=total.failed,
        pending=chunks.plan.rows - total.rows,
        cost_usd=total.cost_usd,
        unpriced=total.unpriced,
        maybe_billed_twice=total.maybe_billed_twice,
        reason=run.why_ended if run is not None and total.rows < chunks.plan.rows else None,
        workers=len(alive),
        rows_per_second=sum(_speed(each) for each in alive),
        throttles=sum(each.throttles for each in workers),
        jobs=dict(sum((Counter(each.jobs) for each in alive), Counter())),
        in_jobs=sum(each.in_jobs for each in alive),
    )


def _is_alive(counts: WorkerCounts) -> bool:
    is_silent = time.time() - counts.updated >= _SILENT_SECONDS
    return not counts.ended and not is_silent and not is_gone(counts.host, counts.pid)


def _speed(counts: WorkerCounts) -> float:
    return counts.rows / max(counts.updated - counts.started, 1.0)
