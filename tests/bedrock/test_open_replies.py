"""A reply's connection is closed when its attempt ends, not when the reply is collected."""

from __future__ import annotations

import asyncio
import gc
import socket
from typing import TYPE_CHECKING, Any

import pytest

from langchain_modelmgr import ModelManager
from langchain_modelmgr.errors import BedrockError
from langchain_modelmgr.local import ScriptedReply
from tests.models import SONNET

if TYPE_CHECKING:
    from collections.abc import Iterator

    from langchain_modelmgr.local import LocalAWS
    from tests.agents import Configure
    from tests.held_replies import TimeOuts


@pytest.fixture(autouse=True)
def no_collection() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def _connected(aws: LocalAWS) -> int:
    """Return how many sockets of this process are connected to the local AWS as clients."""
    port = int(aws.url.rpartition(":")[2])
    return sum(
        _peer(found) == port
        for found in gc.get_objects()
        if isinstance(found, socket.socket) and found.family == socket.AF_INET
    )


def _peer(sock: socket.socket) -> int | None:
    try:
        return int(sock.getpeername()[1])
    except OSError:
        return None


async def _until_none_is_connected(aws: LocalAWS) -> None:
    """Wait for the thread that reads."""
    while _connected(aws):  # noqa: ASYNC110 - a thread does it
        await asyncio.sleep(0.01)


async def _read(llm: Any, mode: str) -> None:
    if mode == "astream":
        async for _ in llm.astream("x"):
            pass
    elif mode == "ainvoke":
        await llm.ainvoke("x")
    elif mode == "stream":
        list(llm.stream("x"))
    else:
        llm.invoke("x")


def _model(configured: Configure, settings: str = "") -> Any:
    config = configured(f"a: {{model: '{SONNET}', fallbacks: [], retries: 0{settings}}}")
    return ModelManager(config, sinks=[]).chat_model("a")


@pytest.mark.parametrize("mode", ["stream", "astream"])
@pytest.mark.parametrize("fault", ["error", "reset", "stall"])
async def test_a_stream_that_breaks_closes_its_connection_though_its_error_is_kept(
    configured: Configure, local_aws: LocalAWS, time_outs: TimeOuts, fault: str, mode: str
) -> None:
    llm = _model(configured)
    if fault == "error":
        local_aws.fail(SONNET, "ThrottlingException", at="stream", after=1)
    elif fault == "stall":
        local_aws.stall(SONNET, 300, at="stream", after=1)
        time_outs.when_received(local_aws, SONNET, contents=1)
    else:
        local_aws.reset(SONNET, at="stream", after=1)

    with pytest.raises(BedrockError) as kept:
        await _read(llm, mode)

    assert kept.value.partial_text
    if mode == "astream":
        await _until_none_is_connected(local_aws)
    assert _connected(local_aws) == 0


@pytest.mark.parametrize("mode", ["invoke", "ainvoke"])
async def test_a_reply_that_trickles_closes_its_connection_at_its_time_out(
    configured: Configure, local_aws: LocalAWS, mode: str
) -> None:
    llm = _model(configured, ", timeout_seconds: 0.5")
    local_aws.trickle(SONNET, 300, at="body")

    with pytest.raises(BedrockError) as kept:
        await _read(llm, mode)

    assert kept.value.attempts
    if mode == "ainvoke":
        await _until_none_is_connected(local_aws)
    assert _connected(local_aws) == 0


async def test_a_cancelled_call_closes_its_connection(
    configured: Configure, local_aws: LocalAWS
) -> None:
    llm = _model(configured)
    local_aws.trickle(SONNET, 300, at="body")
    call = asyncio.create_task(llm.ainvoke("x"))
    while not (works := llm.manager.pool.running) or not works[0]._attempt.meter.is_open:  # noqa: ASYNC110
        await asyncio.sleep(0.01)

    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call

    await _until_none_is_connected(local_aws)


async def test_an_asynchronous_stream_that_is_left_closes_its_connection(
    configured: Configure, local_aws: LocalAWS
) -> None:
    llm = _model(configured)
    local_aws.reply(SONNET, ScriptedReply("word " * 20_000))
    stream = llm.astream("x")
    await anext(stream)

    await stream.aclose()

    await _until_none_is_connected(local_aws)


def test_a_stream_that_is_left_closes_its_connection(
    configured: Configure, local_aws: LocalAWS
) -> None:
    llm = _model(configured)
    local_aws.reply(SONNET, ScriptedReply("word " * 20_000))
    stream = llm.stream("x")
    next(stream)

    stream.close()

    assert _connected(local_aws) == 0
    assert local_aws.wait_closed(30)


def test_replies_that_were_read_to_their_end_leave_one_connection_for_the_next(
    configured: Configure, local_aws: LocalAWS
) -> None:
    llm = _model(configured)

    for _ in range(3):
        llm.invoke("x")
        list(llm.stream("x"))

    assert _connected(local_aws) == 1
