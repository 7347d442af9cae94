"""Calls of many threads and tasks while a model fails half the time: no call and no attempt gets lost."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from langchain_modelmgr import ModelManager
from langchain_modelmgr.metrics import MemorySink
from tests.models import HAIKU, SONNET

if TYPE_CHECKING:
    from langchain_modelmgr.local import LocalAWS
    from tests.agents import Configure


def _manager(configured: Configure) -> ModelManager:
    config = configured(f"a: {{model: '{SONNET}', fallbacks: ['{HAIKU}'], cooldown_seconds: 0.05}}")
    return ModelManager(config, sinks=[MemorySink()])


def _half(local_aws: LocalAWS) -> None:
    local_aws.fail(SONNET, "ThrottlingException", rate=0.5, seed=7)


def _settled(manager: ModelManager, local_aws: LocalAWS, calls: int) -> None:
    summary = manager.get_usage_summary()
    (sink,) = manager.totals.sinks.sinks
    assert isinstance(sink, MemorySink)
    assert summary["total_invocations"] == calls
    assert summary["success_rate"] == 1.0
    assert summary["attempts"] == local_aws.requests() == len(sink.records)
    assert sum(r.outcome == "answered" for r in sink.records) == calls


def test_200_threads_over_a_model_that_fails_half_the_time(
    configured: Configure, local_aws: LocalAWS
) -> None:
    manager = _manager(configured)
    llm = manager.chat_model("a")
    _half(local_aws)

    with ThreadPoolExecutor(200) as pool:
        list(pool.map(lambda _: llm.invoke("x"), range(600)))

    _settled(manager, local_aws, 600)


async def test_1000_tasks_over_a_model_that_fails_half_the_time(
    configured: Configure, local_aws: LocalAWS
) -> None:
    manager = _manager(configured)
    llm = manager.chat_model("a")
    _half(local_aws)

    await asyncio.gather(*(llm.ainvoke("x") for _ in range(1_000)))

    _settled(manager, local_aws, 1_000)
