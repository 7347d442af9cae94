"""Fixtures of the tests of batch inference: an S3 service, and a local AWS that uses it."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import pytest
from botocore.config import Config
from moto.server import ThreadedMotoServer

from langchain_modelmgr.local import LocalAWS
from tests.local.batch_support import Batches

if TYPE_CHECKING:
    from collections.abc import Iterator

    import boto3


@pytest.fixture(scope="module")
def s3_url() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        _, port = server.get_host_and_port()
        yield f"http://127.0.0.1:{port}"
    finally:
        server.stop()


@pytest.fixture(scope="module")
def session() -> boto3.Session:
    """One session: each reads the service models again."""
    return LocalAWS().session()


@pytest.fixture
def batches(s3_url: str, session: boto3.Session) -> Iterator[Batches]:
    with LocalAWS(s3_url=s3_url) as aws:
        s3 = session.client("s3", endpoint_url=s3_url)
        bedrock = session.client(
            "bedrock", endpoint_url=aws.url, config=Config(retries={"total_max_attempts": 1})
        )
        bucket = f"bucket-{uuid.uuid4().hex[:12]}"
        s3.create_bucket(Bucket=bucket)
        yield Batches(aws, bucket, bedrock, s3)
