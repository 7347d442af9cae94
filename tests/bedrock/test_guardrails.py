"""One guardrail serves whole answers and streams, however its version is written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from langchain_modelmgr import ConfigurationError, ManagedBedrockChat, ModelManager
from tests.agents import count_pallets
from tests.models import HAIKU, SONNET

if TYPE_CHECKING:
    from langchain_modelmgr.local import LocalAWS
    from tests.agents import Configure

LLAMA = "us.meta.llama3-3-70b-instruct-v1:0"
WHOLE = {"guardrailIdentifier": "g1", "guardrailVersion": "1"}
STREAMED = {**WHOLE, "streamProcessingMode": "async"}
FORMS = [
    "{guardrailIdentifier: g1, guardrailVersion: '1', streamProcessingMode: async}",
    "{guardrailIdentifier: g1, guardrailVersion: 1, streamProcessingMode: async}",
    "{guardrail_identifier: g1, guardrail_version: 1, stream_processing_mode: async}",
]


def agent(guardrail: str, model: str = SONNET) -> str:
    return f"a: {{model: '{model}', fallbacks: ['{HAIKU}'], parameters: {{guardrail_config: {guardrail}}}}}"


def sent(local_aws: LocalAWS) -> list[Any]:
    return [call.body["guardrailConfig"] for call in local_aws.calls()]


@pytest.mark.parametrize("guardrail", FORMS)
def test_one_yaml_serves_invoke_and_stream(
    configured: Configure, local_aws: LocalAWS, guardrail: str
) -> None:
    config = configured(agent(guardrail))
    llm = ManagedBedrockChat(agent_name="a", config=config)
    question = [{"role": "user", "content": [{"text": "x"}]}]

    llm.invoke("x")
    list(llm.stream("x"))
    with ModelManager(config) as manager:
        manager.invoke_model("a", question)
        list(manager.stream_model("a", question))

    assert sent(local_aws) == [WHOLE, STREAMED, WHOLE, STREAMED]


def test_a_model_that_answers_whole_gets_what_converse_takes(
    configured: Configure, local_aws: LocalAWS
) -> None:
    llm = ManagedBedrockChat(agent_name="a", config=configured(agent(FORMS[0], LLAMA)))

    list(llm.bind_tools([count_pallets]).stream("x"))

    assert local_aws.calls()[0].operation == "Converse"
    assert sent(local_aws) == [WHOLE]


@pytest.mark.parametrize("name", ["guardrail_config", "guardrailConfig"])
@pytest.mark.parametrize("version", [1, "1"])
def test_a_calls_own_guardrail_is_taken_the_same_way(
    configured: Configure, local_aws: LocalAWS, name: str, version: Any
) -> None:
    llm = ManagedBedrockChat(agent_name="a", config=configured(f"a: {{model: '{SONNET}'}}"))
    guardrail: Any = {**STREAMED, "guardrailVersion": version}
    keyword: dict[str, Any] = {name: guardrail}

    llm.invoke("x", **keyword)
    list(llm.stream("x", **keyword))

    assert sent(local_aws) == [WHOLE, STREAMED]
    assert guardrail["guardrailVersion"] is version


def test_a_fallback_gets_the_agents_guardrail_and_may_repeat_it(
    configured: Configure, local_aws: LocalAWS
) -> None:
    fallback = f"{{model: '{HAIKU}', parameters: {{guardrail_config: {FORMS[2]}}}}}"
    config = configured(
        f"a: {{model: '{SONNET}', fallbacks: [{fallback}], parameters: {{guardrail_config: {FORMS[1]}}}}}"
    )
    local_aws.fail(SONNET, "ThrottlingException", times=2)
    llm = ManagedBedrockChat(agent_name="a", config=config)

    llm.invoke("x")
    list(llm.stream("x"))

    assert sent(local_aws) == [WHOLE, WHOLE, STREAMED, STREAMED]


def test_an_identifier_without_quotes_is_named_with_its_line(configured: Configure) -> None:
    with pytest.raises(
        ConfigurationError,
        match=r"test\.yaml:\d+: agents\.a\.parameters\.guardrail_config\.guardrailIdentifier: must be "
        "text: put it in quotes",
    ):
        configured(agent("{guardrailIdentifier: 123456789012, guardrailVersion: 1}"))
