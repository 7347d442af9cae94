"""What the agents of a process share."""

from __future__ import annotations

import copy
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import boto3
import pytest

from langchain_modelmgr import (
    ConfigurationError,
    ConfigurationManager,
    ManagedBedrockChat,
    ModelManager,
)
from langchain_modelmgr.metrics import MemorySink
from langchain_modelmgr.usage.record import ModelUsageMetrics
from tests.models import HAIKU, OPUS, SONNET

if TYPE_CHECKING:
    from pathlib import Path

    from langchain_modelmgr.local import LocalAWS
    from tests.agents import Configure


AGENTS = f"""
sql_agent: {{model: "{SONNET}"}}
planner: {{model: "{OPUS}"}}
"""


def test_a_manager_is_always_a_new_one_and_a_configuration_keeps_its_own(
    configured: Configure,
) -> None:
    config = configured(AGENTS)

    first, second = ModelManager(config), ModelManager(config)
    one = ManagedBedrockChat(agent_name="planner", config=config)
    two = ManagedBedrockChat(agent_name="sql_agent", config=config)

    assert first is not second
    assert one.model_manager is two.model_manager
    assert one.model_manager not in (first, second)


def test_models_without_a_configuration_share_one_until_the_file_changes(
    configured: Configure, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    configured(AGENTS)
    monkeypatch.setenv("MODELMGR_CONFIG_DIR", str(tmp_path))
    monkeypatch.setenv("MODELMGR_ENV", "test")

    one = ManagedBedrockChat(agent_name="planner")
    two = ManagedBedrockChat(agent_name="planner", environment="test")
    file = tmp_path / "test.yaml"
    file.write_text(file.read_text().replace(OPUS, HAIKU))
    edited = ManagedBedrockChat(agent_name="planner")

    assert one.model_manager is two.model_manager
    assert edited.model_manager is not one.model_manager
    assert edited.invoke("x").response_metadata["model_name"] == HAIKU


def test_all_models_share_clients_and_accounts(configured: Configure) -> None:
    with ModelManager(configured(AGENTS)) as manager:
        manager.chat_model("planner").invoke("x")
        client = manager.clients.runtime()
        manager.chat_model("sql_agent", temperature=0.5).invoke("x")

        assert manager.clients.runtime() is client
        assert manager.get_usage_summary()["total_invocations"] == 2
        assert copy.deepcopy(manager) is manager


def test_a_session_of_the_users_own_is_used(configured: Configure, local_aws: LocalAWS) -> None:
    session = boto3.Session(
        aws_access_key_id="AKIDOFTHEUSER", aws_secret_access_key="s", region_name="eu-west-1"
    )
    config = configured(AGENTS)

    ModelManager(config, region="eu-central-1", session=session).chat_model("planner").invoke("x")

    authorization = local_aws.calls()[0].headers["Authorization"]
    assert "AKIDOFTHEUSER" in authorization
    assert "/eu-central-1/bedrock/" in authorization


def test_a_fallback_of_another_region_is_called_there(
    configured: Configure, local_aws: LocalAWS
) -> None:
    config = configured(f"""
    a: {{model: "{SONNET}", fallbacks: [{{model: "{SONNET}", region: us-west-2}}]}}
    """)
    local_aws.fail(SONNET, "ThrottlingException", times=1)

    ManagedBedrockChat(agent_name="a", config=config).invoke("x")

    regions = [c.headers["Authorization"].split("/")[2] for c in local_aws.calls()]
    assert regions == ["us-east-1", "us-west-2"]


def test_no_region_is_a_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    (tmp_path / "test.yaml").write_text(
        f"metrics: {{sink: none}}\nagents: {{a: {{model: '{SONNET}'}}}}"
    )
    config = ConfigurationManager("test", tmp_path)

    with pytest.raises(ConfigurationError, match=r"no AWS region is configured: set aws\.region"):
        ManagedBedrockChat(agent_name="a", config=config).invoke("x")


def test_an_invalid_region_in_the_environment_is_a_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us east")
    (tmp_path / "test.yaml").write_text(
        f"metrics: {{sink: none}}\nagents: {{a: {{model: '{SONNET}'}}}}"
    )

    with pytest.raises(ConfigurationError, match=r"'us east' doesn't match .* AWS_DEFAULT_REGION"):
        ManagedBedrockChat(agent_name="a", config=ConfigurationManager("test", tmp_path)).invoke(
            "x"
        )


def test_an_unknown_profile_is_a_clear_error(configured: Configure, tmp_path: Path) -> None:
    (tmp_path / "test.yaml").write_text(
        f"aws: {{profile: nobody}}\nmetrics: {{sink: none}}\nagents: {{a: {{model: '{SONNET}'}}}}"
    )

    with pytest.raises(ConfigurationError, match=r"aws\.profile.*nobody"):
        ManagedBedrockChat(agent_name="a", config=ConfigurationManager("test", tmp_path)).invoke(
            "x"
        )


def test_the_family_rule_is_the_fallback_of_an_agent_that_names_none(
    configured: Configure, local_aws: LocalAWS
) -> None:
    config = configured(f"a: {{model: 'eu.{SONNET}'}}\nb: {{model: '{SONNET}', fallbacks: []}}")
    local_aws.fail(f"eu.{SONNET}", "ThrottlingException", times=1)

    by_rule = ManagedBedrockChat(agent_name="a", config=config).invoke("x")
    alone = ModelManager(config).chat_model("b")

    assert by_rule.response_metadata["model_name"] == f"eu.{HAIKU}"
    assert len(alone._agent().chain().candidates) == 1


def test_an_unpriced_model_is_warned_about_once(
    configured: Configure, caplog: pytest.LogCaptureFixture
) -> None:
    sink = MemorySink()
    manager = ModelManager(
        configured("a: {model: acme.unheard-of-v1:0, fallbacks: []}"), sinks=[sink]
    )

    manager.chat_model("a").invoke("x")
    reply = manager.chat_model("a").invoke("x")

    assert reply.response_metadata["model_manager"]["cost_usd"] is None
    assert sum("the price of acme.unheard-of-v1:0 is unknown" in m for m in caplog.messages) == 1
    assert manager.get_usage_summary()["unpriced_invocations"] == 2


def test_a_closed_manager_delivers_and_works_again(configured: Configure) -> None:
    manager = ModelManager(configured(AGENTS))

    with manager:
        manager.chat_model("planner").invoke("x")
        manager.flush_metrics(timeout=1)

    assert manager.chat_model("planner").invoke("x").text
    assert "AKIA" not in repr(manager)
    assert manager.clients.region == "us-east-1"


def test_many_configurations_are_not_all_kept(
    configured: Configure, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MODELMGR_CONFIG_DIR", str(tmp_path))
    managers = []
    for i in range(20):
        configured(AGENTS, f"project_prefix: p{i}")
        managers.append(ManagedBedrockChat(agent_name="planner", environment="test").model_manager)

    assert len(set(map(id, managers))) == 20


def test_an_arn_that_hides_its_model_is_known_by_base_model_without_a_call(
    configured: Configure, local_aws: LocalAWS
) -> None:
    arn = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc"
    report = configured(
        f"a: {{model: '{arn}', fallbacks: []}}", f"models: {{'{arn}': {{base_model: {OPUS}}}}}"
    )

    reply = ManagedBedrockChat(agent_name="a", config=report).invoke("x")

    assert reply.response_metadata["model_name"] == arn
    assert [c.operation for c in local_aws.calls()] == ["Converse"]


def test_memory_for_ever_new_models_is_bounded(configured: Configure) -> None:
    manager = ModelManager(configured("a: {model: acme.own, fallbacks: []}"), sinks=[])
    totals = manager.totals
    own = manager.catalog.resolve("acme.own")

    for n in range(1_100):
        model = replace(own, model_id=f"acme.m{n}")
        totals.input_pico_usd(model)
        totals.add(
            ModelUsageMetrics("a", model.model_id, datetime.now(UTC), 1, 1, 1.0, success=True)
        )

    assert len(totals._pico_per_token) <= 1_024
    assert len(totals._unpriced) <= 1_024
