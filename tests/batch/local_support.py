"""Jobs of an agent on this machine."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tests.batch.conftest import PROMPT, tickets

if TYPE_CHECKING:
    from collections.abc import Callable

    from langchain_modelmgr import Job, ModelManager

ALWAYS = 1_000_000
USAGE = {"inputTokens": 10, "outputTokens": 20, "totalTokens": 30}


def job_of(manager: ModelManager, into: str, count: int = 12) -> Job:
    """Return the job of some rows."""
    return manager.batch("labeler", tickets(count), into=into, key="id", prompt=PROMPT)


def recorded(manager: ModelManager) -> int:
    """Return the attempts that the ledger has."""
    (row,) = manager.usage_sql("SELECT count(*) AS attempts FROM attempts")
    return int(row["attempts"])


def wait_until(is_true: Callable[[], bool]) -> None:
    """Wait until something is true; fail after a generous time."""
    end = time.monotonic() + 50
    while not is_true():
        assert time.monotonic() < end
        time.sleep(0.02)
