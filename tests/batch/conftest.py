"""Fixtures of the tests of batch jobs: a manager of an agent, and S3 by moto's server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import uuid4

import boto3
import pytest
from moto.server import ThreadedMotoServer

from langchain_modelmgr import ConfigurationManager, ModelManager
from langchain_modelmgr.batch import plan
from langchain_modelmgr.batch.asking import Asker
from langchain_modelmgr.batch.store import FolderStore, S3Store
from langchain_modelmgr.local import LocalAWS
from tests.models import HAIKU, SONNET

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from langchain_modelmgr.batch.store import Store
    from tests.agents import Configure

AGENT = f"""
labeler: {{model: '{SONNET}', fallbacks: ['{HAIKU}'], retries: 0, max_tokens: 100,
  cooldown_seconds: 0, timeout_seconds: 60}}
"""

PROMPT = "Label this: {text}"


@pytest.fixture
def manager(configured: Configure, s3_endpoint: str) -> Iterator[ModelManager]:
    with ModelManager(configured(AGENT)) as made:
        yield made


def tickets(count: int, start: int = 0) -> list[dict[str, Any]]:
    """Return rows with a key and a text."""
    return [{"id": n, "text": f"ticket {n}"} for n in range(start, start + count)]


@pytest.fixture(scope="session")
def s3_url() -> Iterator[str]:
    """Return the address of an S3 server."""
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3_endpoint(s3_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Let boto3 find the S3 server."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", s3_url)
    return s3_url


@pytest.fixture
def bucket(s3_endpoint: str) -> str:
    """Return the name of an empty bucket."""
    name = f"bucket-{uuid4().hex}"
    boto3.client("s3").create_bucket(Bucket=name)
    return name


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "folder":
        return FolderStore(tmp_path / "job")
    bucket = request.getfixturevalue("bucket")
    return S3Store(boto3.client("s3"), bucket, "job/one")


@pytest.fixture(params=["folder", "s3"])
def into(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where a job is."""
    if request.param == "folder":
        return str(tmp_path / "job")
    return f"s3://{request.getfixturevalue('bucket')}/job"


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Freeze five rows in a chunk."""
    monkeypatch.setattr(plan, "CHUNK_ROWS", 5)


@pytest.fixture
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for a hundredth of the time before a row is asked again."""
    wait = Asker.__init__

    def shortened(self: Asker, *args: Any, **more: Any) -> None:
        wait(self, *args, **{**more, "wait": lambda s, w=more["wait"]: w(s / 100)})

    monkeypatch.setattr(Asker, "__init__", shortened)


@pytest.fixture
def batch_aws(s3_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalAWS]:
    """A local AWS whose batch inference uses the S3 server; boto3 reaches both."""
    with LocalAWS(s3_url=s3_url) as aws:
        for name, value in aws.env().items():
            monkeypatch.setenv(name, value)
        yield aws


@pytest.fixture
def short_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read the status of batch inference jobs after hundredths of a second."""
    for module in ("bedrock_jobs", "bedrock_engine"):
        monkeypatch.setattr(f"langchain_modelmgr.batch.{module}.POLL_SECONDS", (0.01, 0.02))
    monkeypatch.setattr("langchain_modelmgr.batch.bedrock_counts.COUNT_SECONDS", 0.05)
    monkeypatch.setattr("langchain_modelmgr.batch.s3_bodies._WAIT_SECONDS", (0.01, 0.02))


@pytest.fixture
def bedrock_manager(batch_aws: LocalAWS, tmp_path: Path, bucket: str) -> Iterator[ModelManager]:
    """A manager whose agent's model takes batch inference jobs."""
    from tests.batch.bedrock_support import LABELER, ROLE

    config = (
        f"metrics: {{sink: memory}}\nbatch: {{role: '{ROLE}', bucket: {bucket}}}\n"
        f"agents:\n  {LABELER}\n"
    )
    (tmp_path / "test.yaml").write_text(config)
    with ModelManager(ConfigurationManager("test", tmp_path)) as made:
        yield made
