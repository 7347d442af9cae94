"""Lets programs of one call each deliver what dead processes left: all of it, a part at each exit.

    python -m tests.ledger.delivered_backlog --megabytes 31 --writers 1
    python -m tests.ledger.delivered_backlog --megabytes 31 --writers 40

It must hold: each exit makes progress, every attempt is stored and published once.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from contextlib import closing
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from langchain_modelmgr.ledger.database_file import open_readonly
from langchain_modelmgr.local import LocalAWS
from tests.support import ROOT

LEFT = """
import itertools, os, sys
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from langchain_modelmgr.ledger.line_writer import write_end, write_start
from langchain_modelmgr.usage.record import AttemptStart
from langchain_modelmgr.ledger.segment import Writer
from langchain_modelmgr.usage.record import ModelUsageMetrics
from tests.ledger.support import opened

folder, size, many = Path(sys.argv[1]), float(sys.argv[2]) * 1e6, int(sys.argv[3])
_, sink = opened(folder)
writers = [Writer(folder, {"environment": "dev", **sink.head()}) for _ in range(many)]
for n in itertools.count():
    writer = writers[n % many]
    if writer.segment.size >= size / many:
        break
    usage = ModelUsageMetrics(f"agent-{n % 7}", "m", datetime.now(UTC), 100 + n % 90, 20, 1.5 * (n % 999), True,
                              cost_usd=Decimal("0.00123"), run_id=f"{n:08}-0000-4000-8000-000000000000")
    write_start(writer, n, AttemptStart.of(usage, n, None, None))
    write_end(writer, n, usage)
    writer.rotate()
print(n)
sys.stdout.flush()
os._exit(0)
"""

CALL = """
import atexit, sys, time

end = []
atexit.register(lambda: print(time.monotonic() - end[0]))
from pathlib import Path
from tests.ledger.support import opened, write

ledger, sink = opened(Path(sys.argv[1]))
write(ledger, sink)
end.append(time.monotonic())
"""


@dataclass
class Delivered:
    """What the exits did.

    Attributes:
        left: Attempts that dead processes had left.
        exits: After each: its seconds, attempts stored, attempts that CloudWatch knows.
        stored: Attempts in the end, distinct by their run ids.
        published: Attempts that CloudWatch knows in the end.
    """

    left: int
    exits: list[tuple[float, int, int]] = field(default_factory=list)
    stored: int = 0
    published: int = 0

    def check(self) -> None:
        """Raise AssertionError unless everything holds."""
        done = [stored + published for _, stored, published in self.exits]
        assert all(before < after for before, after in pairwise(done)), self
        assert self.stored == self.published == self.left + len(self.exits), self


def deliver(megabytes: float, writers: int, most: int = 60) -> Delivered:
    """Leave a backlog, and run programs of one call until nothing waits."""
    with tempfile.TemporaryDirectory() as name, LocalAWS() as aws:
        folder = Path(name) / "ledger"
        environment = {**os.environ, **aws.env(), "PYTHONPATH": str(ROOT)}

        def run(program: str, *given: object) -> str:
            return subprocess.run(
                [sys.executable, "-c", program, str(folder), *map(str, given)],
                env=environment, stdout=subprocess.PIPE, text=True, check=True,
            ).stdout  # fmt: skip

        found = Delivered(int(run(LEFT, megabytes, writers)))
        while len(found.exits) < most:
            seconds = float(run(CALL))
            with closing(open_readonly(folder)) as store:
                one = "SELECT count(*), count(DISTINCT run_id) FROM attempts"
                found.stored, distinct = store.execute(one).fetchone()
                waiting = store.execute("SELECT count(*) FROM batches").fetchone()[0]
            found.published = int(aws.metrics.sum("x/Models", "ModelInvocations"))
            found.exits.append((round(seconds, 2), found.stored, found.published))
            if not waiting and distinct == found.left:
                break
        return found


def main() -> int:
    """Deliver a backlog from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=float, default=31)
    parser.add_argument("--writers", type=int, default=1)
    given = parser.parse_args()
    found = deliver(given.megabytes, given.writers)
    print(found)  # noqa: T201 - a program
    found.check()
    return 0


if __name__ == "__main__":
    sys.exit(main())
