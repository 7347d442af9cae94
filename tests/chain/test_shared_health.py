"""Which failures of one agent or prompt count against a model for the others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from langchain_modelmgr import ModelManager
from langchain_modelmgr.chain import policy
from langchain_modelmgr.chain.cooldown import FAILURES_IN_A_ROW
from langchain_modelmgr.errors import BedrockError
from tests.chain.test_health import Clock, served_by, two_agents
from tests.models import HAIKU, SONNET

if TYPE_CHECKING:
    from langchain_modelmgr.local import LocalAWS
    from tests.agents import Configure


def test_one_agents_short_time_out_is_not_another_agents(
    configured: Configure, local_aws: LocalAWS, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(policy, "FAIR_TIMEOUT_SECONDS", 0.1)
    _, a, b = two_agents(configured, ", timeout_seconds: 0.4")
    local_aws.latency(SONNET, 1)

    assert {served_by(a) for _ in range(FAILURES_IN_A_ROW + 1)} == {HAIKU}

    assert local_aws.requests(SONNET) == FAILURES_IN_A_ROW
    assert served_by(b) == SONNET


DENIED = "User: arn:aws:iam::123456789012:user/x is not authorized to perform: "


@pytest.mark.parametrize(
    ("code", "text", "concerns_model"),
    [
        ("AccessDeniedException", f"{DENIED}bedrock:ApplyGuardrail on resource: g1", False),
        ("AccessDeniedException", "You don't have access to the guardrail.", False),
        ("ResourceNotFoundException", "The guardrail identifier does not exist.", False),
        ("AccessDeniedException", f"{DENIED}s3:GetObject on resource: x", False),
        ("AccessDeniedException", f"{DENIED}bedrock:InvokeModel on resource: guardrail", True),
        ("AccessDeniedException", "You don't have access to the model.", True),
    ],
)
def test_a_denial_of_one_agents_request_does_not_count_against_the_models_health(
    configured: Configure, local_aws: LocalAWS, code: str, text: str, concerns_model: bool
) -> None:
    _, a, b = two_agents(configured)
    local_aws.fail(SONNET, code, message=text)

    assert served_by(a) == HAIKU

    assert served_by(b) == (HAIKU if concerns_model else SONNET)


@pytest.mark.parametrize("code", ["ModelErrorException", "ModelTimeoutException"])
def test_one_agents_poison_prompt_is_not_another_agents(
    configured: Configure, local_aws: LocalAWS, code: str
) -> None:
    _, a, b = two_agents(configured)
    local_aws.fail(SONNET, code, times=FAILURES_IN_A_ROW)
    for _ in range(FAILURES_IN_A_ROW):
        assert served_by(a) == HAIKU

    assert served_by(b) == SONNET
    assert served_by(a) == HAIKU


def test_a_prompt_that_keeps_failing_is_not_another_prompts_failure(
    configured: Configure, local_aws: LocalAWS
) -> None:
    _, a, b = two_agents(configured)
    local_aws.fail(SONNET, "InternalServerException", times=FAILURES_IN_A_ROW)
    for _ in range(FAILURES_IN_A_ROW):
        a.invoke("poison")

    assert served_by(b) == SONNET
    sent = local_aws.requests(SONNET)
    assert a.invoke("poison").response_metadata["model_name"] == HAIKU
    assert local_aws.requests(SONNET) == sent


def test_a_prompt_that_one_call_retries_is_not_another_prompts_failure(
    configured: Configure, local_aws: LocalAWS, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(policy, "BACKOFF_BASE_SECONDS", 0.001)
    config = configured(
        f"a: {{model: '{SONNET}', fallbacks: []}}\nb: {{model: '{SONNET}', fallbacks: ['{HAIKU}']}}"
    )
    manager = ModelManager(config, sinks=[])
    local_aws.fail(SONNET, "InternalServerException", times=3)

    with pytest.raises(BedrockError):
        manager.chat_model("a").invoke("poison")

    assert served_by(manager.chat_model("b")) == SONNET


@pytest.mark.parametrize("code", ["ServiceUnavailableException", "ModelNotReadyException"])
def test_a_service_that_takes_no_request_is_every_prompts_failure(
    configured: Configure, local_aws: LocalAWS, code: str
) -> None:
    _, a, b = two_agents(configured)
    local_aws.fail(SONNET, code, times=FAILURES_IN_A_ROW)
    for _ in range(FAILURES_IN_A_ROW):
        a.invoke("the same")

    assert served_by(b) == HAIKU


def test_different_prompts_that_fail_are_the_models_failure(
    configured: Configure, local_aws: LocalAWS
) -> None:
    _, a, b = two_agents(configured)
    local_aws.fail(SONNET, "InternalServerException", times=FAILURES_IN_A_ROW)
    for i in range(FAILURES_IN_A_ROW):
        a.invoke(f"question {i}")

    assert served_by(b) == HAIKU


def test_an_agent_without_cooldowns_ignores_failures_of_others(
    configured: Configure, local_aws: LocalAWS
) -> None:
    _, a, b = two_agents(configured, b=", cooldown_seconds: 0")
    local_aws.fail(SONNET, "ThrottlingException", times=FAILURES_IN_A_ROW)
    for _ in range(FAILURES_IN_A_ROW):
        a.invoke("x")

    assert served_by(b) == SONNET


def test_an_agents_cooldown_has_its_own_length_even_if_another_agent_started_it(
    configured: Configure, local_aws: LocalAWS
) -> None:
    manager, a, b = two_agents(configured, ", cooldown_seconds: 3600", ", cooldown_seconds: 5")
    clock = Clock()
    manager.chains._cooldowns._clock = clock
    local_aws.fail(SONNET, "ThrottlingException", times=FAILURES_IN_A_ROW)
    for _ in range(FAILURES_IN_A_ROW):
        a.invoke("x")
    clock.now += 6

    assert served_by(a) == HAIKU
    assert served_by(b) == SONNET
