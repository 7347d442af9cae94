"""Batch inference jobs of Bedrock: what is noted of each, and the requests about it."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import IO, TYPE_CHECKING, Any, Self

from langchain_modelmgr.batch.chunks import ChunkTask
from langchain_modelmgr.batch.s3_bodies import blocks_of, lines_of
from langchain_modelmgr.errors import JobError
from langchain_modelmgr.runtime.masking import mask_account_ids

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from langchain_modelmgr.batch.row_queue import JobRows, Spans
    from langchain_modelmgr.batch.store import Store

logger = logging.getLogger(__name__)

JOBS = "bedrock"
_HOLDS = "-holds.json"
ENDED = frozenset({"Completed", "PartiallyCompleted", "Stopped", "Expired", "Failed"})

POLL_SECONDS = 2.0, 60.0
"""The first and the longest wait before a job's status is read again."""

_TRIES = 8
_PASSING = frozenset({"ThrottlingException", "InternalServerException", "ServiceUnavailable"})
_SERVER_ERROR = 500


class NoRoomError(Exception):
    """Raised if Bedrock takes no further job until another one has ended."""


@dataclass(slots=True)
class JobNote:
    """What the store has about one batch inference job.

    Attributes:
        number: Its number in the plan.
        model: The model.
        region: Its region; None: the default one.
        request: The parameters of CreateModelInvocationJob, which make the same job again.
        records: The number of its records.
        rows: Its rows.
        held: Its reservations: id and units of each.
    """

    number: int
    model: str
    region: str | None
    request: dict[str, Any]
    records: int
    rows: JobRows
    held: list[tuple[str, list[str]]] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The name of its object."""
        return f"{JOBS}/{self.number:06}.json"

    @property
    def created(self) -> str:
        """The name of the object with its ARN."""
        return f"{JOBS}/{self.number:06}-created.json"

    @property
    def ended(self) -> str:
        """The name of the object which says that its output was taken."""
        return f"{JOBS}/{self.number:06}-ended.json"

    def positions(self) -> dict[ChunkTask, Spans]:
        """Return the positions of its rows, by what is to be done."""
        found: dict[ChunkTask, Spans] = {}
        for chunk, version, spans in self.rows:
            found.setdefault(ChunkTask(chunk, version), []).extend(spans)
        return found

    def write(self, store: Store) -> None:
        """Write its object, which must be new.

        Raises:
            JobError: Another run has made a job of this number.
        """
        if not store.write_new(self.name, json.dumps(asdict(self)).encode()):
            raise JobError(f"{store.where}: another run works on this job: wait for it, or stop it")

    def end(self, store: Store, status: str, records: int) -> None:
        """Note that the job has ended, and that its output was taken."""
        about = {"status": status, "records": records}
        store.write_new(self.ended, json.dumps(about).encode())

    @classmethod
    def read_all(cls, store: Store) -> tuple[list[Self], int]:
        """Return the jobs whose output was not taken, and the number of the next job."""
        names = set(store.names(JOBS))
        numbers = sorted(int(n.removeprefix(f"{JOBS}/")[:6]) for n in names if "-" not in n)
        found = []
        for number in numbers:
            if f"{JOBS}/{number:06}-ended.json" in names:
                continue
            body = store.read(f"{JOBS}/{number:06}.json")
            if body is not None and (note := cls(**json.loads(body))).records:
                found.append(note)
        return found, numbers[-1] + 1 if numbers else 0

    @classmethod
    def take_unnoted(cls, store: Store) -> Iterator[Self]:
        """Yield the jobs that were never noted, because their process died after it held money.

        Each is noted as a job without records first, so that no other process notes it.
        """
        names = set(store.names(JOBS))
        for name in sorted(names):
            if not name.endswith(_HOLDS):
                continue
            number = int(name.removeprefix(f"{JOBS}/")[:6])
            held = json.loads(store.read(name) or b"[]")
            note = cls(number, "", None, {}, 0, [], held)
            if note.ended in names:
                continue
            if not store.write_new(note.name, json.dumps(asdict(note)).encode()):
                body = store.read(note.name)
                if body is None or json.loads(body)["records"]:
                    continue
            yield note


def note_holds(store: Store, number: int, held: list[tuple[str, list[str]]]) -> None:
    """Note what a job is about to hold: id and units of each reservation."""
    store.write(f"{JOBS}/{number:06}{_HOLDS}", json.dumps(held).encode())


def input_key(job: str, number: int) -> str:
    """Return the key of the input file of a job of a plan."""
    return f"modelmgr/{job}/job-{number:06}/rows.jsonl"


class JobService:
    """Sends the requests about batch inference jobs, and reads and writes their bucket.

    Args:
        clients: The manager's clients.
        region: The region; None: the default one.
        bucket: The bucket.
        wait: Waits for some seconds.
    """

    def __init__(
        self, clients: Any, region: str | None, bucket: str, wait: Callable[[float], Any]
    ) -> None:
        self._bedrock = clients.jobs(region)
        self._s3 = clients.s3()
        self._bucket = bucket
        self._wait = wait

    def check_bucket(self, region: str | None) -> None:
        """Check that the bucket is in a region.

        Raises:
            JobError: It is not, or it can't be read.
        """
        found = self._call("HeadBucket", self._s3.head_bucket, Bucket=self._bucket)
        headers = found["ResponseMetadata"]["HTTPHeaders"]
        there = found.get("BucketRegion") or headers.get("x-amz-bucket-region")
        if None not in (there, region) and there != region:
            raise JobError(
                f"batch.bucket {self._bucket} is in {there}, but the model is called in {region}: "
                "Bedrock reads only buckets of its own region"
            )

    def upload(self, key: str, file: IO[bytes]) -> None:
        """Write an object of the bucket."""

        def put(**arguments: Any) -> Any:
            file.seek(0)  # an attempt that failed may have read it
            return self._s3.put_object(**arguments)

        self._call("PutObject", put, Bucket=self._bucket, Key=key, Body=file)

    def remove(self, key: str) -> None:
        """Remove an object of the bucket, as far as it is permitted."""
        try:
            self._call("DeleteObject", self._s3.delete_object, Bucket=self._bucket, Key=key)
        except JobError as error:
            logger.warning("s3://%s/%s was not removed: %s", self._bucket, key, error)

    def create(self, request: dict[str, Any]) -> str:
        """Create a job, or find the one that the same request has created; return its ARN.

        Raises:
            NoRoomError: Too many jobs run.
            JobError: Bedrock refuses it.
        """
        name = "CreateModelInvocationJob"
        found = self._call(name, self._bedrock.create_model_invocation_job, **request)
        return str(found["jobArn"])

    def find(self, name: str) -> str | None:
        """Return the ARN of the job of a name; None if there is none."""
        found = self._call(
            "ListModelInvocationJobs",
            self._bedrock.list_model_invocation_jobs,
            nameContains=name,
        )
        jobs = found.get("invocationJobSummaries", ())
        return next((str(job["jobArn"]) for job in jobs if job["jobName"] == name), None)

    def read(self, arn: str) -> dict[str, Any]:
        """Return status and message of a job."""
        name = "GetModelInvocationJob"
        found: dict[str, Any] = self._call(
            name, self._bedrock.get_model_invocation_job, jobIdentifier=arn
        )
        return found

    def stop(self, arn: str) -> None:
        """Begin to stop a job, unless it has ended."""
        name = "StopModelInvocationJob"
        try:
            self._call(name, self._bedrock.stop_model_invocation_job, jobIdentifier=arn)
        except _ConflictError:
            return

    def output(self, arn: str, request: dict[str, Any]) -> Iterator[bytes]:
        """Yield the lines of a job's output files."""
        uri = request["outputDataConfig"]["s3OutputDataConfig"]["s3Uri"]
        folder = uri.removeprefix(f"s3://{self._bucket}/").rstrip("/")
        more: dict[str, str] = {}
        while True:
            page = self._call(
                "ListObjectsV2", self._s3.list_objects_v2, Bucket=self._bucket,
                Prefix=f"{folder}/{arn.rpartition('/')[2]}/", **more,
            )  # fmt: skip
            for each in page.get("Contents", ()):
                if each["Key"].endswith(".jsonl.out"):
                    get = partial(
                        self._call, "GetObject", self._s3.get_object,
                        Bucket=self._bucket, Key=each["Key"],
                    )  # fmt: skip
                    yield from lines_of(blocks_of(get, f"s3://{self._bucket}: ", self._wait))
            if not page.get("IsTruncated"):
                return
            more = {"ContinuationToken": page["NextContinuationToken"]}

    def _call(self, name: str, method: Callable[..., Any], **arguments: Any) -> Any:
        """Make a request, again if it is throttled or the service fails.

        Raises:
            JobError: It failed; the message has operation and AWS's text.
        """
        from botocore.exceptions import BotoCoreError, ClientError

        least, most = POLL_SECONDS
        for tries in range(_TRIES):
            try:
                return method(**arguments)
            except ClientError as error:
                failure = error.response.get("Error", {})
                code, text = failure.get("Code", ""), failure.get("Message", "")
                status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
                if code == "ServiceQuotaExceededException":
                    raise NoRoomError(text) from error
                if code == "ConflictException":
                    raise _ConflictError(f"{name} failed: {code}: {text}") from error
                passes = code in _PASSING or status >= _SERVER_ERROR
                reason = mask_account_ids(f"{code}: {text}")
                cause: Exception = error
            except BotoCoreError as error:
                passes, reason, cause = True, type(error).__name__, error
            if not passes:
                raise RefusedError(f"{name} failed: {reason}") from cause
            self._wait(min(most, least * 2**tries))
        raise JobError(f"{name} failed {_TRIES} times: {reason}") from cause


class RefusedError(JobError):
    """A request that AWS refuses, however often it is made: nothing has happened."""


class _ConflictError(JobError):
    pass


def refuse_open_jobs(store: Store) -> None:
    """Refuse to ask rows by calls while batch inference jobs have them.

    Raises:
        JobError: There are such jobs.
    """
    notes, _ = JobNote.read_all(store)
    if notes:
        rows = sum(note.records for note in notes)
        raise JobError(
            f"{store.where}: {rows} rows are in batch inference jobs: go on with engine='bedrock'; "
            "stop() ends the jobs early"
        )


def stop_jobs(store: Store, service: Callable[[JobNote], JobService]) -> None:
    """Begin to stop the batch inference jobs of a plan that run.

    Args:
        store: The plan's store.
        service: Returns what sends the requests about a job.
    """
    notes, _ = JobNote.read_all(store)
    for note in notes:
        if (body := store.read(note.created)) is not None:
            service(note).stop(json.loads(body)["arn"])
