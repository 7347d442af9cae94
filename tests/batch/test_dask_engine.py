"""The engine ``dask``: a task a chunk, on workers in processes of their own."""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from langchain_modelmgr import ConfigurationError, JobError, ModelManager
from langchain_modelmgr.batch import plan
from langchain_modelmgr.batch.chunks import ChunkTask
from langchain_modelmgr.batch.engines import Work, ask_chunk
from langchain_modelmgr.batch.worker import RunSettings
from tests.batch.conftest import AGENT, PROMPT, tickets
from tests.models import SONNET
from tests.support import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from langchain_modelmgr import Job
    from langchain_modelmgr.local import LocalAWS
    from tests.agents import Configure

pytest.importorskip("distributed")

# distributed leaves sockets and coroutines to the garbage collector when its processes end.
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the state folder that the workers and the drivers of this module share."""
    return str(tmp_path_factory.mktemp("state"))


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "CHUNK_ROWS", 50)


@pytest.fixture(autouse=True)
def shared_state(state: str, clean_environment: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELMGR_STATE_DIR", state)


@pytest.fixture(scope="module")
def client(state: str) -> Iterator[Any]:
    import distributed

    dask: Any = distributed
    environment = {
        "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "dummy",
        "MODELMGR_STATE_DIR": state,
        "PYTHONPATH": str(ROOT),
    }
    with (
        dask.LocalCluster(
            n_workers=2, threads_per_worker=2, dashboard_address=":0", env=environment
        ) as cluster,
        dask.Client(cluster) as made,
    ):
        yield made


def recorded(manager: ModelManager) -> int:
    (row,) = manager.usage_sql("SELECT count(*) AS attempts FROM attempts")
    return int(row["attempts"])


def job_of(manager: ModelManager, into: Any, count: int) -> Job:
    return manager.batch("labeler", tickets(count), into=into, key="id", prompt=PROMPT)


def test_a_client_selects_dask_and_every_row_is_answered_once(
    client: Any, manager: ModelManager, tmp_path: Path, local_aws: LocalAWS
) -> None:
    job = job_of(manager, tmp_path / "job", 240)
    before = recorded(manager)

    status = job.run(client=client, concurrency=16, max_usd=40)

    assert (status.done, status.reason) == (240, None)
    rows = job.results().to_table().to_pylist()
    assert [row["key"] for row in rows] == list(range(240))
    assert {row["engine"] for row in rows} == {"dask"}
    assert local_aws.requests() == 240
    assert recorded(manager) - before == 240


def test_a_worker_that_is_killed_is_replaced_and_what_it_asked_is_kept(
    client: Any, manager: ModelManager, tmp_path: Path, local_aws: LocalAWS
) -> None:
    local_aws.latency(SONNET, 0.02)
    job = job_of(manager, tmp_path / "job", 400)
    victim = next(iter(client.run(os.getpid).values()))

    def kill() -> None:
        while local_aws.requests() < 40:
            time.sleep(0.01)
        os.kill(victim, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    status = job.run(client=client, concurrency=8)
    killer.join()

    assert (status.done, status.reason) == (400, None)
    assert len(set(job.results().to_table().column("key").to_pylist())) == 400
    assert 400 <= local_aws.requests() <= 400 + 8


def test_an_address_is_a_client(client: Any, manager: ModelManager, tmp_path: Path) -> None:
    job = job_of(manager, tmp_path / "job", 3)

    assert job.run(client=client.scheduler.address).done == 3


def test_a_reason_ends_all_chunks(
    client: Any, manager: ModelManager, tmp_path: Path, local_aws: LocalAWS
) -> None:
    local_aws.fail(None, "UnrecognizedClientException", times=1_000_000)
    job = job_of(manager, tmp_path / "job", 240)

    status = job.run(client=client, concurrency=4)

    assert status.pending == 240
    assert status.reason is not None
    assert status.reason.startswith("BedrockAuthenticationError: ")


def test_max_usd_needs_a_shared_state_on_several_hosts(
    configured: Configure, tmp_path: Path, local_aws: LocalAWS
) -> None:
    with ModelManager(configured(AGENT)) as manager:
        job = job_of(manager, tmp_path / "job", 3)
        settings = RunSettings("run", "dask", 4, max_usd="1", host="another-host")
        work = Work(manager, job.plan, job.into, settings)
        with pytest.raises(JobError, match=r"set state: valkey://host:6379/0 in the YAML"):
            ask_chunk(work, ChunkTask(0), 4)
    assert local_aws.requests() == 0


def test_dask_without_a_client_is_a_mistake(manager: ModelManager, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="engine dask needs client"):
        job_of(manager, tmp_path / "job", 3).run(engine="dask")
