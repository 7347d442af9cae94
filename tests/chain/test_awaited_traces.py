"""LangSmith's runs of calls and streams without a thread: those of the synchronous path."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.tracers.langchain import LangChainTracer
from langsmith import Client

from langchain_modelmgr.local import ScriptedReply
from tests.chain.awaited import AGENT, CHAIN, awaiting
from tests.chain.test_awaited_calls import MODES, async_outcome, plain, sync_outcome
from tests.langsmith_server import LangSmithServer
from tests.models import SONNET

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from langchain_modelmgr.local import LocalAWS
    from tests.agents import Configure

USAGE = {"inputTokens": 210, "outputTokens": 30, "totalTokens": 240}
BROKEN = "broken after content"
ENDS: dict[str, Callable[[LocalAWS], None]] = {
    "answered": lambda _: None,
    "answered by a fallback": lambda aws: aws.fail(SONNET, "ThrottlingException"),
    "failed": lambda aws: aws.fail(None, "ThrottlingException", times=2),
    "refused": lambda aws: aws.fail(SONNET, "ValidationException"),
    BROKEN: lambda aws: aws.fail(SONNET, "ModelStreamErrorException", at="stream", after=3),
}
NEVER = ("unary", BROKEN)
VARIES = {"runtime", "revision_id", "LANGSMITH_PROJECT"}


@pytest.fixture
def langsmith() -> Iterator[tuple[LangSmithServer, LangChainTracer]]:
    with LangSmithServer() as server:
        client = Client(api_url=server.url, api_key="dummy")
        yield server, LangChainTracer(client=client)
        client.close(timeout=50)


def described(run: dict[str, Any]) -> dict[str, str]:
    """Return what a run says, without ids, times and the call stack of its error."""
    metadata = {k: v for k, v in run["extra"]["metadata"].items() if k not in VARIES}
    return {
        "inputs": plain(run["inputs"]),
        "outputs": plain(run.get("outputs")),
        "error": plain(run.get("error")).partition("Traceback")[0],
        "events": plain([(e["name"], e.get("kwargs")) for e in run["events"]]),
        "metadata": plain(metadata),
        "params": plain(run["extra"]["invocation_params"]),
        "tags": plain(run["tags"]),
        "status": plain(run.get("status")),
    }


@pytest.mark.parametrize(
    ("mode", "end"), [(mode, end) for mode in MODES for end in ENDS if (mode, end) != NEVER]
)
def test_a_run_says_what_that_of_a_synchronous_call_says(
    configured: Configure,
    local_aws: LocalAWS,
    langsmith: tuple[LangSmithServer, LangChainTracer],
    mode: str,
    end: str,
) -> None:
    server, tracer = langsmith
    local_aws.script(lambda _: ScriptedReply(text="Thirty pallets in Hamburg.", usage=USAGE))
    with awaiting(configured, f"a: {AGENT}\nb: {CHAIN}") as (manager, sink):
        given: Any = {"callbacks": [tracer], "tags": ["nightly"], "metadata": {"team": "stock"}}
        llm = manager.chat_model("b").with_config(given)

        def run_of(call: Callable[[], Any]) -> tuple[Any, dict[str, str]]:
            local_aws.clear_faults()
            ENDS[end](local_aws)
            server.forget()
            outcome = call()
            tracer.client.flush(timeout=50)
            (run,) = server.runs()
            return outcome, described(run)

        expected = run_of(lambda: sync_outcome(llm, "how many?", mode))
        found = run_of(lambda: asyncio.run(async_outcome(llm, "how many?", mode)))

        assert found == expected
        assert (expected[1]["error"] == "None") == end.startswith("answered")
        assert set(sink.names[len(sink.names) // 2 :]) == {"MainThread"}
