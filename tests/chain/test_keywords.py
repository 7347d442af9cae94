"""A call's keywords are known, or the error says which was meant; before anything is sent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from langchain_modelmgr import ConfigurationError, ManagedBedrockChat, ModelManager
from langchain_modelmgr.errors import BedrockInvalidRequestError
from tests.models import HAIKU, SONNET

if TYPE_CHECKING:
    from langchain_modelmgr.local import LocalAWS
    from tests.agents import Configure

GUARDRAIL = {"guardrailIdentifier": "abc123", "guardrailVersion": "1"}


@pytest.fixture
def manager(configured: Configure) -> ModelManager:
    return ModelManager(configured(f"a: {{model: '{SONNET}', fallbacks: ['{HAIKU}']}}"), sinks=[])


@pytest.fixture
def llm(manager: ModelManager) -> ManagedBedrockChat:
    return manager.chat_model("a")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"temprature": 1}, "unknown request field 'temprature'; did you mean 'temperature'?"),
        ({"model_id": HAIKU}, "unknown request field 'model_id'; did you mean 'model'?"),
        ({"toolChoise": "any"}, "unknown request field 'toolChoise'; did you mean 'tool_choice'?"),
        ({"max_tokens": 0}, "max_tokens must be 1 or more"),
        ({"timeout": -1}, "timeout must be more than 0"),
        ({"max_tokens": "100"}, "max_tokens must be a whole number, got str"),
        ({"max_tokens": 100.0}, "max_tokens must be a whole number, got float"),
        ({"max_tokens": True}, "max_tokens must be a whole number, got bool"),
        ({"temperature": "0.5"}, "temperature must be a number, got str"),
        ({"timeout": "10"}, "timeout must be a number, got str"),
        ({"model": ["x"]}, "model must be a model id, got list"),
        ({"stop_sequences": "END"}, "stop_sequences must be a list of strings, got str"),
        ({"stop_sequences": ["END", 7]}, "stop_sequences must be a list of strings, got int"),
        (
            {"additional_model_request_fields": "thinking"},
            "additional_model_request_fields must be a map, got str",
        ),
        ({"guardrailConfig": "abc123"}, "guardrail_config must be a map, got str"),
        ({"reasoning_effort": 3}, "reasoning_effort must be a string, got int"),
    ],
)
def test_a_wrong_keyword_raises_in_both_interfaces_and_nothing_is_sent(
    manager: ModelManager,
    llm: ManagedBedrockChat,
    local_aws: LocalAWS,
    given: dict[str, Any],
    said: str,
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        llm.bind(**given).invoke("x")
    assert str(caught.value) == f"agent 'a': {said}"

    with pytest.raises(ConfigurationError) as caught:
        manager.invoke_model("a", [{"role": "user", "content": [{"text": "x"}]}], **given)
    assert str(caught.value) == f"invoke_model: {said}"
    assert local_aws.requests() == 0


def test_langchains_own_keywords_are_refused_by_invoke_model(manager: ModelManager) -> None:
    with pytest.raises(ConfigurationError, match="unknown request field 'strict'"):
        manager.invoke_model("a", [{"role": "user", "content": [{"text": "x"}]}], strict=True)


@pytest.mark.parametrize("name", ["guardrail_config", "guardrailConfig"])
def test_bedrocks_own_spelling_reaches_the_wire_too(
    llm: ManagedBedrockChat, local_aws: LocalAWS, name: str
) -> None:
    llm.bind(**{name: GUARDRAIL}).invoke("x")

    assert local_aws.calls(SONNET)[0].body["guardrailConfig"] == GUARDRAIL


def test_an_error_for_a_value_that_botocore_rejects_names_its_place_only(
    llm: ManagedBedrockChat,
) -> None:
    with pytest.raises(
        BedrockInvalidRequestError,
        match=r"\(a value of type list; give str\): Invalid type for parameter requestMetadata\.k$",
    ) as caught:
        llm.invoke("x", request_metadata={"k": ["s3cret"]})

    assert "s3cret" not in str(caught.value)


def test_stop_sequences_are_texts_in_langchains_own_argument_too(llm: ManagedBedrockChat) -> None:
    wrong: Any = "END"

    with pytest.raises(
        ConfigurationError, match="stop_sequences must be a list of strings, got str"
    ):
        llm.invoke("x", stop=wrong)
