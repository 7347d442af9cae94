"""Measures what budgets cost a call, and how processes share one budget.

CPU of reserving and settling a 10 kB prompt in three budgets, beside the CPU of a managed call;
the same with 100,000 keys in the file; then 4 processes with 64 threads each on one budget:
reservations a second, the longest wait, and whether the limit was exceeded.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from langchain_modelmgr import ConfigurationManager, ModelManager
from langchain_modelmgr.budgets.sqlite_store import SqliteStore
from langchain_modelmgr.budgets.store import Claim, Reservation
from langchain_modelmgr.budgets.windows import calendar
from langchain_modelmgr.local import LocalAWS

SONNET = "anthropic.claude-3-5-sonnet-20241022-v2:0"
BUDGETS = """
budgets:
  day: {usd: 1000000, per: day}
  tenants: {usd: 1000000, per: month, by: metadata.tenant}
  hour: {tokens: 1000000000000, per: hour}
"""
PROMPT = "How many pallets are in stock? " * 330
TOTAL = calendar("total")


def manager(folder: str, url: str, budgets: str) -> ModelManager:
    name = "with" if budgets else "without"
    Path(folder, f"{name}.yaml").write_text(
        f"aws: {{region: us-east-1, endpoint_url: '{url}'}}\nmetrics: {{sink: none}}\nledger: off\n"
        f"{budgets}\nagents:\n  a: {{model: '{SONNET}', fallbacks: [], max_tokens: 100}}\n",
        "utf-8",
    )
    return ModelManager(ConfigurationManager(name, folder))


def cpu_of(function: Any, times: int) -> float:
    """Return the CPU time of a call in microseconds: the best of 20 runs, in this thread."""
    best = float("inf")
    for _ in range(20):
        started = time.thread_time()
        for _ in range(times):
            function()
        best = min(best, (time.thread_time() - started) / times)
    return best * 1e6


def reserve_and_settle(made: ModelManager) -> None:
    """Do what budgets add to one call, with nothing sent."""
    budget = made.budgets.of_call("a", {"tenant": "acme"})
    meter: Any = SimpleNamespace(
        sent=True, usage=None, usage_estimated=False, was_rejected=True, outcome="failed"
    )
    model = made.catalog.resolve(SONNET)
    assert budget is not None
    attempt = budget.attempt(meter, lambda _: model)
    params = {"messages": [{"role": "user", "content": [{"text": PROMPT}]}],
              "inferenceConfig": {"maxTokens": 100}}  # fmt: skip
    attempt.reserve(params, time.perf_counter() + 600)
    attempt.settle()


def spend(path: str, threads: int, seconds: float) -> None:
    """Reserve and settle one budget in many threads; print how often, and the longest wait."""
    store, until = SqliteStore(Path(path)), time.monotonic() + seconds
    counts, waits = [0] * threads, [0.0] * threads

    def work(number: int) -> None:
        while time.monotonic() < until:
            started = time.monotonic()
            made = store.reserve(
                [Claim("b", "", TOTAL, 10_000, 100)], seconds=60, deadline=started + 60
            )
            waits[number] = max(waits[number], time.monotonic() - started)
            if isinstance(made, Reservation):
                store.settle(made.id, [0])
                counts[number] += 1

    running = [threading.Thread(target=work, args=(n,)) for n in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    print(sum(counts), max(waits))


def shared(folder: str, processes: int, threads: int, seconds: float) -> None:
    path = str(Path(folder) / "shared.db")
    command = [sys.executable, __file__, "--spend", path, str(threads), str(seconds)]
    running = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: S603 - our own
        for _ in range(processes)
    ]
    store, most = SqliteStore(Path(path)), 0
    while any(process.poll() is None for process in running):
        most = max([most, *(f.spent + f.held for f in store.figures("b", TOTAL))])
        time.sleep(0.01)
    results = [process.communicate()[0].split() for process in running]
    made = sum(int(count) for count, _ in results)
    print(f"{processes} processes x {threads} threads: {made / seconds:,.0f} reservations a "
          f"second, longest wait {max(float(wait) for _, wait in results):.2f} s, "
          f"at most {most} of 10000 held")  # fmt: skip
    assert most <= 10_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spend", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, default=10)
    given = parser.parse_args()
    if given.spend:
        spend(given.spend[0], int(given.spend[1]), float(given.spend[2]))
        return
    os.environ.setdefault("AWS_ACCESS_KEY_ID", "x")
    os.environ.setdefault("AWS_SECRET_ACCESS_KEY", "x")
    with tempfile.TemporaryDirectory() as folder, LocalAWS() as aws:
        os.environ["MODELMGR_STATE_DIR"] = folder
        held, free = manager(folder, aws.url, BUDGETS), manager(folder, aws.url, "")
        llm = free.chat_model("a")
        print(f"a managed call without budgets: {cpu_of(lambda: llm.invoke(PROMPT), 50):,.0f} us")
        print(f"reserve and settle: {cpu_of(lambda: reserve_and_settle(held), 200):,.0f} us")
        store, now = SqliteStore(Path(folder, "modelmgr", "budgets.db")), time.monotonic
        month = calendar("month")
        for number in range(100_000):
            if number % 200 == 0:
                claims = [
                    Claim("tenants/usd/month", f"tenant-{number + i}", month, 10**12, 1)
                    for i in range(200)
                ]
                made = store.reserve(claims, seconds=3600, deadline=now() + 60)
                assert isinstance(made, Reservation)
                store.settle(made.id, [1] * len(claims))
        cost = cpu_of(lambda: reserve_and_settle(held), 200)
        print(f"reserve and settle, with 100,000 keys: {cost:,.0f} us")
        shared(folder, 4, 64, given.seconds)


if __name__ == "__main__":
    main()
