"""Managers whose async calls need no thread: what the tests of awaited calls share."""

from __future__ import annotations

import asyncio
import os
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from langchain_modelmgr import ModelManager
from langchain_modelmgr.bedrock.transport import is_ready_for_asyncio
from langchain_modelmgr.metrics import MemorySink
from langchain_modelmgr.runtime.aws_settings import BOTO3_VARIABLE
from tests.models import HAIKU, SONNET

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from langchain_modelmgr.usage.record import ModelUsageMetrics
    from tests.agents import Configure

AGENT = f"{{model: '{SONNET}', retries: 0, cooldown_seconds: 0, fallbacks: []}}"
CHAIN = f"{{model: '{SONNET}', retries: 0, cooldown_seconds: 0, fallbacks: ['{HAIKU}']}}"
OPERATIONS = ("Converse", "ConverseStream")


sent_directly = pytest.mark.skipif(
    bool(os.environ.get(BOTO3_VARIABLE)), reason="boto3 sends all requests"
)
"""For tests of calls without threads that don't use ``awaiting``."""


class Threads(MemorySink):
    """Keeps the records, and the threads that attempts ended in."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def record(self, usage: ModelUsageMetrics) -> None:
        super().record(usage)
        self.names.append(threading.current_thread().name)


@contextmanager
def awaiting(
    configured: Configure, agents: str = f"a: {AGENT}", more: str = "", **settings: Any
) -> Iterator[tuple[ModelManager, Threads]]:
    """Give a manager that is ready to send without a thread, and its sink without records."""
    sink = Threads()
    with ModelManager(configured(agents, more), sinks=[sink], **settings) as manager:
        make_ready(manager)
        sink.names.clear()
        sink.clear()
        yield manager, sink


def make_ready(manager: ModelManager, agent: str = "a") -> None:
    """Let boto3 form the requests that others are learned from, and aiohttp be imported."""
    if os.environ.get(BOTO3_VARIABLE):
        pytest.skip("boto3 sends all requests")
    llm = manager.chat_model(agent)

    async def call() -> None:
        await llm.ainvoke("x")
        async for _ in llm.astream("x"):
            pass

    asyncio.run(call())
    wait_until_ready(manager)


def wait_until_ready(manager: ModelManager, operations: Sequence[str] = OPERATIONS) -> None:
    """Wait until requests of these operations are sent without a thread."""
    client = manager.clients.runtime()
    wait(lambda: all(is_ready_for_asyncio(client, operation) for operation in operations))


def wait(happened: Callable[[], bool]) -> None:
    """Wait, in a thread without an event loop."""
    pause = threading.Event()
    for _ in range(5_000):
        if happened():
            return
        pause.wait(0.01)
    raise AssertionError("it did not happen within 50 s")


async def until(happened: Callable[[], bool]) -> None:
    """Wait until something has happened."""
    async with asyncio.timeout(50):
        while not happened():  # noqa: ASYNC110 - other threads' work is waited for
            await asyncio.sleep(0.01)
