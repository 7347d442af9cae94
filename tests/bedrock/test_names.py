"""Names that Bedrock or a model refuses go out under others, and come back as the caller's."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import StructuredTool

from langchain_modelmgr import ConfigurationError, ManagedBedrockChat, ModelManager
from langchain_modelmgr.bedrock.names import with_accepted_names
from langchain_modelmgr.catalog import ModelCatalog
from langchain_modelmgr.local import ScriptedReply
from tests.models import HAIKU, SONNET

if TYPE_CHECKING:
    from langchain_modelmgr.local import LocalAWS
    from tests.agents import Configure

CLAUDE = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
NOVA = "us.amazon.nova-pro-v1:0"
KIMI = "moonshotai.kimi-k2.5"
MISTRAL = "mistral.mistral-large-2407-v1:0"
LONG = "mcp__" + "warehouse_" * 7 + "count"
REFUSED = ["files.read", "crm:look up", LONG, "données.lire", "читать", "a/b", "$READFILE"]


def tool_named(name: str) -> dict[str, Any]:
    schema = {"type": "object", "properties": {"path": {"type": "string"}}}
    return {"name": name, "description": "Reads.", "parameters": schema}


def model_of(configured: Configure, *models: str) -> ManagedBedrockChat:
    first, *rest = models
    config = configured(f"a: {{model: '{first}', fallbacks: {rest}, cooldown_seconds: 0}}")
    return ManagedBedrockChat(agent_name="a", config=config)


def sent_names(body: dict[str, Any]) -> list[str]:
    return [tool["toolSpec"]["name"] for tool in body["toolConfig"]["tools"]]


def test_tool_names_are_mapped_out_and_back(configured: Configure, local_aws: LocalAWS) -> None:
    tools = [tool_named(name) for name in REFUSED]
    llm = model_of(configured, CLAUDE).bind_tools(tools, tool_choice="files.read")

    reply = llm.invoke("read 'a.txt'")

    body = local_aws.calls()[0].body
    assert len(set(sent_names(body))) == len(REFUSED)
    assert body["toolConfig"]["toolChoice"] == {"tool": {"name": sent_names(body)[0]}}
    assert sent_names(body)[0] == "files_read"
    assert [call["name"] for call in reply.tool_calls] == ["files.read"]
    assert reply.response_metadata["model_manager"]["attempts"][0]["adapted"] == [
        "tool names mapped to names that the model accepts"
    ]


@pytest.mark.parametrize("name", REFUSED)
async def test_names_are_restored_in_every_form(
    configured: Configure, local_aws: LocalAWS, name: str
) -> None:
    llm = model_of(configured, CLAUDE).bind_tools([tool_named(name)], tool_choice="any")

    replies: list[Any] = [llm.invoke("x"), await llm.ainvoke("x")]
    chunks = [c async for c in llm.astream("x")]
    streamed: Any = chunks[0]
    for chunk in chunks[1:]:
        streamed += chunk
    replies.append(streamed)
    with ModelManager(configured(f"a: {{model: '{CLAUDE}'}}")) as manager:
        question = [{"role": "user", "content": [{"text": "x"}]}]
        result = manager.invoke_model("a", question, tools=[tool_named(name)], tool_choice="any")
        *_, last = manager.stream_model("a", question, tools=[tool_named(name)], tool_choice="any")

    assert [reply.tool_calls[0]["name"] for reply in replies] == [name] * 3
    assert [block["name"] for block in streamed.content if block["type"] == "tool_use"] == [name]
    assert result["tool_uses"][0]["name"] == name
    assert last["result"]["content"][-1]["toolUse"]["name"] == name


def test_the_history_has_the_names_that_the_tools_have(
    configured: Configure, local_aws: LocalAWS
) -> None:
    call = {"name": "files.read", "args": {"path": "x"}, "id": "t1", "type": "tool_call"}
    history = [
        HumanMessage("x"),
        AIMessage("", tool_calls=[call, {**call, "name": "gone: no longer bound", "id": "t2"}]),
        ToolMessage("3", tool_call_id="t1"),
        ToolMessage("4", tool_call_id="t2"),
    ]
    before = copy.deepcopy(history)

    model_of(configured, CLAUDE).bind_tools([tool_named("files.read")]).invoke(history)

    body = local_aws.calls()[0].body
    uses = [block["toolUse"]["name"] for block in body["messages"][1]["content"]]
    assert uses == ["files_read", "gone__no_longer_bound"]
    assert sent_names(body) == ["files_read"]
    assert history == before


def test_two_names_that_would_become_one_stay_apart(
    configured: Configure, local_aws: LocalAWS
) -> None:
    names = ["a.b", "a_b", "a b", LONG, LONG + "x"]
    llm = model_of(configured, CLAUDE).bind_tools([tool_named(n) for n in names])

    llm.invoke("x")

    sent = sent_names(local_aws.calls()[0].body)
    assert sent[1] == "a_b"
    assert len(set(sent)) == len(names)
    for wire, name in zip(sent, names, strict=True):
        local_aws.reply(CLAUDE, ScriptedReply(tool_calls=[(wire, {})]))
        assert llm.invoke("x").tool_calls[0]["name"] == name


def test_a_hyphen_is_mapped_for_nova_and_stays_for_claude(
    configured: Configure, local_aws: LocalAWS
) -> None:
    llm = model_of(configured, CLAUDE, NOVA).bind_tools([tool_named("look-up")], tool_choice="any")
    whole = llm.invoke("x")
    local_aws.fail(CLAUDE, "ThrottlingException", times=1)

    fallen = llm.invoke("x")

    assert sent_names(local_aws.calls()[0].body) == ["look-up"]
    assert sent_names(local_aws.calls()[-1].body) == ["look_up"]
    assert [r.tool_calls[0]["name"] for r in (whole, fallen)] == ["look-up", "look-up"]
    attempts = fallen.response_metadata["model_manager"]["attempts"]
    assert [attempt["adapted"] for attempt in attempts] == [
        [],
        ["tool names mapped to names that the model accepts"],
    ]


def test_an_invented_tool_name_is_left_as_it_is(configured: Configure, local_aws: LocalAWS) -> None:
    local_aws.reply(CLAUDE, ScriptedReply(tool_calls=[("made_up", {})]))

    reply = model_of(configured, CLAUDE).bind_tools([tool_named("files.read")]).invoke("x")

    assert reply.tool_calls[0]["name"] == "made_up"


def test_an_agent_runs_a_tool_whose_name_bedrock_refuses(
    configured: Configure, local_aws: LocalAWS
) -> None:
    from langchain.agents import create_agent

    def read(path: str) -> str:
        """Read a file."""
        return f"contents of {path}"

    tool = StructuredTool.from_function(read, name="files.read")
    agent = create_agent(model_of(configured, NOVA), tools=[tool])

    state = agent.invoke({"messages": [HumanMessage("use the tool to read 'a.txt'")]})

    assert "contents of a.txt" in state["messages"][-1].text


@pytest.mark.parametrize(
    ("model_id", "given", "sent"),
    [
        (CLAUDE, "toolu_01AbC-x", "toolu_01AbC-x"),
        (CLAUDE, "functions.get:0", "functions_get_0_"),
        (CLAUDE, "call_1|fc_2", "call_1_fc_2_"),
        (CLAUDE, "c" * 90, "c" * 55),
        (KIMI, "functions.get:0", "functions.get:0"),
        (KIMI, "call_1|fc_2", "call_1_fc_2_"),
        (MISTRAL, "aB3dE6gH9", "aB3dE6gH9"),
        (MISTRAL, "tooluse_bpe71yCfRu2b5i-nKGDr5g", ""),
        (MISTRAL, "a", ""),
    ],
)
def test_ids_of_calls_that_another_provider_made_are_mapped(
    configured: Configure, local_aws: LocalAWS, model_id: str, given: str, sent: str
) -> None:
    call = {"name": "look", "args": {}, "id": given, "type": "tool_call"}
    history = [
        HumanMessage("x"),
        AIMessage("", tool_calls=[call]),
        ToolMessage("3", tool_call_id=given),
    ]

    model_of(configured, model_id).bind_tools([tool_named("look")]).invoke(history)

    messages = local_aws.calls()[0].body["messages"]
    use = messages[1]["content"][0]["toolUse"]["toolUseId"]
    assert use.startswith(sent)
    assert use == messages[2]["content"][0]["toolResult"]["toolUseId"]


PDF = b"%PDF-1.4"


def document(name: str | None) -> dict[str, Any]:
    named = {} if name is None else {"name": name}
    return {"document": {"format": "pdf", **named, "source": {"bytes": PDF}}}


def test_document_names_are_mapped_and_citations_name_the_callers(
    configured: Configure, local_aws: LocalAWS
) -> None:
    names = [
        "report.v2.pdf",
        "John's  report",
        "résumé",
        "請求書.pdf",
        "a\u3000b",
        "plain (1) [x]_y",
        "",
    ]
    documents = [document(name) for name in names]
    before = copy.deepcopy(documents)

    model_of(configured, CLAUDE).invoke([HumanMessage([*documents, {"type": "text", "text": "x"}])])

    content = local_aws.calls()[0].body["messages"][0]["content"]
    assert [b["document"]["name"] for b in content[:-1]] == [
        "report-v2-pdf",
        "John-s report",
        "resume",
        "pdf",
        "a b",
        "plain (1) [x]_y",
        "document",
    ]
    assert documents == before


def test_documents_with_one_name_get_distinct_names_in_the_whole_request(
    configured: Configure, local_aws: LocalAWS
) -> None:
    call = {"name": "look", "args": {}, "id": "t1", "type": "tool_call"}
    file = {
        "type": "file",
        "mime_type": "application/pdf",
        "base64": "JVBERi0=",
        "filename": "a.pdf",
    }
    history = [
        HumanMessage(["x", file, {**file, "filename": "a.pdf"}]),
        AIMessage("", tool_calls=[call]),
        ToolMessage([{"type": "text", "text": "y"}, {**file}], tool_call_id="t1"),
    ]

    model_of(configured, CLAUDE).bind_tools([tool_named("look")]).invoke(history)

    messages = local_aws.calls()[0].body["messages"]
    given = [b["document"]["name"] for b in messages[0]["content"] if "document" in b]
    result = messages[2]["content"][0]["toolResult"]["content"]
    assert given == ["a-pdf", "a-pdf (2)"]
    assert result[1]["document"]["name"] == "a-pdf (3)"


def test_an_earlier_document_keeps_its_name_when_another_is_added() -> None:
    model = ModelCatalog().resolve(CLAUDE)

    def sent(*names: str) -> list[str]:
        messages = [{"role": "user", "content": [document(n) for n in names]}]
        params, _ = with_accepted_names({"messages": messages}, model)
        return [b["document"]["name"] for b in params["messages"][0]["content"]]

    assert sent("a.pdf", "a.pdf") == ["a-pdf", "a-pdf (2)"]
    assert sent("Report", "report") == ["Report", "report (2)"]
    assert sent("a.pdf", "a.pdf", "a-pdf", "x" * 300, "x" * 300) == [
        "a-pdf",
        "a-pdf (2)",
        "a-pdf (3)",
        "x" * 200,
        "x" * 196 + " (2)",
    ]


def test_titles_of_citations_are_the_callers_names() -> None:
    model = ModelCatalog().resolve(CLAUDE)
    messages = [{"role": "user", "content": [document("a.pdf"), {"text": "x"}]}]
    _, names = with_accepted_names({"messages": messages}, model)
    assert names is not None
    cited: dict[str, Any] = {"citationsContent": {"content": [], "citations": [{"title": "a-pdf"}]}}
    delta = {"contentBlockIndex": 0, "delta": {"citation": {"title": "a-pdf"}}}

    names.restore([cited])
    event = next(iter(names.restored([{"contentBlockDelta": delta}])))

    assert cited["citationsContent"]["citations"] == [{"title": "a.pdf"}]
    assert event["contentBlockDelta"]["delta"] == {"citation": {"title": "a.pdf"}}


def test_a_request_whose_names_are_taken_is_the_same_object() -> None:
    tools = {"tools": [{"toolSpec": {"name": "look", "inputSchema": {"json": {}}}}]}
    use = {"toolUse": {"toolUseId": "t", "name": "look", "input": {}}}
    params = {
        "messages": [
            {"role": "user", "content": [document("a")]},
            {"role": "assistant", "content": [use]},
        ],
        "toolConfig": tools,
    }

    for model_id in (CLAUDE, KIMI, SONNET, HAIKU):
        assert with_accepted_names(params, ModelCatalog().resolve(model_id)) == (params, None)
        assert with_accepted_names(params, ModelCatalog().resolve(model_id))[0] is params


def test_two_tools_of_one_name_are_refused_before_anything_is_sent(
    configured: Configure, local_aws: LocalAWS
) -> None:
    llm = model_of(configured, CLAUDE)

    with pytest.raises(ConfigurationError, match="tool 'look' is bound twice"):
        llm.bind_tools([tool_named("look"), tool_named("look")]).invoke("x")
    with (
        ModelManager(configured(f"a: {{model: '{CLAUDE}'}}")) as manager,
        pytest.raises(ConfigurationError, match="tool 'look' is bound twice"),
    ):
        question = [{"role": "user", "content": [{"text": "x"}]}]
        manager.invoke_model("a", question, tools=[tool_named("look")] * 2)

    assert local_aws.requests() == 0
