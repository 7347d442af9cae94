"""What a fallback's request has of an agent's fields: the local server refuses what it must not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from langchain_modelmgr import ModelManager
from tests.agents import Pallets

if TYPE_CHECKING:
    from langchain_modelmgr.local import LocalAWS
    from tests.agents import Configure

SONNET_35 = "anthropic.claude-3-5-sonnet-20241022-v2:0"
SONNET_45 = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
HAIKU_45 = "us.anthropic.claude-haiku-4-5-20251001-v1:0"
OPUS_41 = "us.anthropic.claude-opus-4-1-20250805-v1:0"
OPUS_46 = "us.anthropic.claude-opus-4-6-v1"
NOVA = "us.amazon.nova-pro-v1:0"
LLAMA = "us.meta.llama3-3-70b-instruct-v1:0"
GPT_OSS = "openai.gpt-oss-120b-1:0"
ENABLED = {"type": "enabled", "budget_tokens": 2000}
NO_THINKING = "thinking not sent: the model does not accept it"
NO_STOPS = "stop_sequences not sent: the model refuses it"

CHAIN = """
a:
  model: {first}
  fallbacks: ['{second}']
  cooldown_seconds: 0
"""


def _served_by_the_second(
    configured: Configure,
    aws: LocalAWS,
    first: str,
    second: str,
    agent: str = "",
    **kwargs: Any,
) -> tuple[dict[str, Any], list[str]]:
    config = configured(CHAIN.format(first=first, second=second) + agent)
    aws.fail(first, "ThrottlingException")
    reply = ModelManager(config, sinks=[]).chat_model("a").invoke("x", **kwargs)
    report = reply.response_metadata["model_manager"]
    assert report["model_id"] == second
    return aws.calls(second)[-1].body, report["attempts"][-1]["adapted"]


def test_an_agents_thinking_is_not_sent_to_models_without_it(
    configured: Configure, local_aws: LocalAWS
) -> None:
    agent = "  parameters: {additional_model_request_fields: {thinking: {type: adaptive}}}\n"

    for second in (NOVA, SONNET_35, LLAMA, GPT_OSS):
        body, adapted = _served_by_the_second(configured, local_aws, OPUS_46, second, agent)
        assert "additionalModelRequestFields" not in body
        assert adapted == [NO_THINKING]


def test_a_calls_own_fields_go_to_no_other_providers_model(
    configured: Configure, local_aws: LocalAWS
) -> None:
    fields = {"thinking": ENABLED, "something_new": 1}

    body, adapted = _served_by_the_second(
        configured,
        local_aws,
        SONNET_45,
        NOVA,
        additional_model_request_fields=fields,
        additional_model_response_field_paths=["/stop_sequence"],
    )

    assert "additionalModelRequestFields" not in body
    assert "additionalModelResponseFieldPaths" not in body
    assert set(adapted) == {
        NO_THINKING,
        "something_new not sent: the model does not accept it",
        "additional_model_response_field_paths not sent: the model does not accept it",
    }


def test_a_providers_own_fields_reach_its_fallbacks(
    configured: Configure, local_aws: LocalAWS
) -> None:
    agent = "  parameters: {additional_model_request_fields: {something_new: 1}}\n"

    body, adapted = _served_by_the_second(configured, local_aws, SONNET_45, HAIKU_45, agent)

    assert body["additionalModelRequestFields"] == {"something_new": 1}
    assert adapted == []


@pytest.mark.parametrize("level", ["high", "max"])
def test_an_effort_is_sent_to_the_fallbacks_that_support_it(
    configured: Configure, local_aws: LocalAWS, level: str
) -> None:
    body, adapted = _served_by_the_second(
        configured, local_aws, OPUS_46, GPT_OSS, reasoning_effort=level
    )

    sent = body.get("additionalModelRequestFields", {}).get("reasoning_effort")
    assert sent == ("high" if level == "high" else None)
    left_out = ["reasoning_effort not sent: the model does not accept it"]
    assert adapted == ([] if level == "high" else left_out)


def test_thinking_that_is_left_out_keeps_no_model_from_a_forced_choice(
    configured: Configure, local_aws: LocalAWS
) -> None:
    fields = "{additional_model_request_fields: {thinking: {type: adaptive}}}"
    config = configured(f"a: {{model: '{SONNET_45}', fallbacks: [], parameters: {fields}}}")
    llm = ModelManager(config, sinks=[]).chat_model("a")

    reply = llm.bind_tools([Pallets], tool_choice="any").invoke("3 pallets")

    assert local_aws.calls(SONNET_45)[-1].body["toolConfig"]["toolChoice"] == {"any": {}}
    assert reply.response_metadata["model_manager"]["attempts"][-1]["adapted"] == [NO_THINKING]


def test_a_budget_fits_the_fallbacks_lower_max_tokens(
    configured: Configure, local_aws: LocalAWS
) -> None:
    agent = (
        "  max_tokens: 64000\n"
        "  parameters: {additional_model_request_fields: "
        "{thinking: {type: enabled, budget_tokens: 40000}}}\n"
    )

    body, adapted = _served_by_the_second(configured, local_aws, SONNET_45, OPUS_41, agent)

    most = body["inferenceConfig"]["maxTokens"]
    assert most < 64_000
    assert body["additionalModelRequestFields"]["thinking"]["budget_tokens"] == most - 1
    assert adapted == [f"thinking budget lowered to {most - 1}: it must be below max_tokens"]


def test_a_classic_agents_stop_reaches_only_models_that_take_one(
    configured: Configure, local_aws: LocalAWS
) -> None:
    body, adapted = _served_by_the_second(
        configured, local_aws, SONNET_45, GPT_OSS, stop=["\nObservation"]
    )

    assert "stopSequences" not in body.get("inferenceConfig", {})
    assert adapted == [NO_STOPS]
    assert local_aws.calls(SONNET_45)[-1].body["inferenceConfig"]["stopSequences"]


def test_an_agents_tier_and_sampling_fit_each_model(
    configured: Configure, local_aws: LocalAWS
) -> None:
    agent = "  temperature: 0.2\n  parameters: {top_p: 0.5, service_tier: flex}\n"

    body, adapted = _served_by_the_second(configured, local_aws, NOVA, HAIKU_45, agent)

    assert body["inferenceConfig"] == {"temperature": 0.2}
    assert "serviceTier" not in body
    assert len(adapted) == 2
    first = local_aws.calls(NOVA)[-1].body
    assert first["serviceTier"] == {"type": "flex"}
    assert first["inferenceConfig"] == {"temperature": 0.2, "topP": 0.5}
