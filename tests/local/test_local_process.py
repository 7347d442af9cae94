"""The local AWS as a process, and as a fixture."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import boto3
import pytest

from tests.models import SONNET

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytest_plugins = ["pytester"]

_EXPORTS = 12
"""Lines that the command prints before it serves: the variables to set and to unset."""


def _ask(url: str) -> Any:
    client = boto3.client("bedrock-runtime", endpoint_url=url)
    return client.converse(modelId=SONNET, messages=[{"role": "user", "content": [{"text": "hi"}]}])


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """Let child processes heed SIGINT, also where a shell started pytest in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c")
def test_the_command_says_how_to_point_boto3_here_and_stops_on_ctrl_c() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "langchain_modelmgr", "local", "--latency", "0.01"],
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            lines = [process.stdout.readline().strip() for _ in range(_EXPORTS)]
            exports = dict(line.removeprefix("export ").split("=", 1) for line in lines[:-1])
            reply = _ask(exports["AWS_ENDPOINT_URL"])
        finally:
            process.send_signal(signal.SIGINT)
        rest = process.stdout.read()

    assert reply["stopReason"] == "end_turn"
    assert exports["AWS_EC2_METADATA_DISABLED"] == "true"
    assert "AWS_BEARER_TOKEN_BEDROCK" in lines[-1]
    assert rest == ""
    assert process.returncode == 0


def test_a_port_that_is_taken_is_an_error_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = str(taken.getsockname()[1])
        for given in (port, "80000"):
            done = subprocess.run(
                [sys.executable, "-m", "langchain_modelmgr", "local", "--port", given],
                capture_output=True,
                text=True,
                check=False,
            )

            assert done.returncode == 2
            assert f"port {given} can't be served" in " ".join(done.stderr.split())
            assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_fixture_serves_a_test_of_the_users_own(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import boto3

        def test_it(local_aws):
            client = boto3.client("bedrock-runtime")
            client.converse(modelId="x.y", messages=[{"role": "user", "content": [{"text": "hi"}]}])
            assert local_aws.requests("x.y") == 1
        """
    )

    result = pytester.runpytest_subprocess(
        "-p", "langchain_modelmgr.local.pytest_plugin", "-p", "no:cacheprovider"
    )

    result.assert_outcomes(passed=1)
