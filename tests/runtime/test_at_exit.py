"""At the end of the interpreter every sink that is still open is flushed, in one span of time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from textwrap import dedent
from typing import TYPE_CHECKING

import pytest

from langchain_modelmgr.runtime.at_exit import EXIT_SECONDS, AtExit
from tests.support import ROOT

if TYPE_CHECKING:
    from langchain_modelmgr.local import LocalAWS


posix = pytest.mark.skipif(os.name != "posix", reason="SIGTERM is POSIX's")


class Sink:
    def __init__(self) -> None:
        self.timeouts: list[float | None] = []
        self.reports = 0

    def flush(self, timeout: float | None = None) -> None:
        self.timeouts.append(timeout)

    def release_files(self) -> None:
        pass

    def report_undelivered(self) -> None:
        self.reports += 1


def test_open_sinks_are_flushed_and_closed_ones_are_left_alone() -> None:
    at_exit = AtExit()
    first, second, closed = Sink(), Sink(), Sink()
    for sink in (first, second, closed):
        at_exit.remember(sink)
    at_exit.forget(closed)

    at_exit._flush_all()

    given = [*first.timeouts, *second.timeouts]
    assert len(given) == 2
    assert all(timeout is not None and 0 <= timeout <= EXIT_SECONDS for timeout in given)
    assert (first.reports, second.reports, closed.timeouts) == (1, 1, [])


@pytest.mark.parametrize("step", ["flush", "report_undelivered", "release_files"])
@pytest.mark.parametrize("error", [ValueError, OSError, RecursionError])
def test_a_sink_that_fails_keeps_no_other_from_being_flushed(
    step: str, error: type[Exception], caplog: pytest.LogCaptureFixture
) -> None:
    def fail(timeout: float | None = None) -> None:
        raise error("with content")

    at_exit = AtExit()
    sinks = [Sink() for _ in range(3)]
    setattr(sinks[1], step, fail)
    for sink in sinks:
        at_exit.remember(sink)

    at_exit._flush_all()

    assert [len(sink.timeouts) for sink in sinks] == [1, int(step != "flush"), 1]
    assert sinks[0].reports == sinks[2].reports == 1
    assert [record.getMessage() for record in caplog.records] == [
        f"Sink failed at exit: {error.__name__}"
    ]


def test_a_sink_without_references_is_not_kept_alive() -> None:
    at_exit = AtExit()

    at_exit.remember(Sink())

    assert len(at_exit._sinks) == 0


PROGRAM = """
import os, signal, sys, time
from datetime import UTC, datetime
import boto3
from langchain_modelmgr import ModelUsageMetrics
from langchain_modelmgr.metrics import CloudWatchSink, cloudwatch_client, exit_on_sigterm
from langchain_modelmgr.runtime import at_exit

if len(sys.argv) > 1:
    signal.signal(signal.SIGTERM, lambda *_: print("before", flush=True))
exit_on_sigterm()
at_exit.SIGTERM_SECONDS = float(os.environ.get("SECONDS", at_exit.SIGTERM_SECONDS))
sink = CloudWatchSink(lambda: cloudwatch_client(boto3.Session(), "us-east-1"), "x/Models")
sink.record(ModelUsageMetrics("a", "m", datetime.now(UTC), 1, 1, 1.0, True))
"""


def terminated(aws: LocalAWS, rest: str, *arguments: str) -> tuple[int, str]:
    """Run the program, send it SIGTERM once it says so, and return its status and output."""
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM + dedent(rest), *arguments],
        env={**os.environ, **aws.env(), "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        while process.stdout.readline() != "ready\n":
            assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        try:
            return process.wait(100), process.stdout.read()
        finally:
            process.kill()


READY = """
print("ready", flush=True)
while True:  # a signal just before a long sleep would be handled after it
    time.sleep(0.01)
"""


@posix
def test_sigterm_delivers_and_ends_with_its_own_status(
    local_aws: LocalAWS, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECONDS", "50")  # a slow machine does not deliver in two
    status, _ = terminated(local_aws, READY)

    assert status == 128 + signal.SIGTERM
    assert local_aws.metrics.sum("x/Models", "ModelInvocations") == 1


@posix
def test_a_handler_that_was_there_before_is_called_first(local_aws: LocalAWS) -> None:
    status, printed = terminated(local_aws, READY, "with a handler")

    assert (status, printed) == (128 + signal.SIGTERM, "before\n")


@posix
def test_delivery_after_sigterm_has_two_seconds(local_aws: LocalAWS) -> None:
    program = """
        import atexit
        from langchain_modelmgr.runtime.at_exit import AT_EXIT

        atexit.register(lambda: print(AT_EXIT.seconds))
    """

    _, printed = terminated(local_aws, dedent(program) + READY)

    assert printed == "2.0\n"


@posix
def test_a_forked_child_ends_by_sigterm_as_without_the_handler(local_aws: LocalAWS) -> None:
    program = """
        for _ in range(50):  # at once: some of them get it before they run any Python
            child = os.fork()
            if child == 0:
                while True:
                    time.sleep(0.01)
            os.kill(child, signal.SIGTERM)
            _, status = os.waitpid(child, 0)
            print(os.waitstatus_to_exitcode(status))
    """

    done = subprocess.run(
        [sys.executable, "-c", PROGRAM + dedent(program)],
        env={**os.environ, **local_aws.env(), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout == f"{-signal.SIGTERM}\n" * 50
