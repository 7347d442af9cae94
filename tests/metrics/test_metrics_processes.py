"""What a process holds is delivered when it ends; a forked child leaves it to its parent."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING

import pytest

from langchain_modelmgr.runtime.at_exit import EXIT_SECONDS
from tests.support import ROOT

if TYPE_CHECKING:
    from tests.metrics_fixtures import FaultyCloudWatch


PROGRAM = """
import os, sys, threading
from datetime import UTC, datetime

import boto3

from langchain_modelmgr.runtime import at_exit
from langchain_modelmgr.metrics import CloudWatchSink, cloudwatch_client
from langchain_modelmgr.usage.record import ModelUsageMetrics

at_exit.EXIT_SECONDS = float(sys.argv[1])
sink = CloudWatchSink(lambda: cloudwatch_client(boto3.Session(), "us-east-1"), "x/Models")


def record(agent):
    sink.record(ModelUsageMetrics(agent, "m", datetime.now(UTC), 1, 1, 1.0, True))


"""


def run(
    server: FaultyCloudWatch, program: str, exit_seconds: float = 120
) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "AWS_ENDPOINT_URL": server.url, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-c", PROGRAM + textwrap.dedent(program), str(exit_seconds)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )


def calls(server: FaultyCloudWatch) -> dict[str, float]:
    found: dict[str, float] = {}
    for datum in server.data:
        if datum["MetricName"] == "ModelInvocations":
            agent = datum["Dimensions"][0]["Value"]
            found[agent] = found.get(agent, 0) + sum(datum["Counts"])
    return found


def test_the_end_of_the_interpreter_delivers_what_is_left(faulty: FaultyCloudWatch) -> None:
    done = run(faulty, "for _ in range(100): record('a')")

    assert (done.returncode, done.stderr) == (0, "")
    assert calls(faulty) == {"a": 100}


def test_an_unhandled_error_and_sys_exit_deliver_too(faulty: FaultyCloudWatch) -> None:
    run(faulty, "record('error'); raise ValueError")
    run(faulty, "record('exit'); sys.exit(3)")

    assert calls(faulty) == {"error": 1, "exit": 1}


def test_records_of_another_atexit_handler_are_delivered_as_well(faulty: FaultyCloudWatch) -> None:
    program = """
        import atexit
        atexit.register(lambda: record('ending'))
    """

    done = run(faulty, program)

    assert (done.returncode, done.stderr) == (0, "")
    assert calls(faulty) == {"ending": 1}


def test_a_record_after_close_is_delivered_at_the_end(faulty: FaultyCloudWatch) -> None:
    done = run(faulty, "record('before'); sink.close(); record('after')")

    assert (done.returncode, done.stderr) == (0, "")
    assert calls(faulty) == {"before": 1, "after": 1}


def test_a_program_ends_though_cloudwatch_hangs_and_says_what_was_lost(
    faulty: FaultyCloudWatch,
) -> None:
    faulty.always = "hang"

    done = run(faulty, "record('a')", exit_seconds=EXIT_SECONDS)

    assert done.returncode == 0
    assert "4 data points could not be delivered to CloudWatch" in done.stderr


def test_a_program_without_credentials_ends_at_once_and_says_so(faulty: FaultyCloudWatch) -> None:
    done = run(faulty, "del os.environ['AWS_ACCESS_KEY_ID']; record('a')")

    assert done.returncode == 0
    assert "can't be used for namespace " in done.stderr
    assert "(NoCredentialsError)" in done.stderr
    assert faulty.requests == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_four_forked_children_and_their_parent_lose_and_double_nothing(
    faulty: FaultyCloudWatch,
) -> None:
    program = """
        os.register_at_fork(after_in_child=sink.reset_after_fork)
        for _ in range(10): record('parent')
        children = []
        for number in range(4):
            pid = os.fork()
            if pid == 0:
                for _ in range(number + 1): record(f'child{number}')
                sys.exit(0)
            children.append(pid)
        assert [os.waitpid(pid, 0)[1] for pid in children] == [0] * 4
        record('parent')
    """

    done = run(faulty, program)

    assert done.returncode == 0, done.stderr
    assert calls(faulty) == {"parent": 11, "child0": 1, "child1": 2, "child2": 3, "child3": 4}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_child_that_was_not_reset_notices_the_fork_itself(faulty: FaultyCloudWatch) -> None:
    program = """
        record('parent')
        pid = os.fork()
        if pid == 0:
            record('child')
            sink.close()
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
    """

    done = run(faulty, program)

    assert done.returncode == 0, done.stderr
    assert calls(faulty) == {"parent": 1, "child": 1}


def test_importing_the_metrics_starts_nothing_and_loads_nothing_heavy(
    faulty: FaultyCloudWatch,
) -> None:
    code = (
        "import sys, threading, langchain_modelmgr.metrics;"
        "print(threading.active_count(), sorted({'boto3', 'botocore', 'langchain_core', 'yaml',"
        "'pydantic', 'langchain_aws'} & set(sys.modules)))"
    )

    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=250
    )

    assert done.stdout == "1 []\n"
    assert faulty.requests == 0
