"""ManagedBedrockChat as a LangChain chat model."""

from __future__ import annotations

import copy
import functools
import inspect
import json
import operator
import pickle
import time
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.rate_limiters import InMemoryRateLimiter
from langchain_core.runnables import ConfigurableField

from langchain_modelmgr import (
    ConfigurationError,
    ManagedBedrockChat,
    ModelManager,
)
from langchain_modelmgr.local import ScriptedReply
from langchain_modelmgr.metrics import MemorySink
from tests.agents import count_pallets
from tests.models import HAIKU, LLAMA, OPUS, SONNET

if TYPE_CHECKING:
    from langchain_modelmgr.local import LocalAWS
    from tests.agents import Configure


AGENTS = f"""
sql_agent: {{model: "{SONNET}", fallbacks: ["{HAIKU}"]}}
planner: {{model: "{OPUS}"}}
"""


@pytest.fixture
def llm(configured: Configure) -> ManagedBedrockChat:
    return ManagedBedrockChat(agent_name="sql_agent", config=configured(AGENTS))


def test_an_answer_says_how_it_came_about(llm: ManagedBedrockChat, local_aws: LocalAWS) -> None:
    local_aws.fail(SONNET, "ThrottlingException", times=1)

    reply = llm.invoke("how many pallets?")

    report = json.loads(json.dumps(reply.response_metadata["model_manager"]))
    assert reply.response_metadata["model_name"] == HAIKU
    assert report["agent_name"] == "sql_agent"
    assert (report["model_id"], report["fallback_used"], report["cached"]) == (HAIKU, True, False)
    assert [(a["model_id"], a["error"]) for a in report["attempts"]] == [
        (SONNET, "BedrockRateLimitError"),
        (HAIKU, None),
    ]
    assert all(a["request_id"] for a in report["attempts"])
    assert report["latency_ms"] >= report["attempts"][1]["latency_ms"] > 0
    assert float(report["cost_usd"]) > 0
    assert report["skipped"] == []


def test_only_what_was_set_is_sent(configured: Configure, local_aws: LocalAWS) -> None:
    config = configured(f"""
    bare: {{model: "{SONNET}"}}
    full: {{model: "{SONNET}", max_tokens: 100, temperature: 0.5, parameters: {{top_p: 0.9}}}}
    """)

    ManagedBedrockChat(agent_name="bare", config=config).invoke("x")
    ManagedBedrockChat(agent_name="full", config=config).invoke("x")
    ManagedBedrockChat(
        agent_name="full",
        config=config,
        max_tokens=7,
        temperature=0.1,
        top_p=0.2,
        stop=["END"],  # the alias, which pydantic's plugin hides
    ).invoke("x")

    bare, full, over = (call.body for call in local_aws.calls(SONNET))
    assert not bare.get("inferenceConfig")
    assert full["inferenceConfig"] == {"maxTokens": 100, "temperature": 0.5, "topP": 0.9}
    assert over["inferenceConfig"] == {
        "maxTokens": 7,
        "temperature": 0.1,
        "topP": 0.2,
        "stopSequences": ["END"],
    }


def test_max_tokens_is_capped_at_each_models_limit(
    configured: Configure, local_aws: LocalAWS
) -> None:
    config = configured(f"a: {{model: '{SONNET}', fallbacks: ['{LLAMA}'], max_tokens: 6000}}")
    local_aws.fail(SONNET, "ThrottlingException", times=2)
    llm = ManagedBedrockChat(agent_name="a", config=config)

    llm.invoke("x")
    llm.invoke("x", max_tokens=9000)

    sent = [call.body["inferenceConfig"]["maxTokens"] for call in local_aws.calls()]
    assert sent == [6000, 2048, 8192, 2048]


def test_a_calls_own_model_replaces_the_primary(
    llm: ManagedBedrockChat, local_aws: LocalAWS
) -> None:
    reply = llm.invoke("x", model=OPUS)

    assert reply.response_metadata["model_name"] == OPUS
    assert local_aws.requests(SONNET) == 0
    assert OPUS in llm.model_manager.get_usage_summary()["by_model"]


def test_a_profile_promises_what_each_model_can(configured: Configure) -> None:
    config = configured(f"a: {{model: '{SONNET}', fallbacks: ['{LLAMA}']}}\nb: {{model: '{OPUS}'}}")

    both = ManagedBedrockChat(agent_name="a", config=config).profile
    alone = ManagedBedrockChat(agent_name="a", config=config, use_fallback=False).profile

    assert both is not None
    assert alone is not None
    assert (both["tool_calling"], both["max_input_tokens"]) == (False, 8192)
    assert (alone["tool_calling"], alone["max_input_tokens"]) == (True, 200_000)


def test_an_own_profile_is_kept(configured: Configure) -> None:
    llm = ManagedBedrockChat(
        agent_name="planner", config=configured(AGENTS), profile={"max_input_tokens": 5}
    )

    assert llm.model_copy(update={"agent_name": "sql_agent"}).profile == {"max_input_tokens": 5}


def test_an_unknown_agent_is_an_error_when_the_model_is_made(configured: Configure) -> None:
    with pytest.raises(ConfigurationError, match="sql_agent"):
        ManagedBedrockChat(agent_name="sql_agnet", config=configured(AGENTS))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("temprature", "did you mean 'temperature'?"),
        ("region_name", "in the YAML, use aws.region"),
        ("aws_secret_access_key", "in the YAML, use aws.profile, or leave credentials"),
    ],
)
def test_an_unknown_field_is_an_error_that_says_what_is_right_and_not_its_value(
    configured: Configure, name: str, said: str
) -> None:
    given: dict[str, Any] = {name: "s3cret"}

    with pytest.raises(ConfigurationError, match=f"no field '{name}'") as caught:
        ManagedBedrockChat(agent_name="planner", config=configured(AGENTS), **given)

    assert said in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_a_field_of_the_wrong_type_is_not_quoted(configured: Configure) -> None:
    given: dict[str, Any] = {"temperature": "s3cret"}

    with pytest.raises(ValueError, match="temperature") as caught:
        ManagedBedrockChat(agent_name="planner", config=configured(AGENTS), **given)

    assert "s3cret" not in str(caught.value)


def test_a_copy_for_another_agent_is_resolved_again(llm: ManagedBedrockChat) -> None:
    other = llm.model_copy(update={"agent_name": "planner"})

    assert other.invoke("x").response_metadata["model_name"] == OPUS
    assert other.model_manager is llm.model_manager
    assert other.profile is not None
    assert other.profile["max_output_tokens"] == 4096
    assert llm.invoke("x").response_metadata["model_name"] == SONNET
    with pytest.raises(ConfigurationError):
        llm.model_copy(update={"agent_name": "nobody"})


def test_a_deep_copy_shares_its_manager(llm: ManagedBedrockChat) -> None:
    copied = copy.deepcopy(llm)

    assert copied.invoke("x").text
    assert copied.model_manager is llm.model_manager


def test_a_pickle_works_and_contains_no_credentials(llm: ManagedBedrockChat) -> None:
    llm.invoke("x")

    data = pickle.dumps(llm)
    loaded = pickle.loads(data)  # noqa: S301
    again = pickle.loads(data)  # noqa: S301

    assert loaded.invoke("x").response_metadata["model_name"] == SONNET
    assert b"AKIA" not in data
    assert loaded.model_manager is again.model_manager


def test_a_pickle_of_a_model_with_a_shared_manager_works(configured: Configure) -> None:
    with ModelManager(configured(AGENTS)) as manager:
        loaded = pickle.loads(pickle.dumps(manager.chat_model("planner")))  # noqa: S301

    assert loaded.invoke("x").response_metadata["model_name"] == OPUS


def test_configurable_fields_rebuild_the_model(llm: ManagedBedrockChat) -> None:
    configurable = llm.configurable_fields(agent_name=ConfigurableField(id="agent"))

    planner = configurable.invoke("x", {"configurable": {"agent": "planner"}})
    sql = configurable.invoke("x")

    assert planner.response_metadata["model_name"] == OPUS
    assert sql.response_metadata["model_name"] == SONNET


def test_configurable_alternatives_choose_a_model(llm: ManagedBedrockChat) -> None:
    planner = llm.model_copy(update={"agent_name": "planner"})
    either = llm.configurable_alternatives(ConfigurableField(id="who"), planner=planner)

    reply = either.invoke("x", {"configurable": {"who": "planner"}})

    assert reply.response_metadata["model_name"] == OPUS


def test_langchains_own_fallbacks_and_retries_go_around_it(
    llm: ManagedBedrockChat, local_aws: LocalAWS
) -> None:
    local_aws.fail(SONNET, "AccessDeniedException", times=9)
    local_aws.fail(HAIKU, "AccessDeniedException", times=9)
    planner = llm.model_copy(update={"agent_name": "planner"})

    reply = llm.with_fallbacks([planner]).invoke("x")
    retried = planner.with_retry(stop_after_attempt=2).invoke("x")

    assert reply.response_metadata["model_name"] == OPUS
    assert retried.response_metadata["model_name"] == OPUS


def test_a_cached_answer_says_so_and_costs_nothing(
    llm: ManagedBedrockChat, local_aws: LocalAWS
) -> None:
    cached = llm.model_copy(update={"cache": InMemoryCache()})

    first, second = cached.invoke("x"), cached.invoke("x")

    report = second.response_metadata["model_manager"]
    assert local_aws.requests() == 1
    assert not first.response_metadata["model_manager"]["cached"]
    assert (report["cached"], report["cost_usd"]) == (True, "0")
    assert llm.model_manager.get_usage_summary()["attempts"] == 1


def test_two_agents_do_not_share_cached_answers(
    llm: ManagedBedrockChat, local_aws: LocalAWS
) -> None:
    cache = InMemoryCache()

    llm.model_copy(update={"cache": cache}).invoke("x")
    llm.model_copy(update={"cache": cache, "agent_name": "planner"}).invoke("x")
    llm.model_copy(update={"cache": cache, "temperature": 0.5}).invoke("x")

    assert local_aws.requests() == 3


def test_a_rate_limiter_is_used(llm: ManagedBedrockChat) -> None:
    limiter = InMemoryRateLimiter(requests_per_second=1000, check_every_n_seconds=0.001)

    assert llm.model_copy(update={"rate_limiter": limiter}).invoke("x").text


def test_traces_name_provider_model_and_parameters(configured: Configure) -> None:
    llm = ManagedBedrockChat(
        agent_name="planner",
        config=configured(AGENTS),
        temperature=0.5,
        max_tokens=9,
        stop_sequences=["E"],
    )

    params = llm._get_ls_params()

    assert params["ls_provider"] == "amazon_bedrock"
    assert params["ls_model_name"] == OPUS
    assert (params["ls_temperature"], params["ls_max_tokens"]) == (0.5, 9)
    assert params["ls_stop"] == ["E"]
    assert llm._get_ls_params(model=HAIKU)["ls_model_name"] == HAIKU


def test_counting_tokens_calls_aws_only_on_request(
    llm: ManagedBedrockChat, local_aws: LocalAWS
) -> None:
    about = llm.get_num_tokens_from_messages([HumanMessage("how many pallets?")])

    assert about > 0
    assert llm.get_num_tokens("how many pallets?") > 0
    assert llm.get_num_tokens_from_messages([HumanMessage("x")], tools=[count_pallets]) > 5
    assert local_aws.calls() == []

    exact = llm.get_num_tokens_from_messages([HumanMessage("how many pallets?")], exact=True)
    assert exact > 0
    assert [c.operation for c in local_aws.calls()] == ["CountTokens"]


def test_batches_keep_their_order(llm: ManagedBedrockChat, local_aws: LocalAWS) -> None:
    local_aws.script(lambda request: ScriptedReply(text=request.prompt.upper()))

    replies = llm.batch(["a", "b", "c"])

    assert [r.text for r in replies] == ["A", "B", "C"]


def test_a_subclass_is_still_a_model(configured: Configure) -> None:
    class Mine(ManagedBedrockChat):
        team: str = "stock"

    mine = Mine(agent_name="planner", config=configured(AGENTS))

    assert isinstance(mine.invoke("x"), AIMessage)
    assert mine.team == "stock"


def test_a_repr_shows_no_secret(llm: ManagedBedrockChat) -> None:
    assert "AKIA" not in repr(llm)
    assert "sql_agent" in repr(llm)


@pytest.mark.parametrize("streamed", [False, True])
def test_latencies_are_what_was_waited(
    configured: Configure, local_aws: LocalAWS, streamed: bool
) -> None:
    sink = MemorySink()
    llm = ModelManager(configured(AGENTS), sinks=[sink]).chat_model("sql_agent")
    local_aws.fail(SONNET, "ThrottlingException", times=1)
    local_aws.latency(None, 0.2, chunk_delay=0.05)
    started = time.perf_counter()

    if streamed:
        chunks = list(llm.stream("x"))
        reply: Any = functools.reduce(operator.add, chunks)
    else:
        reply = llm.invoke("x")

    waited = (time.perf_counter() - started) * 1000
    report = reply.response_metadata["model_manager"]
    failed, answered = (attempt["latency_ms"] for attempt in report["attempts"])
    assert 200 <= answered <= answered + failed <= report["latency_ms"] <= waited
    assert [r.latency_ms for r in sink.records] == pytest.approx([failed, answered], abs=0.01)
    first = sink.records[-1].time_to_first_token_ms
    assert (first is not None) is streamed
    if first is not None:
        assert 200 <= first < answered
    summary = llm.model_manager.get_usage_summary()
    assert summary["average_latency_ms"] == pytest.approx(report["latency_ms"], abs=0.01)


def test_the_agent_name_may_be_given_by_position(configured: Configure) -> None:
    assert ManagedBedrockChat("planner", config=configured(AGENTS)).agent_name == "planner"


def test_every_field_is_described() -> None:
    own = {
        name: field.description
        for name, field in ManagedBedrockChat.model_fields.items()
        if name in ManagedBedrockChat.__annotations__
    }

    assert own
    assert all(own.values()), own
    assert next(iter(inspect.signature(ManagedBedrockChat).parameters)) == "agent_name"
