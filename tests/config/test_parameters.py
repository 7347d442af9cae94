"""A wrong parameter of any candidate is a mistake of the file, with its line and key."""

from __future__ import annotations

import typing
from typing import TYPE_CHECKING, Any

import botocore.session
import pytest

from langchain_modelmgr import ConfigurationError, ConfigurationManager, ManagedBedrockChat
from langchain_modelmgr.config.parameters import (
    GuardrailParameter,
    Parameters,
    PerformanceParameter,
)
from tests.models import HAIKU, SONNET

if TYPE_CHECKING:
    from pathlib import Path

    from langchain_modelmgr.local import LocalAWS
    from tests.agents import Configure

OPUS = "us.anthropic.claude-opus-4-5-20251101-v1:0"
NOVA_2 = "us.amazon.nova-2-lite-v1:0"
GPT_OSS = "openai.gpt-oss-120b-1:0"


def read(folder: Path, agents: str) -> ConfigurationManager:
    (folder / "dev.yaml").write_text(f"agents:\n{agents}")
    return ConfigurationManager("dev", folder)


def mistakes_of(folder: Path, agents: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        read(folder, agents)
    return str(caught.value).replace(f"{folder}/", "")


WRONG = [
    (
        "reasoning_effort: banana",
        "reasoning_effort: must be one of 'none', 'low', 'medium', 'high'",
    ),
    ("reasoning_effort: hgih", "did you mean 'high'?"),
    ("reasoning_effort: no", "reasoning_effort: must be one of"),
    (
        "service_tier: cheap",
        "service_tier: must be one of 'priority', 'default', 'flex' or 'reserved'",
    ),
    (
        "performance_config: {latency: fast}",
        "performance_config.latency: must be one of 'standard'",
    ),
    ("performance_config: {latencyy: optimized}", "latencyy: unknown key; did you mean 'latency'?"),
    ("performance_config: optimized", "performance_config: must be a map"),
    ("request_metadata: {tenant: 42}", "request_metadata.tenant: must be text: put it in quotes"),
    (
        "request_metadata: {since: 2026-01-31}",
        "request_metadata.since: must be text: put it in quotes",
    ),
    ("request_metadata: {tenant: 'a{b}'}", "request_metadata.tenant: must be letters, digits"),
    ("request_metadata: {'a{b}': x}", "request_metadata: a key must be 1 to 256 letters"),
    ("request_metadata: {tenant: [x]}", "request_metadata.tenant: must be text"),
    (
        "request_metadata: {" + ", ".join(f"k{i}: x" for i in range(17)) + "}",
        "must have 16 entries",
    ),
    ("stop_sequences: END", "stop_sequences: must be a list"),
    ("stop_sequences: [1]", "stop_sequences[0]: must be text: put it in quotes"),
    ("stop_sequences: ['']", "stop_sequences[0]: must not be empty"),
    ("top_p: 1.5", "top_p: must be at most 1"),
    ("top_p: high", "top_p: must be a number"),
    ("guard_last_turn_only: maybe", "guard_last_turn_only: must be true or false"),
    ("guard_last_turn_only: true", "guard_last_turn_only: needs a guardrail_config"),
    ("guardrail_config: g1", "guardrail_config: must be a map"),
    ("guardrail_config: {guardrailIdentifier: 0123}", "must be text: put it in quotes"),
    ("guardrail_config: {guardrailVersion: latest}", "must be DRAFT or a version number"),
    (
        "guardrail_config: {guardrailVersion: 1.0}",
        "guardrailVersion: must be text: put it in quotes",
    ),
    ("guardrail_config: {trace: on}", "trace: must be one of 'enabled', 'disabled'"),
    ("guardrail_config: {streamProcessingMode: fast}", "must be one of 'sync' or 'async'"),
    (
        "additional_model_request_fields: [thinking]",
        "additional_model_request_fields: must be a map",
    ),
    (
        "additional_model_request_fields: {since: 2026-01-31}",
        "since is a date, which is not valid in JSON",
    ),
    ("additional_model_request_fields: {a: [{b: .nan}]}", "a[].b must be a finite number"),
    (
        "additional_model_response_field_paths: [stop]",
        "must be a JSON pointer such as /stop_sequence",
    ),
    ("system: [5]", "system[0]: must be text or a map"),
    ("output_config: json", "output_config: must be a map"),
]


@pytest.mark.parametrize(("parameter", "words"), WRONG)
def test_a_wrong_parameter_is_named_with_its_line(
    tmp_path: Path, parameter: str, words: str
) -> None:
    own = mistakes_of(tmp_path, f"  a:\n    model: {SONNET}\n    parameters:\n      {parameter}\n")
    fallback = f"    - model: {HAIKU}\n      parameters:\n        {parameter}\n"
    of_fallback = mistakes_of(tmp_path, f"  a:\n    model: {SONNET}\n    fallbacks:\n{fallback}")

    assert words in own
    assert own.startswith("dev.yaml:5: agents.a.parameters.")
    assert words in of_fallback
    assert of_fallback.startswith("dev.yaml:7: agents.a.fallbacks[0].parameters.")
    assert "banana" not in own


def test_nulls_set_nothing(tmp_path: Path) -> None:
    names = [n for n in Parameters.__annotations__ if n != "guard_last_turn_only"]
    given = ", ".join(f"{name}: null" for name in names)

    config = read(tmp_path, f"  a: {{model: {SONNET}, parameters: {{{given}}}}}")

    assert set(config.agent("a").parameters.values()) == {None}


@pytest.mark.parametrize(
    ("model", "parameter", "words"),
    [
        (
            OPUS,
            "{reasoning_effort: max}",
            "reasoning_effort: must be one of 'low', 'medium', 'high' for",
        ),
        (
            GPT_OSS,
            "{reasoning_effort: none}",
            "must be one of 'low', 'medium', 'high' for openai.gpt",
        ),
        (
            NOVA_2,
            "{additional_model_request_fields: {reasoningConfig: {type: enabled}}}",
            "reasoningConfig.maxReasoningEffort must be one of 'low', 'medium', 'high'",
        ),
        (
            NOVA_2,
            "{additional_model_request_fields: {reasoningConfig: {type: enabled, maxReasoningEffort: max}}}",
            "reasoningConfig.maxReasoningEffort must be one of",
        ),
    ],
)
def test_what_a_candidates_own_model_does_not_take_is_named(
    tmp_path: Path, model: str, parameter: str, words: str
) -> None:
    own = mistakes_of(tmp_path, f"  a: {{model: '{model}', parameters: {parameter}}}")
    fallback = f"{{model: '{model}', parameters: {parameter}}}"
    of_fallback = mistakes_of(tmp_path, f"  a: {{model: x.y, fallbacks: [{fallback}]}}")

    assert words in own
    assert own.startswith("dev.yaml:2: agents.a.parameters.")
    assert words in of_fallback
    assert of_fallback.startswith("dev.yaml:2: agents.a.fallbacks[0].parameters.")


def test_a_fallback_may_use_the_agents_guardrail(tmp_path: Path) -> None:
    agent = f"model: {SONNET}, parameters: {{guardrail_config: {{guardrailIdentifier: g}}}}"
    fallback = f"{{model: {HAIKU}, parameters: {{guard_last_turn_only: true}}}}"

    assert read(tmp_path, f"  a: {{{agent}, fallbacks: [{fallback}]}}")


def test_a_parameter_that_only_langchain_aws_refuses_names_model_and_key(
    configured: Configure, local_aws: LocalAWS, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", local_aws.url)  # of the control plane
    arn = "arn:aws:bedrock:us-east-1:111122223333:application-inference-profile/p"
    local_aws.inference_profile(arn, "anthropic.claude-opus-4-5-20251101-v1:0")
    config = configured(f"a: {{model: '{arn}', parameters: {{reasoning_effort: max}}}}")

    with pytest.raises(ConfigurationError) as caught:
        ManagedBedrockChat(agent_name="a", config=config).invoke("x")

    assert "parameters: not supported by this model" in str(caught.value)
    assert "111122223333" not in str(caught.value)
    assert "max" not in str(caught.value)
    assert local_aws.requests() == 0


def test_the_types_are_those_of_the_libraries_below() -> None:
    from langchain_aws import ChatBedrockConverse

    service: Any = botocore.session.get_session().get_service_model("bedrock-runtime")
    guardrail = service.shape_for("GuardrailStreamConfiguration")
    assert set(GuardrailParameter.__annotations__) == set(guardrail.members)
    for key in ("trace", "streamProcessingMode"):
        assert _literals(GuardrailParameter, key) == set(guardrail.members[key].metadata["enum"])
    latency = service.shape_for("PerformanceConfigLatency").metadata["enum"]
    assert _literals(PerformanceParameter, "latency") == set(latency)
    tiers = service.shape_for("ServiceTierType").metadata["enum"]
    assert _literals(Parameters, "service_tier") == set(tiers)
    metadata = service.shape_for("RequestMetadata").value.metadata
    assert metadata["pattern"] == r"[a-zA-Z0-9\s:_@$#=/+,-.]{0,256}"
    efforts = ChatBedrockConverse.model_fields["reasoning_effort"].annotation
    assert _literals(Parameters, "reasoning_effort") == _in_type(efforts)


def _literals(kind: Any, key: str) -> set[str]:
    return _in_type(typing.get_type_hints(kind, include_extras=True)[key])


def _in_type(kind: Any) -> set[str]:
    if typing.get_origin(kind) is typing.Literal:
        return set(typing.get_args(kind))
    return {text for inner in typing.get_args(kind) for text in _in_type(inner)}
