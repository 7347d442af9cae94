"""The engine ``bedrock``: rows as batch inference jobs, at the price of these."""

from __future__ import annotations

import hashlib
import json
import logging
import re
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any, Literal

from langchain_modelmgr.batch.bedrock_counts import JobCounts
from langchain_modelmgr.batch.bedrock_drafts import MIN_RECORDS, Draft, Drafts, NoMoneyError
from langchain_modelmgr.batch.bedrock_jobs import (
    ENDED,
    POLL_SECONDS,
    JobNote,
    JobService,
    NoRoomError,
    RefusedError,
    input_key,
    note_holds,
)
from langchain_modelmgr.batch.bedrock_outputs import ERROR_CHARACTERS, OutputKeeper
from langchain_modelmgr.batch.engines import run_here
from langchain_modelmgr.batch.output_spool import OutputSpool
from langchain_modelmgr.batch.prices import batch_model
from langchain_modelmgr.batch.records import RecordForm, outputs_of
from langchain_modelmgr.batch.row_queue import RowQueue
from langchain_modelmgr.batch.worker import task_name
from langchain_modelmgr.budgets.job_hold import hold
from langchain_modelmgr.errors import BudgetExceededError, BudgetStoreError, JobError
from langchain_modelmgr.runtime.masking import mask_account_ids
from langchain_modelmgr.usage.tracks import TASK_KEY

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from langchain_modelmgr.batch.chunks import ChunkTask
    from langchain_modelmgr.batch.engines import Work
    from langchain_modelmgr.batch.plan import Plan
    from langchain_modelmgr.batch.row_queue import Spans
    from langchain_modelmgr.batch.store import Store

logger = logging.getLogger(__name__)

Rest = Literal["auto", "calls", "leave"]
"""What becomes of rows that jobs have not answered."""

MAX_HOURS, MIN_HOURS = 168, 24
"""The longest and the shortest ``timeoutDurationInHours`` (botocore 1.44.5)."""

_MAX_JOBS = 10
_LOOK_SECONDS = 0.5
_SMALL_REST = 0.05
_TOO_FEW = re.compile(r"required minimum of: (\d+)")
_TOO_MANY = re.compile(r"more records \(\d+\) than the allowed maximum of: (\d+)")


def why_not(manager: Any, plan: Plan) -> str | None:
    """Return why the engine can't take a plan, as far as it is known without a request."""
    batch = manager.config.batch
    for name in ("role", "bucket"):
        if getattr(batch, name) is None:
            return f"batch.{name} is not set"
    if plan.rows < MIN_RECORDS:
        return f"{plan.rows} rows are too few: a job needs {MIN_RECORDS} at least"
    model = manager.agent(plan.agent).chain().candidates[0].model_id
    if ":provisioned-model/" in model:
        return "provisioned models have no batch inference"
    return None


def run_bedrock(
    work: Work, tasks: Sequence[ChunkTask], *, rest: Rest, hours: float | None = None
) -> str | None:
    """Ask rows by batch inference jobs; return why it ended before all were answered, or None.

    Args:
        work: What the run does.
        tasks: The chunks.
        rest: What becomes of rows that jobs have not answered.
        hours: The hours that a job may take, 24 to 168; None: the most.

    Raises:
        ConfigurationError: A setting is missing.
        JobError: The rows, the model or the bucket don't fit, or Bedrock refuses a job.
    """
    if reason := why_not(work.manager, work.plan):
        raise JobError(f"engine bedrock: {reason}")
    engine = _Engine(work, tasks, hours)
    reason = engine.run()
    left, count = engine.left()
    if not count or reason is not None:
        return reason
    if rest == "calls" or (rest == "auto" and count <= work.plan.rows * _SMALL_REST):
        calls = replace(work, settings=replace(work.settings, engine="local"))
        return run_here(calls, left, work.settings.concurrency)
    why = "; ".join(engine.whys) or f"{count} rows are too few for another job"
    return f"{count} rows have no answer of a batch inference job ({why}): rest='calls' asks them"


def service_of(
    manager: Any, region: str | None, wait: Callable[[float], Any] = time.sleep
) -> JobService:
    """Return what sends the requests about jobs.

    Args:
        manager: The manager.
        region: The region of the jobs; None: the default one.
        wait: Waits for some seconds.
    """
    return JobService(manager.clients, region, str(manager.config.batch.bucket), wait)


def release_unnoted(
    manager: Any, plan: Plan, store: Store, service: JobService | None = None
) -> None:
    """Release what jobs hold that were never noted, and remove their input.

    Args:
        manager: The manager.
        plan: The plan.
        store: The plan's store.
        service: Sends the requests about its jobs; None: a new one.
    """
    for note in JobNote.take_unnoted(store):
        for held, units in note.held:
            manager.budgets.settle(held, [0] * len(units))
        if manager.config.batch.bucket is not None:
            (service or service_of(manager, None)).remove(input_key(plan.job, note.number))
        note.end(store, "not created", 0)


@dataclass(slots=True)
class _Running:
    """A job that has not ended: its note, its ARN, and when its status is read next."""

    note: JobNote
    arn: str
    wait: float
    due: float


class _Engine:
    def __init__(self, work: Work, tasks: Sequence[ChunkTask], hours: float | None) -> None:
        self._work = work
        self._plan = plan = work.plan
        self._tasks = tasks
        self._chunks = work.chunks()
        self._store = self._chunks.store
        self._hours = int(min(MAX_HOURS, max(MIN_HOURS, hours or MAX_HOURS)))
        agent = work.manager.agent(plan.agent)
        self._candidate = agent.chain().candidates[0]
        if (search := self._candidate.search()) is not None:
            search.result()
        self._candidate.resolve()
        self._priced = batch_model(self._candidate.settings.model).model
        self._form = RecordForm(agent, plan, self._candidate, self._priced)
        self._stopped = threading.Event()
        self._service = service_of(
            work.manager, self._candidate.settings.region, self._stopped.wait
        )
        most = work.settings.max_usd
        metadata = {} if most is None else {TASK_KEY: task_name(plan)}
        self._call = work.manager.budgets.of_call(plan.agent, metadata)
        self._keeper = OutputKeeper(
            work.manager, self._chunks, self._priced, self._candidate.public_id, metadata
        )
        self._queue = RowQueue(self._chunks, (), {})
        self._drafts = self._drafts_of(self._queue)
        self._counts = JobCounts(self._chunks, work.settings)
        self._running: list[_Running] = []
        self._number = 0
        self._reason: str | None = None
        self.whys: list[str] = []

    def run(self) -> str | None:
        with self._counts:
            return self._run()

    def _run(self) -> str | None:
        taken = self._resume()
        self._queue = RowQueue(self._chunks, self._tasks, taken)
        self._drafts = self._drafts_of(self._queue)
        if self._queue.peek() is not None:
            self._service.check_bucket(self._candidate.region)
        while True:
            self._reason = None
            if not self._stopped.is_set():
                self._create_jobs()
            if not self._running:
                break
            self._wait()
            if self._counts.other_run:
                break  # it goes on with the jobs
            for job in tuple(self._running):
                if time.monotonic() >= job.due:
                    self._look(job)
        if self._counts.other_run:
            return "another run began"
        return "stopped" if self._stopped.is_set() else self._reason

    def _resume(self) -> dict[ChunkTask, Spans]:
        """Find the jobs of earlier runs; return the positions that are in them."""
        notes, self._number = JobNote.read_all(self._store)
        taken: dict[ChunkTask, Spans] = {}
        for note in notes:
            self._begin(note, is_new=False)
            for task, spans in note.positions().items():
                taken.setdefault(task, []).extend(spans)
        return taken

    def left(self) -> tuple[list[ChunkTask], int]:
        """Return the chunks that are not finished, and how many rows have no answer."""
        tasks = self._chunks.unfinished(self._tasks)
        queue, count = RowQueue(self._chunks, tasks, {}), 0
        while queue.peek() is not None:
            queue.take()
            count += 1
        return tasks, count

    def _drafts_of(self, queue: RowQueue) -> Drafts:
        return Drafts(
            queue,
            self._form,
            self._call,
            agent_name=self._plan.agent,
            max_usd=self._work.settings.max_usd,
        )

    # -- new jobs

    def _create_jobs(self) -> None:
        """Create jobs for as many rows as quotas and budgets allow now."""
        while len(self._running) < _MAX_JOBS and self._drafts.has_rows:
            with TemporaryFile() as file:
                try:
                    draft = self._drafts.collect(file)
                except NoMoneyError as error:
                    self._reason = str(error)
                    return
                rows = draft.rows
                is_enough = draft.count >= self._drafts.fewest
                note = self._prepared(draft) if is_enough else None
            if note is None or not self._begin(note, is_new=True):
                self._queue.put_back(rows)
                return

    def _prepared(self, draft: Draft) -> JobNote | None:
        """Reserve what a job may cost, upload its input and note it; None: it is too dear."""
        note = self._note(draft)
        if self._call is not None:
            note_holds_of = partial(note_holds, self._store, note.number)
            try:
                held = hold(self._call, self._priced, draft.worst, note_holds_of)
            except (BudgetExceededError, BudgetStoreError) as error:
                self._reason = str(error)
                return None
            self._keeper.held(held)
            note.held = [(each.id, list(each.units)) for each in held]
        draft.file.seek(0)
        try:
            self._service.upload(input_key(self._plan.job, note.number), draft.file)
            note.write(self._store)
        except BaseException:
            with suppress(JobError):  # the next run does it
                release_unnoted(self._work.manager, self._plan, self._store, self._service)
            raise
        self._number += 1
        return note

    def _note(self, draft: Draft) -> JobNote:
        draft.file.seek(0)
        digest = hashlib.file_digest(draft.file, "sha256").hexdigest()  # type: ignore[arg-type]
        batch, number = self._work.manager.config.batch, self._number
        folder = f"s3://{batch.bucket}/modelmgr/{self._plan.job}"
        source = f"s3://{batch.bucket}/{input_key(self._plan.job, number)}"
        request = {
            "jobName": f"modelmgr-{self._plan.job[:20]}-{number}-{digest[:8]}",
            "roleArn": batch.role,
            "clientRequestToken": f"{self._plan.job}-{number}-{digest[:32]}",
            "modelId": self._candidate.model_id,
            "modelInvocationType": "Converse",
            "inputDataConfig": {"s3InputDataConfig": {"s3Uri": source}},
            "outputDataConfig": {"s3OutputDataConfig": {"s3Uri": f"{folder}/job-{number:06}-out/"}},
            "timeoutDurationInHours": self._hours,
        }
        return JobNote(
            number=number,
            model=self._candidate.model_id,
            region=self._candidate.settings.region,
            request=request,
            records=draft.count,
            rows=draft.rows,
        )

    def _begin(self, note: JobNote, *, is_new: bool) -> bool:
        """Create a job, or find it; return whether there was room for it."""
        body = self._store.read(note.created)
        if body is None:
            # Its name finds it, too: nobody says how long Bedrock remembers a token.
            arn = None if is_new else self._service.find(note.request["jobName"])
            arn = arn or self._created(note)
            if arn is None:
                return False
            body = json.dumps({"arn": arn}).encode()
            self._store.write_new(note.created, body)
        arn = json.loads(body)["arn"]
        self._running.append(_Running(note, arn, POLL_SECONDS[0], time.monotonic()))
        return True

    def _created(self, note: JobNote) -> str | None:
        try:
            return self._service.create(note.request)
        except NoRoomError as error:
            # An earlier attempt, whose reply was lost, may have created it.
            if (arn := self._service.find(note.request["jobName"])) is not None:
                return arn
            self.whys.append(f"Bedrock takes no further job: {error}")
            self._give_up(note, "not created")
            return None
        except RefusedError as error:
            self._give_up(note, "refused")
            where = self._candidate.region or "the default region"
            model = mask_account_ids(note.model)
            raise JobError(f"{error} (model {model} in {where}; no row was sent)") from error

    def _give_up(self, note: JobNote, status: str) -> None:
        """Note that a job was not created, release what it holds, and remove its input."""
        self._keeper.settle(note, [])
        self._service.remove(input_key(self._plan.job, note.number))
        note.end(self._store, status, 0)

    # -- running jobs

    def _wait(self) -> None:
        """Wait until the status of a job is due, and look for a stop meanwhile."""
        due = min(job.due for job in self._running)
        while (left := due - time.monotonic()) > 0:
            time.sleep(min(left, _LOOK_SECONDS))
            self._heed_a_stop()
            if self._counts.other_run:
                return
        self._heed_a_stop()

    def _heed_a_stop(self) -> None:
        if self._counts.stop_requested and not self._stopped.is_set():
            for job in self._running:
                self._service.stop(job.arn)
            self._stopped.set()

    def _look(self, job: _Running) -> None:
        found = self._service.read(job.arn)
        self._counts.saw(job.arn, found, ended=found["status"] in ENDED)
        if found["status"] in ENDED:
            self._running.remove(job)
            self._take(job, str(found["status"]), str(found.get("message", "")))
            return
        job.wait = min(POLL_SECONDS[1], job.wait * 2)
        job.due = time.monotonic() + job.wait

    def _take(self, job: _Running, status: str, message: str) -> None:
        """Take the output of a job that has ended."""
        note = job.note
        with OutputSpool(note.rows) as outputs:
            for output in outputs_of(self._service.output(job.arn, note.request)):
                outputs.add(output)
            self._keeper.take(note, job.arn, outputs, is_whole=status == "Completed")
            count, missing = len(outputs), note.records - len(outputs) + outputs.passing
        note.end(self._store, status, count)
        if status == "Failed" and not count and self._heeds_quotas(note, message):
            return
        if missing:
            why = f"job {note.number} ended as {status} without {missing} of {note.records} rows"
            text = mask_account_ids(message)[:ERROR_CHARACTERS]
            self.whys.append(f"{why}: {text}" if text else why)
            logger.warning("%s", self.whys[-1])

    def _heeds_quotas(self, note: JobNote, message: str) -> bool:
        """Ask the rows of a refused job again if the refusal names another quota."""
        few, many = _TOO_FEW.search(message), _TOO_MANY.search(message)
        if many and int(many[1]) < self._drafts.most:
            self._drafts.most = int(many[1])
        elif few and int(few[1]) > self._drafts.fewest:
            self._drafts.fewest = int(few[1])
        else:
            return False
        self._queue.put_back(note.rows)
        return True
