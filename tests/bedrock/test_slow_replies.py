"""Replies that trickle: no socket is ever silent, so that no socket's time-out ends them."""

from __future__ import annotations

import asyncio
import json
import threading
from contextlib import contextmanager
from socket import create_server
from typing import TYPE_CHECKING, Any

import pytest

from langchain_modelmgr import ConfigurationManager, ModelManager
from langchain_modelmgr.errors import BedrockTimeoutError
from langchain_modelmgr.metrics import MemorySink
from tests.models import HAIKU, SONNET

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from langchain_modelmgr.local import LocalAWS
    from tests.agents import Configure
    from tests.held_replies import TimeOuts

LONG = 300.0
"""Seconds that no test waits."""

BODY = json.dumps(
    {
        "output": {"message": {"role": "assistant", "content": [{"text": "Thirty pallets."}]}},
        "stopReason": "end_turn",
        "usage": {"inputTokens": 1, "outputTokens": 4, "totalTokens": 5},
        "metrics": {"latencyMs": 1},
    }
).encode()
HEAD = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(BODY)}\r\n\r\n"


def _manager(configured: Configure, settings: str, fallbacks: str = "[]") -> ModelManager:
    config = configured(
        f"a: {{model: '{SONNET}', retries: 0, cooldown_seconds: 0, fallbacks: {fallbacks}, "
        f"{settings}}}\nwarm: {{model: '{SONNET}', fallbacks: []}}"
    )
    manager = ModelManager(config, sinks=[MemorySink()])
    manager.chat_model("warm").invoke("x")  # builds the client, which takes long
    return manager


def _outcomes(manager: ModelManager) -> list[Any]:
    (sink,) = manager.totals.sinks.sinks
    assert isinstance(sink, MemorySink)
    return [(r.model_id, r.outcome) for r in sink.records][1:]


async def _ask(manager: ModelManager, mode: str) -> Any:
    llm = manager.chat_model("a")
    if mode == "invoke":
        return llm.invoke("x")
    if mode == "ainvoke":
        return await llm.ainvoke("x")
    return manager.invoke_model("a", [{"role": "user", "content": [{"text": "x"}]}])


@pytest.mark.parametrize("mode", ["invoke", "ainvoke", "invoke_model"])
@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ("timeout_seconds: 1", "no content for 1 s"),
        ("deadline_seconds: 60", "the call's deadline passed"),
    ],
)
async def test_a_unary_reply_that_trickles_ends_at_time_out_and_deadline(
    configured: Configure,
    local_aws: LocalAWS,
    time_outs: TimeOuts,
    settings: str,
    reason: str,
    mode: str,
) -> None:
    manager = _manager(configured, settings)
    local_aws.trickle(SONNET, LONG, every=0.2, at="body")
    if "deadline" in settings:
        time_outs.when_received(local_aws, SONNET, deadline=True)

    with pytest.raises(BedrockTimeoutError, match=reason) as caught:
        await _ask(manager, mode)

    assert _outcomes(manager) == [(SONNET, "failed")]
    assert len(caught.value.attempts) == 1  # it ended: the reply would have been an answer
    time_outs.remove(SONNET)
    manager.chat_model("warm").invoke("x")  # over another connection


@pytest.mark.parametrize("mode", ["invoke", "ainvoke"])
async def test_a_unary_reply_that_trickles_falls_back_and_is_billed(
    configured: Configure, local_aws: LocalAWS, time_outs: TimeOuts, mode: str
) -> None:
    manager = _manager(configured, "timeout_seconds: 60", f"['{HAIKU}']")
    time_outs.after(SONNET, 1)
    local_aws.trickle(SONNET, LONG, every=0.2, at="body")

    reply = await _ask(manager, mode)

    report = reply.response_metadata["model_manager"]
    assert report["model_id"] == HAIKU
    assert float(report["estimated_wasted_cost_usd"]) > 0
    assert _outcomes(manager) == [(SONNET, "failed"), (HAIKU, "answered")]


@pytest.mark.parametrize("mode", ["invoke", "ainvoke"])
async def test_a_unary_reply_that_is_slow_but_in_time_is_answered(
    configured: Configure, local_aws: LocalAWS, mode: str
) -> None:
    manager = _manager(configured, "timeout_seconds: 60")
    local_aws.trickle(SONNET, 0.6, every=0.05, at="body")

    reply = await _ask(manager, mode)

    assert reply.text
    assert _outcomes(manager) == [(SONNET, "answered")]


async def test_a_cancelled_call_frees_the_socket_of_an_open_reply(
    configured: Configure, local_aws: LocalAWS
) -> None:
    manager = _manager(configured, "timeout_seconds: 60")
    local_aws.trickle(SONNET, LONG, every=0.1, at="body")
    task = asyncio.create_task(manager.chat_model("a").ainvoke("x"))
    async with asyncio.timeout(50):
        while not any(work._attempt.meter.is_open for work in manager.pool.running):  # noqa: ASYNC110 - its thread's work
            await asyncio.sleep(0.01)

    task.cancel()
    await asyncio.gather(task, return_exceptions=True)

    async with asyncio.timeout(50):
        while manager.pool.running:  # noqa: ASYNC110 - its thread's work
            await asyncio.sleep(0.01)
    assert _outcomes(manager) == [(SONNET, "aborted")]


@contextmanager
def _server(head: str, *, every: float) -> Iterator[str]:
    """Serve replies whose head trickles; the body follows at once."""
    stopped = threading.Event()

    def answer(connection: Any) -> None:
        with connection:
            while b"\r\n\r\n" not in connection.recv(65_536):
                pass
            try:
                for i in range(len(head)):
                    connection.sendall(head[i : i + 1].encode())
                    if stopped.wait(every):
                        return
                connection.sendall(BODY)
            except OSError:
                return

    def serve() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            threading.Thread(target=answer, args=(connection,), daemon=True).start()

    with create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        stopped.set()


CONTINUE = "HTTP/1.1 100 Continue\r\n\r\n" * 40


@pytest.mark.parametrize("head", [HEAD, CONTINUE + HEAD], ids=["headers", "100-continue"])
@pytest.mark.parametrize(
    "mode", ["invoke", "stream", "invoke_model", "stream_model", "ainvoke", "astream"]
)
async def test_reply_headers_that_trickle_end_a_call_in_time(
    tmp_path: Path, mode: str, head: str
) -> None:
    with _server(head, every=0.2) as url:
        (tmp_path / "test.yaml").write_text(
            f"aws: {{region: us-east-1, endpoint_url: '{url}'}}\nmetrics: {{sink: memory}}\n"
            f"agents: {{a: {{model: '{SONNET}', retries: 0, fallbacks: [], timeout_seconds: 1}}}}"
        )
        manager = ModelManager(ConfigurationManager("test", tmp_path), max_concurrency=1)
        llm: Any = manager.chat_model("a")

        for _ in range(2):  # an abandoned call frees its slot
            with pytest.raises(BedrockTimeoutError, match="no content for 1 s") as caught:
                if mode == "stream":
                    next(llm.stream("x"))
                elif mode == "stream_model":
                    next(manager.stream_model("a", [{"role": "user", "content": "x"}]))
                elif mode == "astream":
                    await anext(llm.astream("x"))
                else:
                    await _ask(manager, mode)
            assert len(caught.value.attempts) == 1

        (sink,) = manager.totals.sinks.sinks
        assert isinstance(sink, MemorySink)
        assert [r.outcome for r in sink.records] == ["failed"] * 2
