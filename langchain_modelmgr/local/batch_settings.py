"""What a test sets for batch inference jobs, and what it can compare with afterwards."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

EndStatus: TypeAlias = Literal["Completed", "PartiallyCompleted", "Stopped", "Expired", "Failed"]
"""The statuses in which a job ends."""

LostOutput: TypeAlias = Literal["nothing", "objects", "manifest", "lines", "tail"]
"""What is missing of a job's output: objects, the manifest, lines, or each file's second half."""

GIGABYTE = 1024**3


@dataclass(frozen=True)
class BatchOutcome:
    """How a job goes on.

    Attributes:
        status: The status in which it ends.
        polls: The GetModelInvocationJob request that finds it ended: 1 is the first.
        seconds: Seconds after which it may end.
        records: How many records are processed; None: all of a job that ends as Completed, half of
            one that ends as PartiallyCompleted or Stopped, none of one that ends otherwise.
        error_share: Share of the records that fail, 0 to 1.
        error_code: The ``errorCode`` of those.
        error_message: The ``errorMessage`` of those.
        seed: Seed of the random choice of those.
        message: The message of a job that ends as Failed.
        lost: What of the output is missing.
    """

    status: EndStatus = "Completed"
    polls: int = 1
    seconds: float = 0.0
    records: int | None = None
    error_share: float = 0.0
    error_code: int = 500
    error_message: str = "Internal server error"
    seed: int = 0
    message: str = "The batch inference job failed."
    lost: LostOutput = "nothing"

    def processed(self, status: str, total: int) -> int:
        """Return how many records of a job are processed that ends in a status."""
        if self.records is not None:
            return min(self.records, total)
        if status == "Completed":
            return total
        return total // 2 if status in ("PartiallyCompleted", "Stopped") else 0


@dataclass(frozen=True)
class BatchQuotas:
    """The quotas of batch inference. Source of the defaults: AWS's service quotas of Bedrock.

    Attributes:
        min_records: The fewest records of a job.
        max_records: The most records of a job, and of a file.
        max_file_bytes: The largest input file.
        max_jobs: The most jobs of a model that have not ended.
    """

    min_records: int = 100
    max_records: int = 50_000
    max_file_bytes: int = GIGABYTE
    max_jobs: int = 20


@dataclass(frozen=True)
class BatchCounts:
    """What jobs have processed.

    Attributes:
        jobs: Jobs that were created.
        records: Records that were processed.
        succeeded: Those that were answered.
        failed: Those that failed.
        input_tokens: Input tokens of the answers.
        output_tokens: Output tokens of the answers.
    """

    jobs: int = 0
    records: int = 0
    succeeded: int = 0
    failed: int = 0
    input_tokens: int = 0
    output_tokens: int = 0

    def __add__(self, other: BatchCounts) -> BatchCounts:
        return BatchCounts(
            self.jobs + other.jobs,
            self.records + other.records,
            self.succeeded + other.succeeded,
            self.failed + other.failed,
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
        )
