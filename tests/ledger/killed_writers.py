"""Kills writers of one ledger at random while CloudWatch misbehaves, then counts everything.

    python -m tests.ledger.killed_writers --seconds 60 --processes 5 --threads 3

Writers append what was acknowledged to files of their own; they are killed, meet a full disk (a
limit of the size of files) and odd lines. At the end one process delivers what is left. It must
hold: acknowledged = stored, once each; stored = sent + waiting + given up; CloudWatch got no more.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from langchain_modelmgr.ledger.database_file import open_readonly
from langchain_modelmgr.local import LocalAWS
from tests.ledger.support import UNREADABLE_LINES
from tests.support import ROOT

WRITER = """
import contextlib, itertools, os, random, resource, signal, sys, threading, time
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
import boto3
from langchain_modelmgr.usage.record import AttemptStart
from langchain_modelmgr.metrics import CloudWatchSink, ledger_for
from langchain_modelmgr.runtime.cloudwatch_client import FixedClient
from langchain_modelmgr.usage.record import ModelUsageMetrics

folder, acknowledged, threads, seconds = sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
sink = CloudWatchSink(FixedClient(boto3.Session, None), "prove/Models", interval_seconds=0.2)
ledger = ledger_for([sink], Path(folder))
ledger._interval = ledger._worker._interval = 0.2
fd = os.open(acknowledged, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
full = threading.Event()


def work(number):
    dice = random.Random(f"{os.getpid()}-{number}")
    for n in itertools.count():
        name = f"{os.getpid()}-{number}-{n}"
        left = AttemptStart(f"agent-{n % 5}", "m", 1, 0, ledger.next_call(), name, None, None, 7, ledger.now_ms())
        entry = ledger.attempt_started(left)
        usage = ModelUsageMetrics(left.agent, "m", datetime.now(UTC), 1, 2, dice.random() * 900, True,
                                  cost_usd=Decimal("0.001"), run_id=name)
        ledger.attempt_ended(entry, usage)
        sink.record(usage)
        if not ledger._writer.has_backlog and not full.is_set():
            os.write(fd, f"{name}\\n".encode())
        time.sleep(0.002)


for number in range(threads):
    threading.Thread(target=work, args=(number,), daemon=True).start()
end = time.monotonic() + seconds
while time.monotonic() < end:
    time.sleep(random.random() * 0.4)
    if random.random() < 0.2:  # the disk is full for a moment
        full.set()
        soft = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, soft[1]))
        time.sleep(0.1)
        resource.setrlimit(resource.RLIMIT_FSIZE, soft)
        time.sleep(0.3)
        full.clear()
"""

LAST = """
import sys, time
from pathlib import Path
import boto3
from langchain_modelmgr.metrics import CloudWatchSink, ledger_for
from langchain_modelmgr.runtime.cloudwatch_client import FixedClient

sink = CloudWatchSink(FixedClient(boto3.Session, None), "prove/Models")
ledger = ledger_for([sink], Path(sys.argv[1]))
ledger.ingest(60)
ledger.flush(60)
ledger.close()
"""

LEAST_KILLS = 4


@dataclass
class Found:
    """What was counted at the end."""

    acknowledged: int
    missing: int
    doubled: int
    stored: int
    lost: int
    recorded: int
    sent: int
    dropped: int
    ambiguous: int
    waiting: int
    taken: int
    kills: int

    def check(self) -> None:
        """Raise AssertionError unless everything holds."""
        assert self.acknowledged > 0, self
        assert (self.missing, self.doubled) == (0, 0), self
        assert self.recorded == self.sent + self.dropped + self.ambiguous + self.waiting, self
        assert (self.waiting, self.dropped) == (0, 0), self
        assert self.sent <= self.taken <= self.sent + self.ambiguous, self


def prove(seconds: float, processes: int, threads: int, seed: int) -> Found:
    """Kill writers for a while, deliver what is left, and count."""
    dice = random.Random(seed)
    with tempfile.TemporaryDirectory() as name, LocalAWS() as aws:
        folder = Path(name) / "ledger"
        acknowledged = Path(name) / "acknowledged"
        environment = {**os.environ, **aws.env(), "PYTHONPATH": str(ROOT)}

        def start(program: str, *given: object) -> subprocess.Popen[bytes]:
            return subprocess.Popen(
                [sys.executable, "-c", program, str(folder), *map(str, given)],
                env=environment,
                stderr=subprocess.DEVNULL,
            )

        def writer() -> subprocess.Popen[bytes]:
            return start(WRITER, acknowledged, threads, 600)

        running = [writer() for _ in range(processes)]
        kills = 0
        end = time.monotonic() + seconds
        while time.monotonic() < end or kills < LEAST_KILLS:
            _wait_for_growth(acknowledged)
            time.sleep(dice.random() * seconds / 15)
            _misbehave(aws, dice)
            _leave_odd_lines(folder, dice)
            victim = dice.randrange(processes)
            os.kill(running[victim].pid, signal.SIGKILL)
            running[victim].wait()
            kills += 1
            running[victim] = writer()
        for process in running:
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
        aws.metrics.clear_faults()
        start(LAST).wait()
        return _count(folder, acknowledged, aws, kills)


def _wait_for_growth(file: Path) -> None:
    """Wait until a writer has written: under load it takes seconds to start."""
    before = file.stat().st_size if file.exists() else 0
    for _ in range(3_000):
        if file.exists() and file.stat().st_size > before:
            return
        time.sleep(0.01)


def _misbehave(aws: LocalAWS, dice: random.Random) -> None:
    aws.metrics.clear_faults()
    fault = dice.choice(["none", "throttle", "hang", "refuse", "reset"])
    if fault == "throttle":
        aws.metrics.throttle(0.5, seed=dice.randrange(1000))
    elif fault == "hang":
        aws.metrics.hang(0.5)
    elif fault == "refuse":
        aws.metrics.fail("ServiceUnavailable", times=3)
    elif fault == "reset":
        aws.metrics.reset(1)


def _leave_odd_lines(folder: Path, dice: random.Random) -> None:
    segments = folder / "segments"
    if segments.is_dir():
        name = uuid.uuid4().hex
        (segments / f"{name}.lock").touch()
        lines = dice.sample(UNREADABLE_LINES, 4)
        (segments / f"{name}-000001.jsonl").write_bytes(b"\n".join([b"", *lines, b'[1,"cut']))


def _count(folder: Path, acknowledged: Path, aws: LocalAWS, kills: int) -> Found:
    shown = acknowledged.read_text().split()
    with closing(open_readonly(folder)) as store:
        names = [row[0] for row in store.execute("SELECT run_id FROM attempts") if row[0]]

        def one(query: str) -> int:
            return int(store.execute(query).fetchone()[0] or 0)

        return Found(
            acknowledged=len(shown),
            missing=len(set(shown) - set(names)),
            doubled=len(names) - len(set(names)),
            stored=len(names),
            lost=one("SELECT count(*) FROM attempts WHERE outcome = 'lost'"),
            recorded=one("SELECT sum(recorded) FROM destinations"),
            sent=one("SELECT sum(sent) FROM destinations"),
            dropped=one("SELECT sum(dropped) FROM destinations"),
            ambiguous=one("SELECT sum(ambiguous) FROM destinations"),
            waiting=one("SELECT sum(data_points) FROM batches"),
            taken=int(sum(count for datum in aws.metrics.datums for _, count in datum.values)),
            kills=kills,
        )


def main() -> int:
    """Prove it from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--processes", type=int, default=5)
    parser.add_argument("--threads", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    found = prove(given.seconds, given.processes, given.threads, given.seed)
    print(json.dumps(found.__dict__, indent=2))  # noqa: T201 - a program
    found.check()
    return 0


if __name__ == "__main__":
    sys.exit(main())
