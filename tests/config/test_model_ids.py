"""A typo in a model id is an error when the YAML is read; a new version of a model is not."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from langchain_modelmgr import ConfigurationError, ModelCompatibilityError, ModelManager
from langchain_modelmgr.chain.builder import Overrides
from langchain_modelmgr.errors import BedrockError
from tests.models import HAIKU, SONNET

if TYPE_CHECKING:
    from langchain_modelmgr.local import LocalAWS
    from tests.agents import Configure

ARN = "arn:aws:bedrock:us-east-1:123456789012:"


@pytest.mark.parametrize(
    ("model", "meant"),
    [
        ("anthropic.claude-3-5-haku-20241022-v1:0", HAIKU),
        ("anthropic.claude-3-5-hai1u-20241022-v1:0", HAIKU),
        ("anthropic.claude-3-5-hiaku-20241022-v1:0", HAIKU),
        ("anthropic.claude-3-5-haikuu-20241022-v1:0", HAIKU),
        ("antropic.claude-3-5-haiku-20241022-v1:0", HAIKU),
        ("Anthropic.claude-3-5-haiku-20241022-v1:0", HAIKU),
        ("us.anthropic.claude-sonet-4-6", "us.anthropic.claude-sonnet-4-6"),
        ("uss.anthropic.claude-sonnet-4-6", "us.anthropic.claude-sonnet-4-6"),
        ("amazon.nova-lit-v1:0", "amazon.nova-lite-v1:0"),
        (f"{ARN}inference-profile/us.anthropic.claude-sonet-4-6", "us.anthropic.claude-sonnet-4-6"),
    ],
)
def test_an_id_that_is_a_letter_away_from_a_known_one_is_an_error(
    configured: Configure, model: str, meant: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        configured(f"a: {{model: '{model}'}}\nb: {{model: '{SONNET}', fallbacks: ['{model}']}}")

    first, second = str(caught.value).splitlines()
    assert f"agents.a.model: unknown model id; did you mean {meant!r}?" in first
    assert "agents.b.fallbacks[0].model: unknown model id; did you mean" in second
    assert "describe a new model under models:" in first
    assert "123456789012" not in str(caught.value)


@pytest.mark.parametrize(
    "model",
    ["haiku", "claude-3-5-haiku-20241022-v1:0", "us.haiku", "anthropic.", ".nova"],
)
def test_an_id_without_a_provider_is_an_error(configured: Configure, model: str) -> None:
    with pytest.raises(
        ConfigurationError, match=r"agents\.a\.model: not a valid model id: it must start"
    ):
        configured(f"a: {{model: '{model}'}}")


@pytest.mark.parametrize(
    ("agents", "more", "path"),
    [
        ("default_model: haiku\na: {}", "", "agents.default_model"),
        (f"a: {{model: '{SONNET}', fallbacks: [{{model: '{ARN}x/y', base_model: haiku}}]}}", "",
         "agents.a.fallbacks[0].model"),
        (f"a: {{model: '{ARN}x/y'}}", f"models: {{'{ARN}x/y': {{base_model: haiku}}}}",
         f"models.{ARN}x/y.base_model"),
        (f"a: {{model: '{SONNET}'}}", f"models: {{'{SONNET}': {{falls_back_to: haiku}}}}",
         f"models.{SONNET}.falls_back_to"),
    ],
)  # fmt: skip
def test_every_place_that_names_a_model_is_looked_at(
    configured: Configure, agents: str, more: str, path: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        configured(agents, more)

    assert f"{path}: not a valid model id" in str(caught.value)


@pytest.mark.parametrize(
    "model",
    [
        "anthropic.claude-3-5-haiku-20261022-v1:0",
        "us.anthropic.claude-sonnet-4-9",
        "anthropic.claude-haiku-55",
        "meta.llama9-70b-instruct-v1:0",
        "acme.unheard-of",
    ],
)
def test_a_new_version_works_with_a_warning_and_without_an_unnamed_fallback(
    configured: Configure, caplog: pytest.LogCaptureFixture, model: str
) -> None:
    manager = ModelManager(configured(f"a: {{model: '{model}'}}"), sinks=[])

    with caplog.at_level(logging.WARNING):
        reply = manager.chat_model("a").invoke("x")

    assert reply.response_metadata["model_name"] == model
    assert len(manager.chains.chain("a", Overrides()).candidates) == 1
    assert "its price is unknown, and its capabilities are assumed" in caplog.text
    (member,) = manager.check_chains()
    assert any(w.startswith("not in the catalog") for w in member.warnings)


def test_a_model_under_models_is_not_a_typo_and_has_a_fallback(configured: Configure) -> None:
    typo = "anthropic.claude-3-5-haku-20241022-v1:0"
    own = "q7zr2m4kx0bd"  # what Bedrock calls a custom model's deployment
    config = configured(
        f"a: {{model: '{typo}'}}\nb: {{model: {own}, fallbacks: []}}",
        f"models:\n  '{typo}': {{supports_tools: true}}\n  {own}: {{base_model: '{HAIKU}'}}",
    )

    assert config.catalog.fallback_for(typo) is not None
    assert config.catalog.resolve(own).base_model_id == HAIKU


ONLY_RESPONSES = "Model is not served by the Converse API, only by Responses"


@pytest.mark.parametrize(
    ("model", "apis"),
    [
        ("openai.gpt-5.4", "Responses"),
        ("us.openai.gpt-5.5", "Responses"),
        ("google.gemma-4-31b", "Chat Completions and Responses"),
        (
            "openai.gpt-oss-120b",
            "Chat Completions and Responses; did you mean 'openai.gpt-oss-120b-1:0'?",
        ),
        ("qwen.qwen3-32b", "Chat Completions and Responses; did you mean 'qwen.qwen3-32b-v1:0'?"),
        ("xai.grok-4.3", "Chat Completions and Responses"),
        ("anthropic.claude-haiku-4-5", "Chat Completions and Responses"),
        (f"{ARN}inference-profile/us.openai.gpt-5.4", "Responses"),
    ],
)
def test_a_model_that_converse_does_not_serve_is_an_error(
    configured: Configure, model: str, apis: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        configured(f"a: {{model: '{SONNET}', fallbacks: ['{model}']}}")

    expected = (
        f"agents.a.fallbacks[0].model: Model is not served by the Converse API, only by {apis}"
    )
    assert expected in str(caught.value)


def test_converse_serves_what_models_says_it_does(configured: Configure) -> None:
    own = "models: {openai.gpt-oss-20b: {served_by: [converse]}}"
    config = configured("a: {model: openai.gpt-oss-20b, fallbacks: []}", own)
    manager = ModelManager(config, sinks=[])

    assert all(member.ok for member in manager.check_chains())
    assert manager.validate_model_compatibility("openai.gpt-oss-20b") == (True, None)


def test_the_local_aws_refuses_what_converse_does_not_serve(
    configured: Configure, local_aws: LocalAWS
) -> None:
    own = "models: {openai.gpt-5.4: {served_by: [converse]}}"
    manager = ModelManager(configured("a: {model: openai.gpt-5.4, fallbacks: []}", own), sinks=[])

    with pytest.raises(BedrockError, match="This action doesn't support the model"):
        manager.chat_model("a").invoke("x")


def test_a_models_own_api_is_a_matter_of_compatibility_too(configured: Configure) -> None:
    manager = ModelManager(configured(f"a: {{model: '{SONNET}', fallbacks: []}}"), sinks=[])

    assert manager.validate_model_compatibility("openai.gpt-5.4") == (False, ONLY_RESPONSES)
    with pytest.raises(ModelCompatibilityError, match="only by Responses"):
        manager.chat_model("a").invoke("x", model="openai.gpt-5.4")
