"""Batch inference jobs: what a test sets for them, and the jobs themselves."""

from __future__ import annotations

import datetime as dt
import threading
import time
from collections import defaultdict, deque
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from langchain_modelmgr.local.batch_run import JobFailedError, JobRun
from langchain_modelmgr.local.batch_settings import (
    GIGABYTE,
    BatchCounts,
    BatchOutcome,
    BatchQuotas,
)
from langchain_modelmgr.local.objects import NoAccessError
from langchain_modelmgr.local.replies import AwsError

if TYPE_CHECKING:
    from langchain_modelmgr.local.batch_settings import EndStatus, LostOutput
    from langchain_modelmgr.local.objects import Objects
    from langchain_modelmgr.local.state import State

_ENDED = frozenset({"Completed", "PartiallyCompleted", "Stopped", "Expired", "Failed"})
STATUSES = _ENDED | {"Submitted", "Validating", "Scheduled", "InProgress", "Stopping"}
"""All statuses of a job."""

_ON_THE_WAY = ("Submitted", "Validating", "Scheduled", "InProgress")
"""The statuses that the first GetModelInvocationJob requests find; the last one lasts."""


@dataclass
class BatchJob:
    """One batch inference job.

    Attributes:
        arn: Its ARN.
        body: The JSON of its CreateModelInvocationJob request.
        outcome: How it goes on.
        status: Its status.
        message: Why it failed.
        total: The records of its input, as far as known.
        counts: What it has processed.
        processed: The records that it has processed so far.
        submitted: When it was created.
        modified: When its status changed.
    """

    arn: str
    body: dict[str, Any]
    outcome: BatchOutcome
    status: str = "Submitted"
    message: str = ""
    total: int = 0
    counts: BatchCounts = field(default_factory=BatchCounts)
    processed: int = 0
    submitted: dt.datetime = field(default_factory=lambda: dt.datetime.now(dt.UTC))
    modified: dt.datetime = field(default_factory=lambda: dt.datetime.now(dt.UTC))
    _started: float = field(default_factory=time.monotonic, repr=False)
    _polls: int = field(default=0, repr=False)
    _stop_after: int = field(default=0, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @property
    def model_id(self) -> str:
        """The job's model."""
        return str(self.body["modelId"])

    @property
    def identifier(self) -> str:
        """The last part of its ARN."""
        return self.arn.rpartition("/")[2]

    @property
    def has_ended(self) -> bool:
        """Whether its status is its last one."""
        return self.status in _ENDED


class BatchJobs:
    """The batch inference jobs of a local AWS. Every method is thread-safe.

    Args:
        state: What the model answers from.
    """

    def __init__(self, state: State) -> None:
        self._state = state
        self._lock = threading.Lock()
        self._objects: Objects | None = None
        self._jobs: dict[str, BatchJob] = {}
        self._outcomes: dict[str | None, BatchOutcome] = {}
        self._next: defaultdict[str | None, deque[BatchOutcome]] = defaultdict(deque)
        self._quotas = BatchQuotas()

    # -- what a test sets

    def outcome(  # noqa: PLR0913 - one job's facts, keyword-only
        self,
        model_id: str | None = None,
        status: EndStatus = "Completed",
        *,
        times: int | None = None,
        polls: int = 1,
        seconds: float = 0.0,
        records: int | None = None,
        error_share: float = 0.0,
        error_code: int = 500,
        error_message: str = "Internal server error",
        seed: int = 0,
        message: str = "The batch inference job failed.",
        lost: LostOutput = "nothing",
    ) -> None:
        """Set how the jobs of a model go on that are created from now on.

        Args:
            model_id: The model; None: any.
            status: The status in which they end.
            times: How many jobs; None: all that have no other outcome.
            polls: The GetModelInvocationJob request that finds a job ended: 1 is the first.
            seconds: Seconds after which it may end.
            records: How many records are processed; None: all of a job that ends as Completed,
                half of one that ends as PartiallyCompleted or Stopped, none otherwise.
            error_share: Share of the records that fail, 0 to 1.
            error_code: The ``errorCode`` of those.
            error_message: The ``errorMessage`` of those.
            seed: Seed of the random choice of those.
            message: The message of a job that ends as Failed.
            lost: What is missing of the output: all ``objects``, the ``manifest``, some ``lines``,
                or the ``tail``: the second half of each file.
        """
        outcome = BatchOutcome(
            status, polls, seconds, records, error_share, error_code, error_message, seed, message,
            lost,
        )  # fmt: skip
        with self._lock:
            if times is None:
                self._outcomes[model_id] = outcome
            else:
                self._next[model_id].extend([outcome] * times)

    def quotas(
        self,
        *,
        min_records: int = 100,
        max_records: int = 50_000,
        max_file_bytes: int = GIGABYTE,
        max_jobs: int = 20,
    ) -> None:
        """Set the quotas of batch inference.

        Args:
            min_records: The fewest records of a job.
            max_records: The most records of a job, and of a file.
            max_file_bytes: The largest input file.
            max_jobs: The most jobs of a model that have not ended.
        """
        self._quotas = BatchQuotas(min_records, max_records, max_file_bytes, max_jobs)

    # -- what was received

    def jobs(self, model_id: str | None = None) -> list[BatchJob]:
        """Return the jobs created so far, in order."""
        with self._lock:
            return [job for job in self._jobs.values() if model_id in (None, job.model_id)]

    def counts(self, model_id: str | None = None) -> BatchCounts:
        """Return what the jobs created so far have processed."""
        jobs = self.jobs(model_id)
        return sum((job.counts for job in jobs), BatchCounts(jobs=len(jobs)))

    # -- used by the server

    def use(self, objects: Objects | None) -> None:
        """Set the S3 service, or close it."""
        before, self._objects = self._objects, objects
        if before is not None:
            before.close()

    def create(self, body: dict[str, Any], arn: str) -> BatchJob:
        """Create a job, or return the one that the request's token has created.

        Raises:
            AwsError: The request is refused.
        """
        if self._objects is None:
            text = "The local AWS has no S3: start it with LocalAWS(s3_url=...)."
            raise AwsError("ValidationException", text)
        with self._lock:
            if known := self._known(body):
                return known
            model_id = body["modelId"]
            open_jobs = [
                job for job in self._jobs.values() if job.model_id == model_id and not job.has_ended
            ]
            if len(open_jobs) >= self._quotas.max_jobs:
                raise AwsError(
                    "ServiceQuotaExceededException",
                    "Sum of in-progress and submitted batch inference jobs using a base model: "
                    f"the quota is {self._quotas.max_jobs}.",
                )
            job = BatchJob(arn, body, self._outcome_of(model_id))
            self._jobs[arn] = job
            return job

    def _known(self, body: dict[str, Any]) -> BatchJob | None:
        token = body.get("clientRequestToken")
        for job in self._jobs.values():
            if token is None or job.body.get("clientRequestToken") != token:
                continue
            if job.body != body:
                raise AwsError(
                    "ConflictException",
                    "The clientRequestToken was used before with other parameters.",
                )
            return job
        return None

    def _outcome_of(self, model_id: str) -> BatchOutcome:
        for key in (model_id, None):
            if self._next[key]:
                return self._next[key].popleft()
        return self._outcomes.get(model_id) or self._outcomes.get(None) or BatchOutcome()

    def find(self, identifier: str) -> BatchJob | None:
        """Return a job by its ARN or id."""
        with self._lock:
            jobs = self._jobs.values()
            return next((j for j in jobs if identifier in (j.arn, j.identifier)), None)

    def poll(self, job: BatchJob) -> None:
        """Take a job one step further; it may run now, which blocks."""
        with job._lock:  # noqa: SLF001 - of this module
            if job.has_ended:
                return
            if job.status == "Stopping":
                job._stop_after -= 1  # noqa: SLF001
                if not job._stop_after:  # noqa: SLF001
                    self._end(job, "Stopped")
                return
            job._polls += 1  # noqa: SLF001
            waited = time.monotonic() - job._started  # noqa: SLF001
            if job._polls >= job.outcome.polls and waited >= job.outcome.seconds:  # noqa: SLF001
                self._end(job, job.outcome.status)
            else:
                _set(job, _ON_THE_WAY[min(job._polls, len(_ON_THE_WAY)) - 1])  # noqa: SLF001
                if job.status == _ON_THE_WAY[-1]:
                    self._proceed(job)

    def stop(self, job: BatchJob) -> None:
        """Begin to stop a job.

        Raises:
            AwsError: It has ended.
        """
        with job._lock:  # noqa: SLF001
            if job.has_ended:
                text = f"The job can't be stopped: its status is {job.status}."
                raise AwsError("ConflictException", text)
            job._stop_after = 2  # noqa: SLF001 - one request finds Stopping, the next Stopped
            _set(job, "Stopping")

    def _proceed(self, job: BatchJob) -> None:
        """Count records as processed in proportion to the requests for its status."""
        if not job.total and self._objects is not None:
            run = JobRun(self._state, self._objects, job.model_id, job.arn, job.outcome)
            with suppress(JobFailedError, NoAccessError):  # its end says why
                _, job.total = run.check(_source_of(job), _region_of(job), self._quotas)
        job.processed = job.total * job._polls // max(job._polls, job.outcome.polls)  # noqa: SLF001

    def _end(self, job: BatchJob, status: str) -> None:
        objects = self._objects
        if objects is None:
            return  # the server stops
        run = JobRun(self._state, objects, job.model_id, job.arn, job.outcome)
        source = _source_of(job)
        target = job.body["outputDataConfig"]["s3OutputDataConfig"]["s3Uri"].rstrip("/")
        try:
            files, job.total = run.check(source, _region_of(job), self._quotas)
            limit = job.outcome.processed(status, job.total)
            output = f"{target}/{job.identifier}"
            job.counts = run.write(files, source, output, limit, job.total)
            job.processed = job.counts.records
        except (JobFailedError, NoAccessError) as error:
            job.message = str(error)
            _set(job, "Failed")
        else:
            job.message = job.outcome.message if status == "Failed" else ""
            _set(job, status)


def _source_of(job: BatchJob) -> str:
    return str(job.body["inputDataConfig"]["s3InputDataConfig"]["s3Uri"])


def _region_of(job: BatchJob) -> str:
    return job.arn.split(":")[3]


def _set(job: BatchJob, status: str) -> None:
    job.status = status
    job.modified = dt.datetime.now(dt.UTC)
