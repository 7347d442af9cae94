"""``prompt_caching`` in the YAML: cache points in each request of an agent, whatever way it goes."""

from __future__ import annotations

import copy
import warnings
from typing import TYPE_CHECKING, Any

import pytest
from langchain.agents import create_agent
from langchain_aws.middleware.prompt_caching import BedrockPromptCachingMiddleware
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage

from langchain_modelmgr import ConfigurationError, ManagedBedrockChat, ModelManager
from tests.agents import Pallets, count_pallets
from tests.models import SONNET

if TYPE_CHECKING:
    from collections.abc import Callable

    from langchain_modelmgr.local import LocalAWS
    from tests.agents import Configure

CLAUDE = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
NOVA = "us.amazon.nova-pro-v1:0"
LLAMA = "us.meta.llama3-3-70b-instruct-v1:0"
PROMPT = "You know the stock of all warehouses. " * 40
ASKED = [SystemMessage(PROMPT), HumanMessage("x")]
RAW = [{"role": "user", "content": [{"text": "x"}]}]
POINT = {"cachePoint": {"type": "default"}}
HOUR = {"cachePoint": {"type": "default", "ttl": "1h"}}
CALL = {"name": "count_pallets", "args": {"warehouse": "x"}, "id": "t1", "type": "tool_call"}


def configure(configured: Configure, caching: str = "true", *models: str) -> Any:
    first, *rest = models or (CLAUDE,)
    return configured(
        f"a: {{model: '{first}', fallbacks: {rest}, prompt_caching: {caching}, cooldown_seconds: 0}}"
    )


def llm_with(configured: Configure, caching: str = "true", *models: str) -> ManagedBedrockChat:
    return ManagedBedrockChat(agent_name="a", config=configure(configured, caching, *models))


def points_of(body: dict[str, Any]) -> dict[str, list[Any]]:
    """Return the points of each section; each is the last of its section."""
    sections = {
        "tools": body.get("toolConfig", {}).get("tools", []),
        "system": body.get("system", []),
        **{f"messages[{i}]": m["content"] for i, m in enumerate(body["messages"])},
    }
    found = {name: [b for b in blocks if "cachePoint" in b] for name, blocks in sections.items()}
    assert all(sections[name][-1] in points for name, points in found.items() if points)
    return {name: points for name, points in found.items() if points}


def last(local_aws: LocalAWS) -> dict[str, list[Any]]:
    return points_of(local_aws.calls()[-1].body)


EVERYWHERE = {"tools": [POINT], "system": [POINT], "messages[0]": [POINT]}
WAYS: dict[str, Callable[[Any], Any]] = {
    "invoke": lambda llm: llm.bind_tools([count_pallets]).invoke(ASKED),
    "stream": lambda llm: list(llm.bind_tools([count_pallets]).stream(ASKED)),
    "batch": lambda llm: llm.bind_tools([count_pallets]).batch([ASKED]),
    "with_structured_output": lambda llm: llm.with_structured_output(Pallets).invoke(ASKED),
    "create_agent": lambda llm: create_agent(llm, [count_pallets], system_prompt=PROMPT).invoke(
        {"messages": [HumanMessage("hello")]}
    ),
    "invoke_model": lambda llm: llm.model_manager.invoke_model("a", RAW, PROMPT, [count_pallets]),
    "invoke_model with LangChain's": lambda llm: llm.model_manager.invoke_model(
        "a", [HumanMessage("x")], PROMPT, [count_pallets]
    ),
    "stream_model": lambda llm: list(
        llm.model_manager.stream_model("a", RAW, PROMPT, tools=[count_pallets])
    ),
}


@pytest.mark.parametrize("way", WAYS)
def test_each_way_in_caches_tools_system_prompt_and_last_message(
    configured: Configure, local_aws: LocalAWS, way: str
) -> None:
    before = copy.deepcopy((ASKED, RAW))

    WAYS[way](llm_with(configured))

    assert points_of(local_aws.calls()[0].body) == EVERYWHERE
    assert before == (ASKED, RAW)


async def test_asynchronous_calls_cache_too(configured: Configure, local_aws: LocalAWS) -> None:
    llm = llm_with(configured).bind_tools([count_pallets])

    await llm.ainvoke(ASKED)
    _ = [chunk async for chunk in llm.astream(ASKED)]

    assert [points_of(call.body) for call in local_aws.calls()] == [EVERYWHERE] * 2


@pytest.mark.parametrize(
    ("caching", "point"),
    [("true", POINT), ("{}", POINT), ("{ttl: 5m}", POINT), ("{ttl: 1h}", HOUR), ("false", None), ("null", None)],
)  # fmt: skip
def test_the_lifetime_is_the_yamls(
    configured: Configure, local_aws: LocalAWS, caching: str, point: Any
) -> None:
    llm_with(configured, caching).bind_tools([count_pallets]).invoke(ASKED)

    places = ("tools", "system", "messages[0]")
    assert last(local_aws) == ({} if point is None else {key: [point] for key in places})


def test_a_calls_parameters_override_the_yaml(configured: Configure, local_aws: LocalAWS) -> None:
    config = configure(configured, "{ttl: 1h}")
    llm = ManagedBedrockChat(agent_name="a", config=config)

    llm.invoke(ASKED, cache_control={"type": "ephemeral", "ttl": "5m"})
    shorter = last(local_aws)
    llm.invoke(ASKED, cache_control=None)
    without = last(local_aws)
    with ModelManager(config) as manager:
        manager.invoke_model("a", RAW, PROMPT, cache_control=None)

    assert shorter == {"system": [POINT], "messages[0]": [POINT]}
    assert without == last(local_aws) == {}


def test_a_conversation_is_read_from_the_cache_and_no_point_gathers(
    configured: Configure, local_aws: LocalAWS
) -> None:
    config = configure(configured)
    messages: list[Any] = []
    with ModelManager(config) as manager:
        for turn in range(6):
            messages.append({"role": "user", "content": [{"text": f"turn {turn} " * 50}]})
            result = manager.invoke_model("a", messages, PROMPT, [count_pallets])
            messages.append({"role": "assistant", "content": result["content"]})
            read = result["usage"]["cache_read_tokens"]
            assert (read > 0) == (turn > 0)
            assert sum(map(len, last(local_aws).values())) <= 4

    assert "cachePoint" not in repr(messages)
    assert read > result["usage"]["input_tokens"]


def history(*content: Any) -> list[Any]:
    return [
        SystemMessage(PROMPT),
        HumanMessage("x"),
        AIMessage("", tool_calls=[CALL]),
        ToolMessage("3", tool_call_id="t1"),
        *content,
    ]


def test_points_go_where_each_model_takes_them(configured: Configure, local_aws: LocalAWS) -> None:
    llm = llm_with(configured, "{ttl: 1h}", CLAUDE, NOVA, LLAMA).bind_tools([count_pallets])
    local_aws.fail(CLAUDE, "ThrottlingException", times=1)
    local_aws.fail(NOVA, "ThrottlingException", times=1)

    reply = llm.invoke(history())

    claude, nova, llama = (points_of(call.body) for call in local_aws.calls())
    assert claude == {
        "tools": [HOUR],
        "system": [HOUR],
        "messages[0]": [HOUR],
        "messages[2]": [HOUR],
    }
    assert nova == {"system": [POINT], "messages[0]": [POINT]}
    assert llama == {}
    adapted = [a["adapted"] for a in reply.response_metadata["model_manager"]["attempts"]]
    assert not any("cache" in text for text in adapted[0])
    assert "cache points left out: the model has no prompt cache" in adapted[2]


def test_a_callers_own_points_are_neither_doubled_nor_put_out_of_order(
    configured: Configure, local_aws: LocalAWS
) -> None:
    llm = llm_with(configured, "{ttl: 1h}").bind_tools([count_pallets, POINT])
    own = [
        SystemMessage(
            [{"type": "text", "text": PROMPT}, POINT, {"type": "text", "text": "y"}, POINT]
        ),
        HumanMessage("x"),
    ]

    llm.invoke(own)

    body = local_aws.calls()[0].body
    assert [b for b in body["toolConfig"]["tools"] if "cachePoint" in b] == [POINT]
    assert [b for b in body["system"] if "cachePoint" in b] == [POINT, POINT]
    assert body["messages"][0]["content"][-1] == POINT  # an hour must not follow five minutes


def test_a_one_hour_point_in_a_message_extends_the_points_before_it(
    configured: Configure, local_aws: LocalAWS
) -> None:
    question = HumanMessage([{"type": "text", "text": "x"}, HOUR])

    llm_with(configured).bind_tools([count_pallets]).invoke([SystemMessage(PROMPT), question])

    assert last(local_aws) == {"tools": [HOUR], "system": [HOUR], "messages[0]": [HOUR]}


def test_langchain_aws_middleware_adds_nothing_and_the_yaml_all(
    configured: Configure, local_aws: LocalAWS
) -> None:
    middleware = BedrockPromptCachingMiddleware(unsupported_model_behavior="ignore")
    llm = llm_with(configured)
    agent: Any = create_agent(llm, [count_pallets], system_prompt=PROMPT, middleware=[middleware])
    plain: Any = create_agent(
        ManagedBedrockChat(agent_name="a", config=configure(configured, "false")),
        [count_pallets],
        middleware=[BedrockPromptCachingMiddleware()],
    )

    agent.invoke({"messages": [HumanMessage("hello")]})
    cached = last(local_aws)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        plain.invoke({"messages": [HumanMessage("hello")]})

    assert cached == EVERYWHERE
    assert last(local_aws) == {}
    assert any("not ManagedBedrockChat" in str(warning.message) for warning in caught)


@pytest.mark.parametrize(
    ("caching", "words"),
    [
        ("{ttl: 2h}", r"agents\.a\.prompt_caching\.ttl: must be one of '5m' or '1h'"),
        ("{tll: 1h}", r"agents\.a\.prompt_caching\.tll: unknown key; did you mean 'ttl'"),
        ("sometimes", r"agents\.a\.prompt_caching: must be true, false, or a map with ttl"),
        ("1", r"agents\.a\.prompt_caching: must be true, false, or a map with ttl"),
    ],
)
def test_mistakes_are_named(configured: Configure, caching: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        configure(configured, caching)


@pytest.mark.parametrize("given", [{"ttl": "2h"}, {"ttl": 300}, "5m", True])
def test_a_calls_wrong_lifetime_is_named(
    configured: Configure, local_aws: LocalAWS, given: Any
) -> None:
    llm = ManagedBedrockChat(agent_name="a", config=configured(f"a: {{model: '{SONNET}'}}"))

    with pytest.raises(
        ConfigurationError, match="cache_control must be a map, its ttl '5m' or '1h'"
    ):
        llm.invoke("x", cache_control=given)

    assert local_aws.requests() == 0
