"""Cache points go where each model takes them, by place and lifetime, and are added nowhere else."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Any

import pytest

from langchain_modelmgr import ModelManager
from langchain_modelmgr.bedrock.adaptation import OriginalRequest, fitted
from langchain_modelmgr.catalog import ModelCatalog

if TYPE_CHECKING:
    from langchain_modelmgr.local import LocalAWS
    from tests.agents import Configure

CLAUDE = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
OLDER_CLAUDE = "us.anthropic.claude-3-7-sonnet-20250219-v1:0"
NOVA = "us.amazon.nova-lite-v1:0"
LLAMA = "us.meta.llama3-3-70b-instruct-v1:0"
UNKNOWN = "acme.unheard-of"
CATALOG = ModelCatalog()
TEXT: dict[str, Any] = {"text": "x"}
RESULT: dict[str, Any] = {"toolResult": {"toolUseId": "t", "content": [TEXT]}}
USE: dict[str, Any] = {"toolUse": {"toolUseId": "t", "name": "look", "input": {}}}
TOOL: dict[str, Any] = {
    "toolSpec": {"name": "look", "inputSchema": {"json": {"type": "object", "properties": {}}}}
}
POINT: dict[str, Any] = {"cachePoint": {"type": "default"}}
HOUR: dict[str, Any] = {"cachePoint": {"type": "default", "ttl": "1h"}}
NO_TOOLS = "cache points left out of tools: the model accepts none there"
NO_RESULTS = "cache points left out after tool results: the model accepts none there"
NO_CACHE = "cache points left out: the model has no prompt cache"
NO_HOUR = "cache points for 1h sent without a lifetime: the model caches for 5m"


def _turns(*turns: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"role": ("user", "assistant")[i % 2], "content": t} for i, t in enumerate(turns)]


def _request(*turns: list[dict[str, Any]], **sections: Any) -> dict[str, Any]:
    return {"messages": _turns(*turns), **sections}


def _places(formed: dict[str, Any]) -> dict[str, Any]:
    """Return where the points are: their lifetimes by section, and by message."""

    def lifetimes(section: list[Any]) -> list[str]:
        return [b["cachePoint"].get("ttl", "5m") for b in section if "cachePoint" in b]

    return {
        "tools": lifetimes(formed.get("toolConfig", {}).get("tools", [])),
        "system": lifetimes(formed.get("system", [])),
        "messages": [lifetimes(m["content"]) for m in formed["messages"]],
    }


@pytest.mark.parametrize(
    ("model_id", "places", "notes"),
    [
        (CLAUDE, (["5m"], ["5m"], [["5m"], [], ["5m"]]), ()),
        (NOVA, ([], ["5m"], [["5m"], [], []]), (NO_TOOLS, NO_RESULTS)),
        (LLAMA, ([], [], [[], [], []]), (NO_CACHE,)),
    ],
)
def test_a_callers_points_stay_where_the_model_takes_them(
    model_id: str, places: Any, notes: tuple[str, ...]
) -> None:
    tools = {"tools": [TOOL, POINT]}
    request = _request(
        [TEXT, POINT], [USE], [RESULT, POINT], system=[TEXT, POINT], toolConfig=tools
    )
    before = deepcopy(request)

    formed, changes = fitted(request, CATALOG.resolve(model_id))

    found = _places(formed)
    assert (found["tools"], found["system"], found["messages"]) == places
    assert set(notes) <= set(changes)
    assert request == before


@pytest.mark.parametrize(
    ("model_id", "lifetime", "changes"),
    [(CLAUDE, "1h", ()), (OLDER_CLAUDE, "5m", (NO_HOUR,)), (NOVA, "5m", (NO_HOUR,))],
)
def test_an_hour_is_requested_where_the_model_caches_for_one(
    model_id: str, lifetime: str, changes: tuple[str, ...]
) -> None:
    request = _request([TEXT, HOUR], system=[TEXT, HOUR])

    formed, report = fitted(request, CATALOG.resolve(model_id))

    assert _places(formed) == {"tools": [], "system": [lifetime], "messages": [[lifetime]]}
    assert report == changes


def test_five_minutes_requested_by_name_are_the_default_of_older_models() -> None:
    point = {"cachePoint": {"type": "default", "ttl": "5m"}}

    formed, changes = fitted(_request([TEXT, point]), CATALOG.resolve(NOVA))

    assert formed["messages"][0]["content"][1] == POINT
    assert changes == ()


@pytest.mark.parametrize(
    ("model_id", "places"),
    [
        (CLAUDE, (["5m"], ["5m"], [["5m"], [], ["5m"]])),
        (NOVA, ([], ["5m"], [["5m"], [], []])),  # never after a tool's result
        (LLAMA, ([], [], [[], [], []])),
        (UNKNOWN, ([], ["5m"], [["5m"], [], []])),  # where all that cache take them
    ],
)
def test_points_are_added_where_the_model_takes_them(model_id: str, places: Any) -> None:
    request = _request([TEXT], [USE], [RESULT], system=[TEXT], toolConfig={"tools": [TOOL]})
    before = deepcopy(request)

    formed, changes = fitted(request, CATALOG.resolve(model_id), OriginalRequest(cache_control={}))

    found = _places(formed)
    assert (found["tools"], found["system"], found["messages"]) == places
    assert (NO_CACHE in changes) == (model_id == LLAMA)
    assert request == before


def test_a_section_with_a_callers_own_point_gets_no_other() -> None:
    request = _request([TEXT, POINT, TEXT], system=[POINT, TEXT], toolConfig={"tools": [TOOL]})

    formed, _ = fitted(request, CATALOG.resolve(CLAUDE), OriginalRequest(cache_control={}))

    assert _places(formed) == {"tools": ["5m"], "system": ["5m"], "messages": [["5m"]]}


def test_a_request_never_has_more_than_four_points() -> None:
    turns = [[TEXT, POINT], [TEXT], [TEXT, POINT], [TEXT], [TEXT], [TEXT], [TEXT]]
    request = _request(*turns, system=[TEXT, POINT], toolConfig={"tools": [TOOL]})

    formed, _ = fitted(request, CATALOG.resolve(CLAUDE), OriginalRequest(cache_control={}))

    assert repr(formed).count("cachePoint") == 4
    assert _places(formed)["messages"][-1] == ["5m"]  # the newest turn before the tools


@pytest.mark.parametrize(
    ("theirs", "ttl", "places"),
    [
        ({"system": [TEXT, POINT]}, "1h", (["1h"], ["5m"], ["5m"])),
        ({"system": [TEXT, HOUR]}, None, (["1h"], ["1h"], ["5m"])),
        ({"system": [TEXT]}, "1h", (["1h"], ["1h"], ["1h"])),
    ],
)
def test_the_longest_lifetime_comes_first(
    theirs: dict[str, Any], ttl: str | None, places: Any
) -> None:
    request = _request([TEXT], toolConfig={"tools": [TOOL]}, **theirs)

    formed, _ = fitted(
        request, CATALOG.resolve(CLAUDE), OriginalRequest(cache_control={"ttl": ttl})
    )

    found = _places(formed)
    assert (found["tools"], found["system"], found["messages"][0]) == places


# -- over the wire, where the cache is real


@pytest.mark.parametrize("model_id", [CLAUDE, NOVA])
def test_each_turn_of_a_growing_list_reads_what_the_turn_before_wrote(
    configured: Configure, local_aws: LocalAWS, model_id: str
) -> None:
    manager = ModelManager(configured(f"a: {{model: '{model_id}', fallbacks: []}}"), sinks=[])
    messages: list[Any] = []
    reads, sizes = [], []

    for turn in range(5):
        messages.append({"role": "user", "content": [{"text": f"turn {turn} " * 40}]})
        before = deepcopy(messages)
        result = manager.invoke_model(
            "a", messages, system_prompt="Be brief. " * 40, cache_control={"type": "ephemeral"}
        )
        assert messages == before
        body = local_aws.calls(model_id)[-1].body
        assert "cachePoint" in body["system"][-1]
        assert "cachePoint" in body["messages"][-1]["content"][-1]
        reads.append(result["usage"]["cache_read_tokens"])
        sizes.append(result["usage"]["cache_write_tokens"] + reads[-1])
        messages.append({"role": "assistant", "content": result["content"]})

    assert reads[0] == 0
    assert reads[1:] == sizes[:-1]  # all of it, each time


def test_a_fallback_gets_the_points_that_it_takes_and_the_primary_all(
    configured: Configure, local_aws: LocalAWS
) -> None:
    config = configured(f"a: {{model: '{CLAUDE}', fallbacks: ['{NOVA}'], cooldown_seconds: 0}}")
    manager = ModelManager(config, sinks=[])
    tools = [TOOL, POINT]
    local_aws.fail(CLAUDE, "ThrottlingException")

    result = manager.invoke_model("a", [{"role": "user", "content": [TEXT]}], tools=tools)
    manager.invoke_model("a", [{"role": "user", "content": [TEXT]}], tools=tools)

    assert result["attempts"][-1]["adapted"] == [NO_TOOLS]
    assert "cachePoint" not in repr(local_aws.calls(NOVA)[-1].body)
    assert local_aws.calls(CLAUDE)[-1].body["toolConfig"]["tools"][1] == POINT
