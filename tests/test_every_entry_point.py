"""One fault, one end: through invoke_model, the chat model, and an agent of the application."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from examples.supply_chain.agents.registry import SupplierAnalyzer
from langchain_modelmgr import ConfigurationManager, ModelManager, ModelManagerError
from langchain_modelmgr.local import LocalAWS, ScriptedReply
from tests.models import HAIKU, SONNET

if TYPE_CHECKING:
    from pathlib import Path

    from tests.held_replies import TimeOuts

USAGE = {"inputTokens": 21, "outputTokens": 13, "totalTokens": 34}
DOORS = ["invoke_model", "chat_model", "agent"]
FAULTS: dict[str, tuple[list[str | None], int]] = {
    "throttle": (["BedrockRateLimitError", None], 1),
    "access denied": (["BedrockPermissionDeniedError", None], 1),
    "time-out": (["BedrockTimeoutError", None], 1),
    "malformed request": (["BedrockInvalidRequestError"], 0),
    "cut stream": (["BedrockConnectionError"], 0),
}


def order(aws: LocalAWS, fault: str) -> None:
    if fault == "time-out":
        aws.stall(SONNET, 300)
    elif fault == "cut stream":
        aws.cut(SONNET, after=1)
    else:
        codes = {
            "throttle": "ThrottlingException",
            "access denied": "AccessDeniedException",
            "malformed request": "ValidationException",
        }
        aws.fail(SONNET, codes[fault])


def call(manager: ModelManager, door: str, *, stream: bool) -> None:
    hello = [{"role": "user", "content": [{"text": "Hello"}]}]
    if door == "invoke_model":
        if stream:
            list(manager.stream_model("supplier_analyzer", hello))
        else:
            manager.invoke_model("supplier_analyzer", hello)
    elif door == "chat_model":
        llm = manager.chat_model("supplier_analyzer")
        if stream:
            list(llm.stream("Hello"))
        else:
            llm.invoke("Hello")
    else:
        agent = SupplierAnalyzer(manager, [])
        if stream:
            messages: Any = {"messages": [("user", "Hello")]}
            list(agent._agent.stream(messages, stream_mode="messages"))
        else:
            agent.process_query("Hello", "s")


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("door", DOORS)
def test_a_fault_has_the_same_attempts_metrics_and_cost_through_every_door(
    local_aws: LocalAWS,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    time_outs: TimeOuts,
    door: str,
    fault: str,
) -> None:
    for name, value in local_aws.env().items():
        monkeypatch.setenv(name, value)
    (tmp_path / "dev.yaml").write_text(
        f"agents: {{supplier_analyzer: {{model: '{SONNET}', timeout_seconds: 60}}}}"
    )
    local_aws.script(lambda _: ScriptedReply(text="Nordwerk is the most punctual.", usage=USAGE))
    order(local_aws, fault)
    if fault == "time-out":
        time_outs.when_received(local_aws, SONNET)
    attempts, answered = FAULTS[fault]
    manager = ModelManager(ConfigurationManager("dev", tmp_path))

    if answered:
        call(manager, door, stream=False)
    else:
        with pytest.raises(ModelManagerError) as caught:
            call(manager, door, stream=fault == "cut stream")
        assert [a.error for a in caught.value.attempts] == attempts
    manager.flush_metrics()

    summary, metrics = manager.get_usage_summary(), local_aws.metrics
    namespace = "modelmgr/Models"
    sent = (local_aws.requests(SONNET), local_aws.requests(HAIKU))
    assert sent == (1, answered)
    assert (summary["total_invocations"], summary["attempts"]) == (1, len(attempts))
    assert summary["fallbacks"] == answered
    assert summary["total_cost_usd"] == pytest.approx(answered * (21 * 0.001 + 13 * 0.005) / 1000)
    assert metrics.sum(namespace, "ModelInvocations", Success="false") == 1
    assert metrics.sum(namespace, "ModelInvocations", Success="true", Model=HAIKU) == answered
    assert metrics.sum(namespace, "OutputTokens", Agent="supplier_analyzer") == 13 * answered
    assert metrics.sum(namespace, "ModelCost") == pytest.approx(summary["total_cost_usd"])
