"""Job: a plan of many rows, asked by an engine, resumable, each row once."""

from __future__ import annotations

import logging
import socket
import uuid
from contextlib import contextmanager
from dataclasses import replace
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, Self

from langchain_modelmgr.batch.bedrock_engine import (
    MIN_HOURS,
    release_unnoted,
    run_bedrock,
    service_of,
    why_not,
)
from langchain_modelmgr.batch.bedrock_jobs import JobNote, refuse_open_jobs, stop_jobs
from langchain_modelmgr.batch.chunks import Chunks
from langchain_modelmgr.batch.engines import Work, run_dask, run_local, run_ray
from langchain_modelmgr.batch.estimate import Estimate, estimates
from langchain_modelmgr.batch.plan import Plan, planned
from langchain_modelmgr.batch.results import dataset_of
from langchain_modelmgr.batch.rows import Rows
from langchain_modelmgr.batch.runs import WORKERS, RunNote, await_others
from langchain_modelmgr.batch.status import JobStatus, status_of
from langchain_modelmgr.batch.store import FolderStore, store_of
from langchain_modelmgr.batch.worker import STOP, RunSettings, task_name
from langchain_modelmgr.config.problems import nearest
from langchain_modelmgr.errors import ConfigurationError, JobError

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator

    from langchain_modelmgr.batch.asking import OnThrottle
    from langchain_modelmgr.batch.bedrock_engine import Rest
    from langchain_modelmgr.batch.chunks import ChunkTask
    from langchain_modelmgr.batch.engines import Engine

logger = logging.getLogger(__name__)

ENGINES = ("auto", "local", "bedrock", "dask", "ray")


class Job:
    """A job: its plan, and what becomes of its rows.

    Made by ``manager.batch(...)``. The same call resumes it, in any process.

    Args:
        manager: The manager.
        into: A folder, or ``s3://bucket/prefix``.
        plan: The plan there.
    """

    def __init__(self, manager: Any, into: str, plan: Plan) -> None:
        store = store_of(into, manager.clients.s3)
        self.plan = plan
        # Other processes, and this one later, may work in another folder.
        self.into = str(store.folder) if isinstance(store, FolderStore) else into
        self._manager = manager
        self._chunks = Chunks(plan, store)

    @classmethod
    def planned(  # noqa: PLR0913 - the parts of a job, keyword-only
        cls,
        manager: Any,
        agent_name: str,
        rows: Any,
        *,
        into: str | os.PathLike[str],
        key: str | None,
        prompt: str | None,
        system: str,
    ) -> Self:
        """Return the job of some rows; make its plan if there is none.

        Raises:
            ConfigurationError: The agent is unknown or disabled.
            JobError: A row or an argument is wrong, or ``into`` has another plan.
        """
        _require("pyarrow", "batch")
        if not isinstance(system, str):
            raise JobError(f"system must be text, not {type(system).__name__}")
        agent = manager.agent(agent_name)
        agent.check()
        window = agent.chain().candidates[0].settings.model.context_window
        store = store_of(into, manager.clients.s3)
        read = Rows(rows, key=key, prompt=prompt)
        plan = planned(store, agent_name, read, system=system, window=window)
        return cls(manager, str(into), plan)

    @classmethod
    def open(cls, manager: Any, into: str | os.PathLike[str]) -> Self:
        """Return the job that was planned in a place.

        Raises:
            JobError: There is no plan.
        """
        _require("pyarrow", "batch")
        plan = Plan.read(store_of(into, manager.clients.s3))
        if plan is None:
            raise JobError(f"{into} has no plan: make one with manager.batch(...)")
        return cls(manager, str(into), plan)

    def estimate(self) -> dict[str, Estimate]:
        """Return what the rows that have no answer yet take with each engine.

        Nothing is sent to a model, except for counting tokens, which is free.
        """
        return estimates(self._manager, self._chunks)

    def run(  # noqa: PLR0913 - the parts of a run, keyword-only
        self,
        *,
        max_usd: Decimal | float | str | None = None,
        engine: Engine | None = None,
        concurrency: int | None = None,
        on_throttle: OnThrottle = "wait",
        client: Any = None,
        deadline_hours: float | None = None,
        rest: Rest = "auto",
    ) -> JobStatus:
        """Ask the rows that have no answer yet; return when none is left, or the run ended.

        Rows that are out when a run ends are waited for and kept. The same call goes on.

        Args:
            max_usd: The most that the whole job may cost, earlier runs included.
            engine: ``auto``, ``local``, ``bedrock``, ``dask`` or ``ray``; None: the YAML's.
            concurrency: The most rows that are out at once, over all workers; None: the YAML's.
            on_throttle: Whether a throttled row waits for the same model, or asks a fallback.
            client: A ``distributed.Client`` or a scheduler's address, for ``dask``.
            deadline_hours: When the answers are needed, for ``auto`` and ``bedrock``: a batch
                inference job may take 24 hours at least.
            rest: What becomes of rows that batch inference jobs have not answered: ``calls`` asks
                them at full price, ``leave`` leaves them pending, ``auto`` asks them if they are
                at most 5 % of the rows.

        Returns:
            The status, with the reason why the run ended before all rows were asked.

        Raises:
            ConfigurationError: An argument is wrong.
            JobError: Another run works on this job, or its place can't be used.
        """
        settings = self._settings(max_usd, engine, concurrency, on_throttle, client, deadline_hours)
        return self._ask(self._chunks.pending, settings, client, deadline_hours, rest)

    def retry(  # noqa: PLR0913 - the parts of a run, keyword-only
        self,
        *,
        max_usd: Decimal | float | str | None = None,
        engine: Engine | None = None,
        concurrency: int | None = None,
        on_throttle: OnThrottle = "wait",
        client: Any = None,
        deadline_hours: float | None = None,
        rest: Rest = "auto",
    ) -> JobStatus:
        """Ask the rows again that failed for good, in chunks that are finished; as ``run``."""
        settings = self._settings(max_usd, engine, concurrency, on_throttle, client, deadline_hours)
        return self._ask(self._chunks.failed, settings, client, deadline_hours, rest)

    def status(self) -> JobStatus:
        """Return the counts and the cost so far."""
        return status_of(self._chunks)

    def results(self) -> Any:
        """Return the results that there are, as a ``pyarrow.dataset.Dataset`` in the plan's order.

        Its columns: key (in the input's own type), text, error, model, engine, input_tokens,
        output_tokens, cost_usd (decimal128(38, 12); null if unknown).
        """
        return dataset_of(self._chunks)

    def stop(self) -> None:
        """Let the run that works on this job end, in whatever process.

        It begins no further row within about 5 seconds.
        """
        self._chunks.store.write(STOP, b"")
        stop_jobs(self._chunks.store, lambda note: service_of(self._manager, note.region))

    def _ask(
        self,
        find: Callable[[], list[ChunkTask]],
        settings: RunSettings,
        client: Any,
        hours: float | None,
        rest: Rest,
    ) -> JobStatus:
        if rest not in ("auto", "calls", "leave"):
            raise ConfigurationError(f"rest must be auto, calls or leave, not {rest!r}")
        with self._alone():
            self._clean()
            if find():
                if settings.engine != "bedrock":
                    refuse_open_jobs(self._chunks.store)
                note = self._begin(settings)
                tasks = find()  # workers of an earlier run may have finished some
                work = Work(self._manager, self.plan, self.into, settings)
                reason: str | None = "the run was interrupted"
                try:
                    reason = self._with_engine(work, tasks, client, hours, rest)
                finally:
                    if RunNote.read(self._chunks) == note:  # no other run has taken over
                        replace(note, ended=True, reason=reason).write(self._chunks)
            return self.status()

    def _settings(  # noqa: PLR0913, PLR0917 - the arguments of run
        self,
        max_usd: Any,
        engine: Engine | None,
        concurrency: int | None,
        on_throttle: OnThrottle,
        client: Any,
        hours: float | None,
    ) -> RunSettings:
        if hours is not None and not (_is_number(hours) and hours > 0):
            raise ConfigurationError("deadline_hours must be a number of hours above 0")
        batch = self._manager.config.batch
        name = engine or batch.engine
        if name not in ENGINES:
            raise ConfigurationError(
                f"engine: unknown engine {name!r}{nearest(str(name), ENGINES)}"
            )
        if name == "auto":
            name = self._chosen(client, hours)
        if name == "dask" and client is None:
            raise ConfigurationError("engine dask needs client: a distributed.Client or an address")
        if name in ("dask", "ray"):
            _require({"dask": "distributed"}.get(name, name), name)
        if on_throttle not in ("wait", "fallback"):
            raise ConfigurationError(f"on_throttle must be wait or fallback, not {on_throttle!r}")
        most = batch.concurrency if concurrency is None else concurrency
        if isinstance(most, bool) or not isinstance(most, int) or most < 1:
            raise ConfigurationError("concurrency must be a whole number above 0")
        return RunSettings(
            run=uuid.uuid4().hex,
            engine=name,
            concurrency=most,
            on_throttle=on_throttle,
            max_usd=_usd(max_usd),
            host=socket.gethostname(),
        )

    def _chosen(self, client: Any, hours: float | None) -> Engine:
        """Return the engine that ``auto`` takes."""
        if JobNote.read_all(self._chunks.store)[0]:
            return "bedrock"
        if client is not None:
            return "dask"
        if hours is None or hours < MIN_HOURS:
            return "local"
        reason = why_not(self._manager, self.plan)
        if reason is None:
            return "bedrock"
        logger.info("engine auto: local, not bedrock: %s", reason)
        return "local"

    def _with_engine(
        self,
        work: Work,
        tasks: list[ChunkTask],
        client: Any,
        hours: float | None,
        rest: Rest,
    ) -> str | None:
        if work.settings.engine == "bedrock":
            return run_bedrock(work, tasks, rest=rest, hours=hours)
        if work.settings.engine == "dask":
            return run_dask(work, tasks, client)
        if work.settings.engine == "ray":
            return run_ray(work, tasks)
        return run_local(work, tasks)

    def _begin(self, settings: RunSettings) -> RunNote:
        """Note the run; count what earlier runs spent in its budget."""
        store = self._chunks.store
        note = RunNote.of(settings.run, settings.engine)
        note.write(self._chunks)
        await_others(self._chunks, settings.run)
        store.remove([STOP, *store.names(WORKERS)])
        release_unnoted(self._manager, self.plan, store)
        if settings.max_usd is not None:
            task = self._manager.budget(task_name(self.plan), usd=settings.max_usd)
            task.count_at_least(self.status().cost_usd)
        return note

    def _clean(self) -> None:
        self._chunks.remove_finished_logs()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Refuse a second run in the same folder.

        Raises:
            JobError: Another one works there.
        """
        store = self._chunks.store
        if not isinstance(store, FolderStore):
            yield
            return
        import portalocker

        flags = portalocker.LockFlags.EXCLUSIVE | portalocker.LockFlags.NON_BLOCKING
        try:
            lock = portalocker.Lock(store.folder / ".lock", "a", timeout=0, flags=flags)
            lock.acquire()
        except OSError as error:
            raise JobError(f"{store.where} can't be written: {error.strerror}") from error
        except portalocker.exceptions.LockException:
            raise JobError(
                f"{store.where}: another run works on this job: wait for it, or stop it"
            ) from None
        try:
            yield
        finally:
            lock.release()


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _usd(amount: Any) -> str | None:
    if amount is None:
        return None
    try:
        usd = Decimal(str(amount))
    except InvalidOperation:
        usd = Decimal("NaN")
    if not usd.is_finite() or usd <= 0:
        raise ConfigurationError("max_usd must be a number of USD above 0, such as 40")
    return str(usd)


def _require(module: str, extra: str) -> None:
    from importlib.util import find_spec

    if find_spec(module) is None:
        raise ConfigurationError(f"this needs {module}: pip install 'langchain-modelmgr[{extra}]'")
