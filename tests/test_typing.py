"""What type checkers accept: mypy checks this file with all others, and pyright agrees with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, assert_type, get_args

import pytest
from langchain_core.messages import AIMessage

import langchain_modelmgr
from langchain_modelmgr import (
    ConfigurationError,
    ManagedBedrockChat,
    ModelManager,
    UsageTable,
    UsageTrack,
)
from langchain_modelmgr.local import LocalAWS
from langchain_modelmgr.usage.summary import _CountKey, _FloatKey

if TYPE_CHECKING:
    from tests.agents import Configure

AGENT = "sql_agent: {model: amazon.nova-micro-v1:0, fallbacks: []}"


def test_type_checkers_know_the_fields_of_a_chat_model(configured: Configure) -> None:
    config = configured(AGENT)

    llm = ManagedBedrockChat("sql_agent", config=config, stop_sequences=["\n"])
    named = ManagedBedrockChat(agent_name="sql_agent", config=config, stop=["\n"], temperature=0)

    assert_type(llm.stop_sequences, list[str] | None)
    assert llm.stop_sequences == named.stop_sequences == ["\n"]
    assert_type(named.temperature, float | None)
    assert_type(llm.model_manager, ModelManager)


def test_type_checkers_know_the_fields_of_a_managers_chat_model(configured: Configure) -> None:
    with ModelManager(configured(AGENT), sinks=[]) as manager:
        llm = manager.chat_model("sql_agent", temperature=0, stop=["\n"], max_tokens=10)

    assert_type(llm, ManagedBedrockChat)
    assert (llm.temperature, llm.stop_sequences, llm.max_tokens) == (0, ["\n"], 10)


def test_type_checkers_refuse_a_field_that_does_not_exist(configured: Configure) -> None:
    with pytest.raises(ConfigurationError, match="has no field 'temprature'"):
        ManagedBedrockChat(
            "sql_agent",
            config=configured(AGENT),
            temprature=0,  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
        )


def test_type_checkers_know_the_results_of_calls(configured: Configure) -> None:
    with ModelManager(configured(AGENT), sinks=[]) as manager:
        llm = manager.chat_model("sql_agent")
        with manager.track() as track:
            answer = llm.invoke("ready?")

    assert_type(answer, AIMessage)
    assert_type(track, UsageTrack)
    assert answer.content


def test_type_checkers_know_a_managers_usage_types(configured: Configure) -> None:
    with LocalAWS.running() as aws, ModelManager(configured(AGENT), sinks=[]) as manager:
        summary = manager.get_usage_summary()
        table = manager.usage("today")
        checks = manager.check_chains()

    assert_type(summary["metrics"], dict[str, Any])
    assert_type(summary["unconfirmed_usd"], float)
    assert list(summary.to_pandas().columns)[:2] == ["agent", "model"]
    assert_type(aws, LocalAWS)
    assert_type(summary["by_agent"]["a"]["calls"] if summary["calls"] else 0, int)
    assert_type([row["model"] for row in summary["by_agent_and_model"]], list[str])
    assert_type(table, UsageTable)
    assert_type([check.ok for check in checks], list[bool])
    assert len(checks) == 1


def test_type_checkers_know_every_key_of_the_summary(configured: Configure) -> None:
    with ModelManager(configured(AGENT), sinks=[]) as manager:
        summary = manager.get_usage_summary()

    known = {*get_args(_CountKey), *get_args(_FloatKey), "by_agent", "by_model"}
    assert summary.keys() == known | {"by_agent_and_model", "metrics"}
    with pytest.raises(KeyError):
        summary["cals"]  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]


def test_type_checkers_know_the_public_names_that_are_imported_lazily() -> None:
    assert_type(langchain_modelmgr.__version__, str)
    assert issubclass(langchain_modelmgr.BedrockRateLimitError, langchain_modelmgr.BedrockError)
