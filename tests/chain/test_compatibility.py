"""What a request needs, held against what a model can do."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage

from langchain_modelmgr.catalog import ModelConfig
from langchain_modelmgr.chain.compatibility import Needs, check, needs_of

ABLE = ModelConfig(
    model_id="m",
    model_family="Claude",
    max_tokens=8192,
    temperature=1.0,
    supports_tools=True,
    supports_streaming=True,
    cost_per_1k_input_tokens=0.003,
    cost_per_1k_output_tokens=0.015,
    tool_choices=("auto", "any", "tool"),
    supports_images=True,
    supports_documents=True,
    supports_video=True,
    supports_audio=True,
    supports_search_results=True,
    supports_s3_sources=True,
    supports_prefill=True,
    supports_structured_output=True,
)
UNABLE = replace(
    ABLE,
    supports_tools=False,
    supports_streaming=False,
    supports_images=False,
    supports_documents=False,
    supports_video=False,
    supports_audio=False,
    supports_search_results=False,
    supports_s3_sources=False,
    supports_prefill=False,
    supports_structured_output=False,
)
UNKNOWN = replace(
    ABLE,
    supports_tools=None,
    supports_streaming=None,
    tool_choices=None,
    supports_images=None,
    supports_documents=None,
    supports_video=None,
    supports_audio=None,
    supports_search_results=None,
    supports_s3_sources=None,
    supports_prefill=None,
    supports_structured_output=None,
)


@pytest.mark.parametrize(
    ("needs", "reason"),
    [
        (Needs(tools=True), "Model does not support tools"),
        (Needs(tool_history=True), "Model does not support tools"),
        (Needs(streaming=True), "Model does not support streaming"),
        (Needs(images=True), "Model does not support images"),
        (Needs(documents=True), "Model does not support documents"),
        (Needs(video=True), "Model does not support video"),
        (Needs(audio=True), "Model does not support audio"),
        (Needs(search_results=True), "Model does not support search results"),
        (Needs(s3_sources=True), "Model does not support sources in Amazon S3"),
        (Needs(prefill=True), "Model does not support a prefilled answer"),
        (Needs(structured_output=True), "Model does not support structured output"),
    ],
)
def test_a_missing_capability_is_named_and_an_unknown_one_allowed(
    needs: Needs, reason: str
) -> None:
    assert check(needs, UNABLE) == reason
    assert check(needs, ABLE) is None
    assert check(needs, UNKNOWN) is None


@pytest.mark.parametrize(
    ("choice", "choices", "count", "fits"),
    [
        ("any", ("auto",), 1, False),
        ("tool", ("auto",), 1, False),
        ("tool", ("auto", "any"), 1, True),
        ("tool", ("auto", "any"), 2, False),
        ("any", ("tool",), 1, True),
        ("any", (), 1, False),
        ("any", None, 1, True),
        (None, (), 2, True),
    ],
)
def test_a_forced_choice_is_never_lowered(
    choice: Any, choices: tuple[str, ...] | None, count: int, fits: bool
) -> None:
    reason = check(
        Needs(tools=True, tool_choice=choice), replace(ABLE, tool_choices=choices), tool_count=count
    )

    assert (reason is None) is fits


@pytest.mark.parametrize(
    "block",
    [
        {"type": "image", "base64": "x", "mime_type": "image/png"},
        {"type": "image_url", "image_url": {"url": "data:"}},
        {"image": {"format": "png", "source": {"bytes": b"x"}}},
        {"type": "tool_result", "content": [{"type": "image", "source": {}}]},
        {"toolResult": {"content": [{"image": {"format": "png"}}]}},
    ],
)
def test_images_are_seen_in_every_form_also_inside_tool_results(block: dict[str, Any]) -> None:
    assert needs_of([HumanMessage([{"type": "text", "text": "x"}, block])], {}).images


@pytest.mark.parametrize(
    "block",
    [
        {"type": "file", "base64": "x", "mime_type": "application/pdf"},
        {"type": "document", "document": {}},
        {"document": {"format": "pdf", "name": "x"}},
    ],
)
def test_documents_are_seen_in_every_form(block: dict[str, Any]) -> None:
    needs = needs_of([ToolMessage([block], tool_call_id="1")], {})

    assert needs.documents
    assert needs.tool_history


S3: dict[str, Any] = {"s3Location": {"uri": "s3://bucket/key"}}


@pytest.mark.parametrize(
    ("block", "need"),
    [
        ({"type": "video", "base64": "x", "mime_type": "video/mp4"}, "video"),
        ({"type": "video_url", "video_url": {"url": "data:"}}, "video"),
        ({"video": {"format": "mp4", "source": {"bytes": b"x"}}}, "video"),
        ({"type": "non_standard", "value": {"video": {"format": "mp4"}}}, "video"),
        ({"type": "audio", "base64": "x", "mime_type": "audio/mp3"}, "audio"),
        ({"audio": {"format": "mp3", "source": {"bytes": b"x"}}}, "audio"),
        ({"type": "search_result", "source": "s", "title": "t", "content": []}, "search_results"),
        ({"searchResult": {"source": "s", "title": "t", "content": []}}, "search_results"),
        ({"image": {"format": "png", "source": S3}}, "s3_sources"),
        ({"type": "image", "image": {"format": "png", "source": S3}}, "s3_sources"),
        ({"document": {"format": "pdf", "name": "d", "source": S3}}, "s3_sources"),
        ({"type": "video", "source": {"type": "s3Location", "data": {}}}, "s3_sources"),
        ({"video": {"format": "mp4", "source": {"s3_location": {}}}}, "s3_sources"),
    ],
)
def test_media_are_seen_in_every_form_also_inside_tool_results(
    block: dict[str, Any], need: str
) -> None:
    for messages in (
        [HumanMessage([block])],
        [ToolMessage([block], tool_call_id="1")],
        [HumanMessage([{"toolResult": {"toolUseId": "1", "content": [block]}}])],
    ):
        assert getattr(needs_of(messages, {}), need)
        assert not getattr(needs_of(messages, {}).bound, need)


def test_an_answer_that_is_begun_is_a_need_and_a_tool_call_is_none() -> None:
    call = {"name": "f", "args": {}, "id": "1"}

    assert needs_of([HumanMessage("hi"), AIMessage("{")], {}).prefill
    assert not needs_of([HumanMessage("hi"), AIMessage("", tool_calls=[call])], {}).prefill
    assert not needs_of([], {}).prefill


def test_text_needs_nothing() -> None:
    assert needs_of([AIMessage(["a", "b"]), HumanMessage("hi")], {}) == Needs()


def test_bound_tools_are_required_of_the_chain() -> None:
    call = AIMessage("", tool_calls=[{"name": "f", "args": {}, "id": "1"}])

    needs = needs_of([call], {"tools": [{}], "tool_choice": "f", "response_format": {"type": "x"}})

    assert needs == Needs(tools=True, tool_choice="tool", tool_history=True, structured_output=True)
    assert needs.bound == Needs(tools=True, tool_choice="tool", structured_output=True)


def test_an_agents_requirements_are_needs() -> None:
    assert Needs.of_agent(["tools", "images"]) == Needs(tools=True, images=True)
