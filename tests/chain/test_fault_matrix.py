"""Every kind of failure, in every place, through every door, over HTTP."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from langchain.agents import create_agent

from langchain_modelmgr import ModelManager, ModelManagerError
from langchain_modelmgr.local import ScriptedReply
from langchain_modelmgr.metrics import MemorySink
from tests.chain.fault_matrix import AFTER, KINDS, PLACES, Kind
from tests.models import HAIKU, SONNET

if TYPE_CHECKING:
    from langchain_modelmgr.local import LocalAWS
    from tests.agents import Configure
    from tests.held_replies import TimeOuts


TEXT = "thirty words of an answer, or nearly so many"
USAGE = {"inputTokens": 21, "outputTokens": 13, "totalTokens": 34}
COST = Decimal("0.000086")  # of the guide's Haiku: 21 x 0.001 + 13 x 0.005 per 1,000
DOORS = ["invoke", "stream", "ainvoke", "astream", "invoke_model", "create_agent"]


def look(place: str) -> str:
    """Look up a place."""
    return place


class Door:
    """One way in; remembers the text that was handed on."""

    def __init__(self, manager: ModelManager, name: str, *, tools: bool) -> None:
        self._manager = manager
        self._name = name
        self._tools = [look] if tools else []
        self.said = ""
        self.metadata: dict[str, Any] = {}

    def __call__(self) -> None:
        getattr(self, f"_{self._name}")()

    @property
    def _model(self) -> Any:
        model = self._manager.chat_model("a")
        return model.bind_tools(self._tools) if self._tools else model

    def _invoke(self) -> None:
        self._took(self._model.invoke("x"))

    def _ainvoke(self) -> None:
        self._took(asyncio.run(self._model.ainvoke("x")))

    def _stream(self) -> None:
        for chunk in self._model.stream("x"):
            self._took(chunk)

    def _astream(self) -> None:
        async def streamed() -> None:
            async for chunk in self._model.astream("x"):
                self._took(chunk)

        asyncio.run(streamed())

    def _invoke_model(self) -> None:
        hello = [{"role": "user", "content": [{"text": "x"}]}]
        tools = [{"toolSpec": {"name": "look", "inputSchema": {"json": {"type": "object"}}}}]
        result = self._manager.invoke_model("a", hello, tools=tools if self._tools else None)
        self.said, self.metadata = result["response"], dict(result)

    def _create_agent(self) -> None:
        agent = create_agent(self._manager.chat_model("a"), self._tools)
        question: Any = {"messages": [("user", "x")]}
        for chunk, _ in agent.stream(question, stream_mode="messages"):
            self._took(chunk)

    def _took(self, message: Any) -> None:
        self.said += message.text
        self.metadata |= message.response_metadata.get("model_manager", {})


def _streams(door: str) -> bool:
    return door in ("stream", "astream", "create_agent")


def _cases() -> list[Any]:
    return [
        pytest.param(kind, place, door, id=f"{kind.name}-{place}-{door}")
        for kind in KINDS
        for place in kind.places
        for door in DOORS
        if _streams(door) or place == "before headers"
    ]


@pytest.mark.parametrize(("kind", "place", "name"), _cases())
def test_a_failure_has_the_outcome_in_the_table(
    configured: Configure,
    local_aws: LocalAWS,
    caplog: pytest.LogCaptureFixture,
    time_outs: TimeOuts,
    kind: Kind,
    place: str,
    name: str,
) -> None:
    in_tool_call = place == "in a tool call"
    config = configured(f"a: {{model: '{SONNET}', fallbacks: ['{HAIKU}'], timeout_seconds: 60}}")
    after = AFTER.get(place, 0)
    if kind.silent:
        time_outs.when_received(local_aws, SONNET, contents=after)
    sink = MemorySink()
    manager = ModelManager(config, sinks=[sink])
    call = [("look", {"place": "x" * 40})] if in_tool_call else []
    local_aws.reply(SONNET, ScriptedReply(text="" if call else TEXT, tool_calls=call, usage=USAGE))
    local_aws.reply(HAIKU, ScriptedReply(text=TEXT, usage=USAGE))
    kind.order(local_aws, place, after)
    door = Door(manager, name, tools=in_tool_call)
    committed = place in PLACES[2:]
    answered = kind.falls_back and not committed
    tried = kind.attempts if place == "before headers" else 1

    if answered:
        door()
        assert door.said == TEXT
        attempts = [a["error"] for a in door.metadata["attempts"]]
        assert door.metadata["model_id"] == HAIKU
    else:
        with pytest.raises(ModelManagerError) as caught:
            door()
        assert type(caught.value).__name__ == kind.error
        assert TEXT[:12] not in str(caught.value)
        attempts = [a.error for a in caught.value.attempts]
        if committed:
            assert caught.value.partial_text == door.said  # type: ignore[attr-defined]
            assert TEXT.startswith(door.said)

    assert TEXT[:12] not in caplog.text
    assert attempts == [kind.error] * tried + [None] * answered
    assert local_aws.requests(SONNET) == tried
    assert local_aws.requests(HAIKU) == answered
    records = sink.records
    assert [r.success for r in records] == [False] * tried + [True] * answered
    assert [r.model_id for r in records] == [SONNET] * tried + [HAIKU] * answered
    wasted = kind.wasted or committed
    assert [bool(r.estimated_wasted_cost_usd) for r in records[:tried]] == [wasted] * tried
    summary = manager.get_usage_summary()
    assert (summary["total_invocations"], summary["attempts"]) == (1, len(attempts))
    assert summary["total_cost_usd"] == float(COST * answered)
    assert (summary["fallbacks"], summary["success_rate"]) == (answered, float(answered))


def test_the_matrix_is_whole() -> None:
    """Six doors before the headers, the three that stream after them."""
    first = sum("before headers" in kind.places for kind in KINDS)
    later = sum(len(set(kind.places) - {"before headers"}) for kind in KINDS)

    assert len(_cases()) == first * 6 + later * 3
    assert len(_cases()) > 150
