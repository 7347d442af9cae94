"""Processes that are killed, forked and ended while they record lose nothing, and double nothing."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from langchain_modelmgr.local import LocalAWS

ROOT = Path(__file__).parents[2]


def _files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.jsonl"))


PROGRAM = """
import os, random, sys, threading
from datetime import UTC, datetime
from pathlib import Path

import boto3

from langchain_modelmgr.metrics import CloudWatchSink, at_exit, cloudwatch_client
from langchain_modelmgr.metrics.destination import Destination
from langchain_modelmgr.records import ModelUsageMetrics

at_exit.EXIT_SECONDS = 120  # what a loaded machine needs
folder, agent = Path(sys.argv[1]), sys.argv[2]
sink = CloudWatchSink(
    lambda: cloudwatch_client(boto3.Session(), "us-east-1"), "x/Models",
    journal=folder, destination=Destination.of("x/Models", "us-east-1", None),
    interval_seconds=float(sys.argv[3]),
)


def record():
    sink.record(ModelUsageMetrics(agent, "m", datetime.now(UTC), 1, 1, 1.0, True))


"""


def _start(aws: LocalAWS, folder: Path, agent: str, program: str) -> Any:
    environment = {**os.environ, "AWS_ENDPOINT_URL": aws.url, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM + textwrap.dedent(program), str(folder), agent, "0.02"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,  # a byte read is a byte taken: the others are counted at the end
    )


def _by_agent(aws: LocalAWS) -> Counter[str]:
    """Return the invocations of each agent, as GetMetricData sums them up."""
    found: Counter[str] = Counter()
    client, now = aws.client("cloudwatch"), datetime.now(UTC)
    listed = client.list_metrics(Namespace="x/Models", MetricName="ModelInvocations")["Metrics"]
    for metric in listed:
        stat = {"Metric": metric, "Period": 86_400, "Stat": "Sum"}
        reply = client.get_metric_data(
            MetricDataQueries=[{"Id": "q", "MetricStat": stat}],
            StartTime=now - timedelta(days=1),
            EndTime=now + timedelta(hours=1),
        )
        agent = {d["Name"]: d["Value"] for d in metric["Dimensions"]}["Agent"]
        found[agent] += round(sum(reply["MetricDataResults"][0]["Values"]))
    return found


HEIR = """
    record()
    stats = sink.flush(240)
    print(stats.ambiguous, stats.kept)
    sink.close()
"""

VICTIM = """
    # Each byte says that a record was acknowledged.
    while True:
        record()
        os.write(1, b".")
"""


@pytest.mark.timeout(900)  # 201 processes start
def test_kill_9_at_200_random_moments_loses_and_doubles_nothing_but_what_is_counted(
    local_aws: LocalAWS, tmp_path: Path
) -> None:
    """Eight processes at a time record and publish on one folder, and adopt from each other."""
    dice = random.Random(5)
    acknowledged: dict[str, int] = {}
    for wave in range(25):
        running = {
            f"{wave}-{i}": _start(local_aws, tmp_path, f"{wave}-{i}", VICTIM) for i in range(8)
        }
        for process in running.values():
            process.stdout.read(1)
        for process in running.values():
            time.sleep(dice.uniform(0, 0.04))
            process.kill()
        for agent, process in running.items():
            acknowledged[agent] = 1 + len(process.communicate()[0])

    told, errors = _start(local_aws, tmp_path, "heir", HEIR).communicate(timeout=250)

    ambiguous, kept = map(int, told.split())
    delivered = _by_agent(local_aws)
    assert (errors, kept, _files(tmp_path)) == (b"", 0, [])
    # Never twice: one more at most, which was written down but not acknowledged any more.
    assert {a: (n, delivered[a]) for a, n in acknowledged.items() if delivered[a] > n + 1} == {}
    # Never lost: what is missing is among the ambiguous, four data points a record.
    missing = sum(max(0, n - delivered[agent]) for agent, n in acknowledged.items())
    assert missing <= ambiguous / 4
    assert len(acknowledged) == 200


def test_eight_processes_on_one_folder_that_end_well_leave_nothing(
    local_aws: LocalAWS, tmp_path: Path
) -> None:
    for code in ["Throttling", "InternalServiceFault"] * 3:
        local_aws.metrics.fail(code)
    running = [
        _start(local_aws, tmp_path, f"p{i}", "for _ in range(200): record()") for i in range(8)
    ]

    errors = [process.communicate(timeout=250)[1] for process in running]

    assert all(b"Traceback" not in error for error in errors)
    assert _by_agent(local_aws) == {f"p{i}": 200 for i in range(8)}
    assert _files(tmp_path) == []


FORK = """
    record()
    children = []
    for n in range(4):
        pid = os.fork()
        if not pid:
            for _ in range(n + 1): record()
            os.kill(os.getpid(), 9) if n % 2 else (sink.flush(), os._exit(0))
        children.append(pid)
    for pid in children: os.waitpid(pid, 0)
    record()
"""


def test_forked_children_have_journals_of_their_own(local_aws: LocalAWS, tmp_path: Path) -> None:
    process = _start(local_aws, tmp_path, "family", FORK)
    process.communicate(timeout=250)
    told, _ = _start(local_aws, tmp_path, "heir", HEIR).communicate(timeout=250)

    ambiguous = int(told.split()[0]) // 4
    # The parent's two, and one to four of the children: two of them were killed.
    assert 2 + 10 - ambiguous <= _by_agent(local_aws)["family"] <= 2 + 10
    assert _files(tmp_path) == []


def test_sigterm_delivers_where_the_handler_was_asked_for(
    local_aws: LocalAWS, tmp_path: Path
) -> None:
    program = """
        from langchain_modelmgr.metrics import exit_on_sigterm
        exit_on_sigterm()
        record()
        os.write(1, b".")
        import time
        time.sleep(600)
    """
    process = _start(local_aws, tmp_path, "asked", program)
    process.stdout.read(1)

    process.terminate()
    process.communicate(timeout=250)

    assert process.returncode == 128 + signal.SIGTERM
    assert _by_agent(local_aws) == {"asked": 1}


def test_sigterm_without_it_leaves_the_journal_to_the_next(
    local_aws: LocalAWS, tmp_path: Path
) -> None:
    local_aws.metrics.fail("Throttling", times=1_000)
    program = "record(); os.write(1, b'.'); import time; time.sleep(600)"
    process = _start(local_aws, tmp_path, "killed", program)
    process.stdout.read(1)
    process.terminate()
    process.communicate(timeout=250)
    local_aws.metrics.clear_faults()

    _start(local_aws, tmp_path, "heir", HEIR).communicate(timeout=250)

    assert _by_agent(local_aws) == {"killed": 1, "heir": 1}
