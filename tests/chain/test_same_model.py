"""The same model with another service tier, or other parameters, is a fallback like any other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from langchain_modelmgr import ModelManager
from langchain_modelmgr.errors import BedrockRateLimitError
from langchain_modelmgr.metrics import MemorySink
from tests.models import SONNET

if TYPE_CHECKING:
    from langchain_modelmgr.local import LocalAWS
    from tests.agents import Configure

NOVA = "us.amazon.nova-pro-v1:0"


def _manager(configured: Configure, agents: str) -> ModelManager:
    return ModelManager(configured(agents), sinks=[MemorySink()])


def _flex_first(configured: Configure) -> ModelManager:
    return _manager(
        configured,
        f"""
        a:
          model: '{NOVA}'
          parameters: {{service_tier: flex}}
          fallbacks: [{{model: '{NOVA}', parameters: {{service_tier: default}}}}]
        """,
    )


def _tiers(local_aws: LocalAWS) -> list[Any]:
    return [(c.body.get("serviceTier") or {}).get("type") for c in local_aws.calls()]


@pytest.mark.parametrize("code", ["ThrottlingException", "ServiceUnavailableException"])
def test_a_tier_without_capacity_falls_to_another(
    configured: Configure, local_aws: LocalAWS, code: str
) -> None:
    manager = _flex_first(configured)
    local_aws.fail(NOVA, code)

    report = manager.chat_model("a").invoke("x").response_metadata["model_manager"]

    assert _tiers(local_aws) == ["flex", "default"]
    assert report["fallback_used"]
    assert [a["model_id"] for a in report["attempts"]] == [NOVA, NOVA]


def test_a_tier_that_cools_down_does_not_cool_the_other(
    configured: Configure, local_aws: LocalAWS
) -> None:
    llm = _flex_first(configured).chat_model("a")
    for _ in range(3):
        local_aws.fail(NOVA, "ThrottlingException")
        llm.invoke("x")
    before = len(local_aws.calls())

    llm.invoke("x")

    assert _tiers(local_aws)[before:] == ["default"]


def test_a_calls_own_tier_has_a_health_of_its_own(
    configured: Configure, local_aws: LocalAWS
) -> None:
    manager = _manager(configured, f"a: {{model: '{NOVA}', fallbacks: ['{SONNET}']}}")
    llm = manager.chat_model("a")
    local_aws.fail(NOVA, "ThrottlingException", times=3)
    for _ in range(3):
        llm.invoke("x", service_tier="flex")

    assert llm.invoke("x").response_metadata["model_name"] == NOVA
    assert llm.invoke("x", service_tier="flex").response_metadata["model_name"] == SONNET


def test_other_parameters_are_sent_to_the_same_model(
    configured: Configure, local_aws: LocalAWS
) -> None:
    manager = _manager(
        configured,
        f"a: {{model: '{SONNET}', parameters: {{top_p: 0.9}}, "
        f"fallbacks: [{{model: '{SONNET}', parameters: {{top_p: 0.5}}}}]}}",
    )
    local_aws.fail(SONNET, "ModelErrorException")

    manager.chat_model("a").invoke("x")

    assert [c.body["inferenceConfig"]["topP"] for c in local_aws.calls()] == [0.9, 0.5]


def test_a_calls_own_model_keeps_the_same_model_with_another_tier(
    configured: Configure, local_aws: LocalAWS
) -> None:
    manager = _manager(
        configured,
        f"a: {{model: '{SONNET}', "
        f"fallbacks: ['{NOVA}', {{model: '{NOVA}', parameters: {{service_tier: flex}}}}]}}",
    )
    local_aws.fail(NOVA, "ThrottlingException")

    manager.chat_model("a").invoke("x", model=NOVA)

    assert _tiers(local_aws) == [None, "flex"]


def test_an_exhausted_call_distinguishes_the_two(
    configured: Configure, local_aws: LocalAWS
) -> None:
    manager = _flex_first(configured)
    local_aws.fail(NOVA, "ThrottlingException", times=None)

    with pytest.raises(BedrockRateLimitError) as caught:
        manager.chat_model("a", max_retries=0).invoke("x")

    assert f"{NOVA} (service tier flex): ThrottlingException: " in str(caught.value)
    assert f"{NOVA} (service tier default): ThrottlingException: " in str(caught.value)


def test_check_chains_has_both(configured: Configure) -> None:
    members = _flex_first(configured).check_chains()

    assert [(m.model_id, m.position) for m in members] == [(NOVA, 0), (NOVA, 1)]
