"""The engine ``ray``, on a Ray of this machine. ``make test-ray`` runs it, alone.

Ray's raylet gives up on a busy machine, so this is no part of the suite.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from langchain_modelmgr.batch import plan
from langchain_modelmgr.batch.runs import read_counts
from tests.batch.conftest import PROMPT, tickets
from tests.models import SONNET
from tests.support import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from langchain_modelmgr import Job, ModelManager
    from langchain_modelmgr.local import LocalAWS

pytest.importorskip("ray")

# Ray leaves sockets and files to the garbage collector.
pytestmark = [
    pytest.mark.enable_socket,
    pytest.mark.filterwarnings("ignore"),
]


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the state folder that the workers and the drivers of this module share."""
    return str(tmp_path_factory.mktemp("state"))


@pytest.fixture(autouse=True)
def shared_state(state: str, clean_environment: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELMGR_STATE_DIR", state)
    monkeypatch.setattr(plan, "CHUNK_ROWS", 50)


@pytest.fixture(scope="module")
def ray(state: str) -> Iterator[Any]:
    import ray as installed

    ray: Any = installed
    environment = {
        "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "dummy",
        "MODELMGR_STATE_DIR": state,
        "PYTHONPATH": str(ROOT),
    }
    ray.init(num_cpus=2, include_dashboard=False, runtime_env={"env_vars": environment})
    yield ray
    ray.shutdown()


def job_of(manager: ModelManager, into: Any, count: int) -> Job:
    return manager.batch("labeler", tickets(count), into=into, key="id", prompt=PROMPT)


@pytest.mark.usefixtures("ray")
def test_every_row_is_answered_once_on_ray(
    manager: ModelManager, tmp_path: Path, local_aws: LocalAWS
) -> None:
    job = job_of(manager, tmp_path / "job", 240)

    status = job.run(engine="ray", concurrency=16, max_usd=40)

    assert (status.done, status.reason) == (240, None)
    rows = job.results().to_table().to_pylist()
    assert [row["key"] for row in rows] == list(range(240))
    assert {row["engine"] for row in rows} == {"ray"}
    assert local_aws.requests() == 240


def test_a_worker_that_is_killed_is_replaced_and_what_it_asked_is_kept(
    ray: Any, manager: ModelManager, tmp_path: Path, local_aws: LocalAWS
) -> None:
    local_aws.latency(SONNET, 0.05)
    job = job_of(manager, tmp_path / "job", 400)

    def kill() -> None:
        while local_aws.requests() < 60 or not read_counts(job._chunks):
            time.sleep(0.01)
        pids = {each.pid for each in read_counts(job._chunks) if not each.ended}
        os.kill(pids.pop(), signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    status = job.run(engine="ray", concurrency=8)
    killer.join()

    assert (status.done, status.reason) == (400, None)
    assert len(set(job.results().to_table().column("key").to_pylist())) == 400
    assert 400 <= local_aws.requests() <= 400 + 8


def test_a_reason_ends_all_chunks(
    ray: Any, manager: ModelManager, tmp_path: Path, local_aws: LocalAWS
) -> None:
    local_aws.fail(None, "UnrecognizedClientException", times=1_000_000)
    job = job_of(manager, tmp_path / "job", 240)

    status = job.run(engine="ray", concurrency=4)

    assert status.pending == 240
    assert status.reason is not None
    assert status.reason.startswith("BedrockAuthenticationError: ")
