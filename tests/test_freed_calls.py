"""A call leaves nothing that waits for the garbage collector."""

from __future__ import annotations

import asyncio
import gc
import time
import weakref
from typing import TYPE_CHECKING

import pytest
from langchain_core.messages import HumanMessage

from langchain_modelmgr import ManagedBedrockChat
from tests.models import HAIKU, SONNET

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.agents import Configure


@pytest.fixture(autouse=True)
def no_garbage_collection() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


def _called(llm: ManagedBedrockChat, mode: str) -> weakref.ref[HumanMessage]:
    """Call the model with a prompt that is not referred to afterwards."""
    prompt = HumanMessage("How many pallets are in Hamburg?")

    async def read() -> None:
        async for _ in llm.astream([prompt]):
            pass

    if mode == "invoke":
        llm.invoke([prompt])
    elif mode == "ainvoke":
        asyncio.run(llm.ainvoke([prompt]))
    elif mode == "stream":
        list(llm.stream([prompt]))
    else:
        asyncio.run(read())
    return weakref.ref(prompt)


@pytest.mark.parametrize("mode", ["invoke", "ainvoke", "stream", "astream"])
def test_a_prompt_is_freed_when_its_call_ends(configured: Configure, mode: str) -> None:
    config = configured(f"a: {{model: '{SONNET}', fallbacks: ['{HAIKU}']}}")
    prompt = _called(ManagedBedrockChat("a", config=config), mode)
    end = time.monotonic() + 50
    while prompt() is not None and time.monotonic() < end:  # a thread may not be done with it yet
        time.sleep(0.01)
    assert prompt() is None
