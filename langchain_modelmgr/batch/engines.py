"""The engines that ask rows as calls: on this machine, on Dask, and on Ray."""

from __future__ import annotations

import math
import os
import pickle
import socket
import subprocess
import sys
import threading
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from langchain_modelmgr.batch.chunks import Chunks, ChunkTask
from langchain_modelmgr.batch.runs import read_counts
from langchain_modelmgr.batch.store import store_of
from langchain_modelmgr.batch.worker import Worker
from langchain_modelmgr.errors import JobError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from langchain_modelmgr.batch.plan import Plan
    from langchain_modelmgr.batch.worker import RunSettings

Engine = Literal["auto", "local", "bedrock", "dask", "ray"]

THREADS_OF_A_PROCESS = 256
"""Rows that one process has out at most: its CPU is the limit beyond that."""

_LOOK_SECONDS = 1.0
_TASK_RETRIES = 3


@dataclass(frozen=True, slots=True)
class Work:
    """What a run does, in a form that travels to other processes.

    Attributes:
        manager: The manager.
        plan: The plan.
        into: Where the job is.
        settings: How the run asks.
    """

    manager: Any
    plan: Plan
    into: str
    settings: RunSettings

    def chunks(self) -> Chunks:
        """Return the job's chunks."""
        return Chunks(self.plan, store_of(self.into, self.manager.clients.s3))

    def worker(self, concurrency: int) -> Worker:
        """Return a worker of this process."""
        return Worker(self.manager, self.chunks(), self.settings, concurrency)


def run_local(work: Work, tasks: Sequence[ChunkTask]) -> str | None:
    """Ask all chunks on this machine; return why it ended before that, or None."""
    processes = min(
        os.cpu_count() or 1, math.ceil(work.settings.concurrency / THREADS_OF_A_PROCESS)
    )
    if work.manager.config.budgets.state == "memory":
        processes = 1  # each process would have budgets of its own, and max_usd several times
    if processes > 1 and len(tasks) > 1:
        return _run_in_processes(work, tasks, processes)
    return run_here(work, tasks, work.settings.concurrency)


def run_here(
    work: Work, tasks: Sequence[ChunkTask], concurrency: int, driver: int | None = None
) -> str | None:
    """Ask chunks in this process; return why it ended before that, or None.

    Args:
        work: What the run does.
        tasks: The chunks.
        concurrency: The rows that are out at most.
        driver: The descriptor of a pipe that ends with the process that started this one.
    """
    chunks = work.chunks()
    with work.worker(concurrency) as worker:
        if driver is not None:
            threading.Thread(target=_follow, args=(driver, worker), daemon=True).start()
        try:
            for task in tasks:
                worker.feed(chunks.open(task))
                if worker.reason is not None:
                    break
        except BaseException as error:  # interrupted: rows that are out end, and are kept
            worker.stop(type(error).__name__)
            raise
    return worker.reason


def _follow(driver: int, worker: Worker) -> None:
    """Stop a worker when its driver has ended."""
    while os.read(driver, 1):  # not by a file object, whose lock this thread would keep at exit
        pass
    worker.stop("the driver ended")


def _run_in_processes(work: Work, tasks: Sequence[ChunkTask], processes: int) -> str | None:
    """Ask chunks in processes of their own, which take them in turn."""
    share = math.ceil(work.settings.concurrency / processes)
    command = [sys.executable, "-m", "langchain_modelmgr.batch"]
    # At the end, or when this process is interrupted, their pipes are closed and they are waited
    # for: rows that are out end, and are kept.
    with ExitStack() as stack:
        started = []
        for number in range(processes):
            process = stack.enter_context(  # our own interpreter
                subprocess.Popen(command, stdin=subprocess.PIPE)  # noqa: S603
            )
            started.append(process)
            if process.stdin is not None:
                pickle.dump((work, list(tasks[number::processes]), share), process.stdin)
                process.stdin.flush()
        statuses = [process.wait() for process in started]
    reasons = [each.reason for each in read_counts(work.chunks()) if each.run == work.settings.run]
    found = next((reason for reason in reasons if reason), None)
    if found is None and any(statuses):
        return f"a worker process died: exit status {next(s for s in statuses if s)}"
    return found


# -- a task a chunk, on a cluster's workers


class _Workers:
    """The worker of each job in this process: the tasks of a run share threads and limits."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._of_job: dict[str, Worker] = {}

    def of(self, work: Work, concurrency: int) -> Worker:
        own = work.plan.job
        with self._lock:
            worker = self._of_job.get(own)
            if worker is None or worker.run != work.settings.run or worker.reason is not None:
                for job, other in list(self._of_job.items()):
                    if job == own or other.is_idle:
                        other.retire("another run began")
                        del self._of_job[job]
                worker = self._of_job[own] = work.worker(concurrency)
            return worker


_WORKERS = _Workers()


def ask_chunk(work: Work, task: ChunkTask, concurrency: int) -> str | None:
    """Ask one chunk, as a task of a cluster; return why it is not finished, or None.

    Args:
        work: What the run does.
        task: The chunk.
        concurrency: The rows that this process has out at most.

    Raises:
        JobError: ``max_usd`` can't be held on this host.
    """
    _check_budget_place(work)
    chunk = work.chunks().open(task)
    if chunk.is_finished.is_set():
        return None
    worker = _WORKERS.of(work, concurrency)
    worker.feed(chunk)
    if worker.finish(chunk):
        return None
    return worker.reason or "stopped"


def _check_budget_place(work: Work) -> None:
    state = work.manager.config.budgets.state
    if work.settings.max_usd is None or "://" in state:
        return
    if state == "memory" or socket.gethostname() != work.settings.host:
        raise JobError(
            f"max_usd can't be held by workers in several places with state: {state}: set state: "
            "valkey://host:6379/0 in the YAML"
        )


def run_dask(work: Work, tasks: Sequence[ChunkTask], client: Any) -> str | None:
    """Ask all chunks on a Dask cluster; return why it ended before that, or None.

    Args:
        work: What the run does.
        tasks: The chunks.
        client: A ``distributed.Client``, or a scheduler's address.

    Raises:
        JobError: There are no workers.
    """
    import distributed

    dask: Any = distributed
    own = dask.Client(client) if isinstance(client, str) else None
    client = own or client
    try:
        workers = client.scheduler_info(n_workers=-1)["workers"]
        if not workers:
            raise JobError("the Dask cluster has no workers")
        share = math.ceil(work.settings.concurrency / len(workers))
        spread = client.scatter(work, broadcast=True)
        futures = [
            client.submit(
                ask_chunk, spread, task, share, pure=False, retries=_TASK_RETRIES,
                key=f"modelmgr-batch-{work.settings.run}-{task.chunk}-{task.version}",
            )
            for task in tasks
        ]  # fmt: skip
        for future in dask.as_completed(futures):
            reason: str | None = future.result()
            if reason is not None:
                client.cancel(futures)
                return reason
        return None
    finally:
        if own is not None:
            own.close()


def run_ray(
    work: Work, tasks: Sequence[ChunkTask]
) -> str | None:  # pragma: no cover - make test-ray
    """Ask all chunks on Ray; return why it ended before that, or None.

    Args:
        work: What the run does.
        tasks: The chunks.
    """
    import ray as installed

    ray: Any = installed
    if not ray.is_initialized():
        ray.init()
    cpus = max(1, int(ray.cluster_resources().get("CPU", 1)))
    share = math.ceil(work.settings.concurrency / cpus)
    spread = ray.put(work)
    remote: Any = ray.remote(ask_chunk).options(max_retries=_TASK_RETRIES)
    return _windowed(
        [partial(remote.remote, spread, task, share) for task in tasks],
        2 * cpus,
        ray,
    )


def _windowed(
    starts: Sequence[Callable[[], Any]], size: int, ray: Any
) -> str | None:  # pragma: no cover - make test-ray
    """Run tasks, some at a time; return the first reason why one was not finished, or None."""
    waiting, out = list(reversed(starts)), list[Any]()
    while waiting or out:
        while waiting and len(out) < size:
            out.append(waiting.pop()())
        done, out = ray.wait(out, timeout=_LOOK_SECONDS)
        for each in done:
            reason: str | None = ray.get(each)
            if reason is not None:
                for other in out:
                    ray.cancel(other)
                return reason
    return None
