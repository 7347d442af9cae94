"""What a chat model's profile promises: what every model of its chain can do."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest

from langchain_modelmgr import ManagedBedrockChat
from langchain_modelmgr.catalog import ModelCatalog
from langchain_modelmgr.catalog.profiles import chain_profile
from langchain_modelmgr.catalog.shipped import installed_profiles
from tests.models import SONNET

if TYPE_CHECKING:
    from tests.agents import Configure

SONNET_46 = "anthropic.claude-sonnet-4-6"
NOVA = "amazon.nova-lite-v1:0"
MODEST = "amazon.nova-micro-v1:0"


def profile_of(configured: Configure, *models: str) -> dict[str, Any]:
    primary, *fallbacks = models
    config = configured(f"a: {{model: '{primary}', fallbacks: {fallbacks}}}")
    profile = ManagedBedrockChat(agent_name="a", config=config).profile
    assert profile is not None
    return dict(profile)


def test_a_profile_has_the_keys_that_chatbedrockconverses_has(
    caplog: pytest.LogCaptureFixture,
) -> None:
    from langchain_aws import ChatBedrockConverse

    caplog.set_level(logging.ERROR)
    catalog = ModelCatalog()
    for model_id in installed_profiles():
        client: Any = object()
        plain = ChatBedrockConverse(model_id=model_id, client=client, bedrock_client=client)

        ours = chain_profile([catalog.resolve(model_id)])

        assert plain.profile
        assert set(plain.profile) <= set(ours), model_id
        assert ours["name"] == plain.profile["name"]


def test_a_profile_of_a_model_that_langchain_aws_does_not_list_has_them_too(
    configured: Configure,
) -> None:
    listed = set(profile_of(configured, SONNET_46))

    unlisted = profile_of(configured, SONNET)

    dated = {"name", "release_date", "last_updated", "open_weights", "reasoning_effort_levels"}
    media = {"image_tool_message", "pdf_tool_message"}
    assert listed - set(unlisted) <= dated | media
    assert (unlisted["attachment"], unlisted["reasoning_output"]) == (True, False)


@pytest.mark.parametrize("key", ["image_inputs", "pdf_inputs", "attachment", "image_tool_message"])
def test_a_profile_promises_only_what_each_model_can(configured: Configure, key: str) -> None:
    assert profile_of(configured, SONNET_46, NOVA)[key] is True
    assert profile_of(configured, SONNET_46, NOVA, MODEST)[key] is False


def test_a_profile_merges_limits_efforts_and_names(configured: Configure) -> None:
    alone = profile_of(configured, SONNET_46)
    chained = profile_of(configured, SONNET_46, NOVA)

    assert alone["reasoning_effort_levels"] == ["low", "medium", "high", "max"]
    assert chained["reasoning_effort_levels"] == []
    assert (alone["reasoning_output"], chained["reasoning_output"]) == (True, False)
    assert chained["max_input_tokens"] == 300_000 < alone["max_input_tokens"]
    assert chained["max_output_tokens"] < alone["max_output_tokens"]
    assert (chained["name"], chained["release_date"]) == (alone["name"], alone["release_date"])


def test_the_yamls_facts_of_a_model_are_in_its_profile(configured: Configure) -> None:
    config = configured(
        f"a: {{model: '{SONNET_46}', fallbacks: []}}",
        f"models: {{'{SONNET_46}': {{supports_images: false, max_tokens: 7}}}}",
    )

    profile = ManagedBedrockChat(agent_name="a", config=config).profile

    assert profile is not None
    assert (profile["image_inputs"], profile["max_output_tokens"]) == (False, 7)
