"""The model of an ARN is looked up once with GetInferenceProfile, or unknown with a reason."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from langchain_modelmgr import ManagedBedrockChat, ModelManager
from langchain_modelmgr.bedrock.inference_profiles import InferenceProfiles
from langchain_modelmgr.local import ScriptedReply
from langchain_modelmgr.metrics import MemorySink
from tests.held_replies import HELD
from tests.models import SONNET, TITAN

if TYPE_CHECKING:
    from collections.abc import Callable

    from langchain_modelmgr.local import LocalAWS
    from tests.agents import Configure
    from tests.held_replies import HeldReplies


ARN = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc"
HAIKU_45 = "anthropic.claude-haiku-4-5-20251001-v1:0"
MODULE = "langchain_modelmgr.bedrock.inference_profiles"
HUNG = 300.0
"""Seconds that no test waits."""

US = ("us-east-1", "us-east-2", "us-west-2")


def _manager(configured: Configure, agents: str = f"a: {{model: '{ARN}'}}") -> ModelManager:
    return ModelManager(configured(agents), sinks=[MemorySink()])


def _lookups(aws: LocalAWS) -> int:
    return sum(call.operation == "GetInferenceProfile" for call in aws.calls())


def _cost(reply: Any) -> str | None:
    cost: str | None = reply.response_metadata["model_manager"]["cost_usd"]
    return cost


def _until(happened: Callable[[], bool]) -> None:
    end = time.perf_counter() + 50
    while not happened():
        assert time.perf_counter() < end
        time.sleep(0.01)


@pytest.fixture(autouse=True)
def control_plane(local_aws: LocalAWS, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", local_aws.url)


def test_a_profile_is_resolved_once_and_priced_by_its_geography(
    configured: Configure, local_aws: LocalAWS
) -> None:
    local_aws.inference_profile(ARN, HAIKU_45, US)
    manager = _manager(configured, f"a: {{model: '{ARN}'}}\nb: {{model: '{ARN}'}}")
    a, b = manager.chat_model("a"), manager.chat_model("b")
    assert _lookups(local_aws) == 0  # construction sends no request

    with ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(a.invoke, ["x"] * 8))
    b.invoke("x")

    assert _lookups(local_aws) == 1
    assert local_aws.calls(ARN)[-1].body["messages"]
    model = manager.get_model_config(ARN)
    assert model is not None
    assert model.cost_per_1k_input_tokens == 0.0011  # as us., not as global.
    assert model.base_model_id == HAIKU_45
    text = replies[0].response_metadata["model_manager"]
    assert float(text["cost_usd"]) > 0


async def test_async_calls_resolve_without_blocking_their_loop(
    configured: Configure, local_aws: LocalAWS
) -> None:
    local_aws.inference_profile(ARN, HAIKU_45)
    llm = _manager(configured).chat_model("a")

    await asyncio.gather(*(llm.ainvoke("x") for _ in range(10)))
    streamed = [chunk async for chunk in llm.astream("x")]

    assert streamed
    assert _lookups(local_aws) == 1


def test_a_resolved_model_that_cannot_serve_drops_out(
    configured: Configure, local_aws: LocalAWS
) -> None:
    local_aws.inference_profile(ARN, TITAN)
    agents = f"a: {{model: '{SONNET}', fallbacks: ['{ARN}']}}"
    llm = _manager(configured, agents).chat_model("a").bind_tools([_tool])
    local_aws.fail(SONNET, "ThrottlingException", times=1)

    reply = llm.invoke("x")

    skipped = reply.response_metadata["model_manager"]["skipped"]
    assert [s["reason"] for s in skipped] == ["Model does not support tools"]


def _tool(x: int) -> int:
    """Give x back."""
    return x


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("AccessDeniedException", "GetInferenceProfile failed (AccessDeniedException)"),
        (None, "GetInferenceProfile failed (ResourceNotFoundException)"),
    ],
)
def test_a_denied_profile_is_unknown_with_its_reason_and_calls_go_on(
    configured: Configure,
    local_aws: LocalAWS,
    caplog: pytest.LogCaptureFixture,
    code: str | None,
    reason: str,
) -> None:
    if code:
        local_aws.fail(ARN, code, times=None, at="profile")
    manager = _manager(configured, f"a: {{model: '{ARN}', fallbacks: []}}")

    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            reply = manager.chat_model("a").bind_tools([_tool], tool_choice="any").invoke("x")

    assert reply.response_metadata["model_manager"]["cost_usd"] is None
    assert manager.get_usage_summary()["unpriced_invocations"] == 3
    hidden = [r.message for r in caplog.records if "the model of" in r.message]
    assert len(hidden) == 2  # one of the model, one of its price
    assert reason in hidden[0]
    assert "base_model" in hidden[0]
    assert reason in hidden[1]
    assert not re.search(r"123456789012", caplog.text)


@pytest.mark.parametrize("denied", [True, False])
def test_an_arn_streams_whether_its_model_was_found_or_not(
    configured: Configure, local_aws: LocalAWS, *, denied: bool
) -> None:
    local_aws.inference_profile(ARN, HAIKU_45)
    local_aws.script(lambda _: ScriptedReply(text="word " * 40))
    if denied:
        local_aws.fail(ARN, "AccessDeniedException", times=None, at="profile")
    llm = _manager(configured, f"a: {{model: '{ARN}', fallbacks: []}}").chat_model("a")

    chunks = list(llm.stream("x"))

    assert len(chunks) > 10
    assert [c.operation for c in local_aws.calls(ARN)][-1] == "ConverseStream"


@pytest.mark.parametrize(
    ("behind", "facts", "plain", "with_tools"),
    [
        ("xai.grok-4.6", "", "ConverseStream", "ConverseStream"),
        ("acme.new-v1:0", "", "ConverseStream", "ConverseStream"),
        (HAIKU_45, "supports_streaming: false", "Converse", "Converse"),
        (HAIKU_45, "supports_streaming_tools: false", "ConverseStream", "Converse"),
        ("meta.llama3-3-70b-instruct-v1:0", "", "ConverseStream", "Converse"),
    ],
)
def test_an_arn_streams_as_the_catalog_says_of_its_model(
    configured: Configure,
    local_aws: LocalAWS,
    behind: str,
    facts: str,
    plain: str,
    with_tools: str,
) -> None:
    more = f"models:\n  '{ARN}': {{base_model: '{behind}', {facts}}}\n"
    config = configured(f"a: {{model: '{ARN}', fallbacks: []}}", more)
    llm = ModelManager(config, sinks=[MemorySink()]).chat_model("a")

    list(llm.stream("x"))
    list(llm.bind_tools([_tool]).stream("x"))

    assert [c.operation for c in local_aws.calls(ARN)] == [plain, with_tools]


def test_a_failed_lookup_of_a_profile_is_repeated_later(
    configured: Configure, local_aws: LocalAWS, monkeypatch: pytest.MonkeyPatch
) -> None:
    local_aws.fail(ARN, "ThrottlingException", times=1, at="profile")
    local_aws.inference_profile(ARN, HAIKU_45)
    llm = _manager(configured).chat_model("a")

    costs = [_cost(llm.invoke("x")) for _ in range(3)]
    sent = _lookups(local_aws)
    monkeypatch.setattr(f"{MODULE}.RETRY_LOOKUP_SECONDS", 0.0)

    assert costs == [None, None, None]
    assert sent == 1
    _until(lambda: _cost(llm.invoke("x")) is not None)
    assert _lookups(local_aws) == 2


def test_metrics_and_errors_name_an_arn_without_its_account(
    configured: Configure, local_aws: LocalAWS
) -> None:
    local_aws.inference_profile(ARN, HAIKU_45)
    local_aws.fail(ARN, "AccessDeniedException", times=None)
    llm = ManagedBedrockChat(
        agent_name="a", config=configured(f"a: {{model: '{ARN}', fallbacks: []}}")
    )

    with pytest.raises(Exception, match="application-inference-profile/abc") as caught:
        llm.invoke("x")

    assert "123456789012" not in str(caught.value)


def test_a_region_is_read_from_the_arn(configured: Configure, local_aws: LocalAWS) -> None:
    regions: list[str | None] = []

    class Clients:
        def control(self, region: str | None) -> object:
            regions.append(region)
            return local_aws.client("bedrock")

    manager = _manager(configured)
    profiles = InferenceProfiles(Clients(), manager.catalog)  # type: ignore[arg-type]
    for arn in (ARN.replace("us-east-1", "eu-west-1"), ARN.replace("us-east-1", "")):
        search = profiles.search(manager.catalog.resolve(arn), "us-west-2")
        assert search is not None
        search.result(50)

    assert regions == ["eu-west-1", "us-west-2"]


# -- a control plane that does not answer


@pytest.mark.parametrize("mode", ["invoke", "ainvoke", "astream"])
async def test_a_control_plane_that_hangs_delays_a_call_by_seconds_at_most(
    configured: Configure, local_aws: LocalAWS, caplog: pytest.LogCaptureFixture, mode: str
) -> None:
    local_aws.stall(ARN, HUNG, times=9, at="profile")
    llm: Any = _manager(configured, f"a: {{model: '{ARN}', fallbacks: []}}").chat_model("a")

    for _ in range(3):
        if mode == "invoke":
            reply = llm.invoke("x")
        elif mode == "ainvoke":
            reply = await llm.ainvoke("x")
        else:
            *_, reply = [chunk async for chunk in llm.astream("x")]
        assert _cost(reply) is None

    assert _lookups(local_aws) == 1
    (text,) = [m for m in caplog.messages if "the model of" in m and "base_model" in m]
    assert "GetInferenceProfile" in text


def test_a_profile_that_hangs_delays_no_other(
    configured: Configure, local_aws: LocalAWS, held: HeldReplies, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{MODULE}.WAIT_SECONDS", HUNG)
    monkeypatch.setattr("langchain_modelmgr.bedrock.clients.CONTROL_TIMEOUT_SECONDS", HUNG)
    other = ARN.replace("abc", "xyz")
    local_aws.stall(ARN, HELD, at="profile")
    local_aws.inference_profile(other, HAIKU_45)
    manager = _manager(configured, f"a: {{model: '{ARN}'}}\nb: {{model: '{other}'}}")

    with ThreadPoolExecutor(1) as pool:
        hanging = pool.submit(manager.chat_model("a").invoke, "x")
        _until(lambda: _lookups(local_aws) == 1)
        reply = manager.chat_model("b").invoke("x")
        first_done = hanging.done()
        held.release()

    assert _cost(reply) is not None
    assert _cost(hanging.result()) is None
    assert not first_done


def test_a_search_after_one_that_failed_is_not_waited_for(
    configured: Configure, local_aws: LocalAWS, monkeypatch: pytest.MonkeyPatch
) -> None:
    local_aws.fail(ARN, "AccessDeniedException", at="profile")
    monkeypatch.setattr(f"{MODULE}.WAIT_SECONDS", HUNG)
    monkeypatch.setattr("langchain_modelmgr.bedrock.clients.CONTROL_TIMEOUT_SECONDS", HUNG)
    llm = _manager(configured).chat_model("a")
    llm.invoke("x")
    monkeypatch.setattr(f"{MODULE}.RETRY_LOOKUP_SECONDS", 0.0)
    local_aws.stall(ARN, HUNG, at="profile")

    assert [_cost(llm.invoke("x")) for _ in range(3)] == [None] * 3
    _until(lambda: _lookups(local_aws) == 2)


def test_a_late_answer_is_still_used(
    configured: Configure, local_aws: LocalAWS, held: HeldReplies, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{MODULE}.WAIT_SECONDS", 0.1)
    monkeypatch.setattr("langchain_modelmgr.bedrock.clients.CONTROL_TIMEOUT_SECONDS", 50)
    local_aws.inference_profile(ARN, HAIKU_45)
    local_aws.stall(ARN, HELD, at="profile")
    llm = _manager(configured, f"a: {{model: '{ARN}', fallbacks: []}}").chat_model("a")

    first = llm.invoke("x")
    held.release()
    _until(lambda: _cost(llm.invoke("x")) is not None)

    assert _cost(first) is None
    assert _lookups(local_aws) == 1


@pytest.mark.parametrize(
    "resource",
    [
        "provisioned-model/abcdefghijkl",
        "imported-model/abcdefghijkl",
        "custom-model-deployment/abcdefghijkl",
        "prompt-router/abcdefghijkl",
        "default-prompt-router/anthropic.claude:1",
    ],
)
def test_an_arn_of_another_kind_is_not_looked_up(
    configured: Configure,
    local_aws: LocalAWS,
    caplog: pytest.LogCaptureFixture,
    resource: str,
) -> None:
    arn = f"arn:aws:bedrock:us-east-1:123456789012:{resource}"
    manager = _manager(configured, f"a: {{model: '{arn}', fallbacks: []}}")

    for _ in range(2):
        assert _cost(manager.chat_model("a").invoke("x")) is None

    assert _lookups(local_aws) == 0
    (text,) = [m for m in caplog.messages if "the model of" in m and "base_model" in m]
    assert "not an inference profile" in text
