"""The server that replaces the AWS account of the tests' user sees every stray request."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

import boto3
import botocore.exceptions
from botocore.config import Config

if TYPE_CHECKING:
    from tests.stray_requests import StrayRequests

CODE = """
import boto3, botocore.exceptions
from botocore.config import Config
try:
    boto3.client("sts", config=Config(retries={"total_max_attempts": 1})).get_caller_identity()
except botocore.exceptions.ConnectionClosedError:
    print("closed")
"""


def test_a_request_without_an_endpoint_is_seen_once(stray_requests: StrayRequests) -> None:
    client = boto3.client("sts", config=Config(retries={"total_max_attempts": 1}))
    with suppress(botocore.exceptions.ConnectionClosedError):
        client.get_caller_identity()

    found = stray_requests.take()

    assert [stray.request for stray in found] == ["POST / HTTP/1.1"]
    assert "test_a_request_without_an_endpoint_is_seen_once" in found[0].test
    assert stray_requests.take() == []


def test_a_request_of_a_child_process_is_seen(stray_requests: StrayRequests) -> None:
    assert os.environ["AWS_ENDPOINT_URL"] == stray_requests.url

    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)

    assert done.stdout == "closed\n"
    assert [stray.request for stray in stray_requests.take()] == ["POST / HTTP/1.1"]
