"""A worker process of the engine ``local``: reads its work from standard input."""

from __future__ import annotations

import pickle
import sys

from langchain_modelmgr.batch.engines import run_here

if __name__ == "__main__":
    # Written by the driver, our own process. The input ends with the driver, however it ends.
    work, tasks, concurrency = pickle.load(sys.stdin.buffer)  # noqa: S301
    run_here(work, tasks, concurrency, driver=sys.stdin.fileno())
