"""The upper bound of a prompt: never below the real count."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from botocore.eventstream import EventStreamBuffer

from langchain_modelmgr.budgets.prompt_bound import prompt_bound
from langchain_modelmgr.usage.meter import token_counts
from tests.support import ROOT

RECORDINGS = ROOT.parent / "shared" / "recordings" / "converse.jsonl"
_LINES = RECORDINGS.read_text("utf-8").splitlines() if RECORDINGS.is_file() else []
_ALL = [json.loads(line) for line in _LINES]
_COUNTED = [r for r in _ALL if r["status"] == 200 and r["request"]]


def usage_of(record: dict[str, Any]) -> dict[str, Any]:
    body = base64.b64decode(record["body_base64"])
    if record["operation"] == "Converse":
        return json.loads(body).get("usage") or {}
    buffer: Any = EventStreamBuffer()
    buffer.add_data(body)
    usage: dict[str, Any] = {}
    for event in buffer:
        if event.headers[":event-type"] == "metadata":
            usage = json.loads(event.payload)["usage"]
    return usage


def text(content: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": content}]}


@pytest.mark.skipif(not _ALL, reason="the recordings are not at hand")
@pytest.mark.parametrize(
    "record", [pytest.param(r, id=f"{i}-{r['model_id']}") for i, r in enumerate(_COUNTED)]
)
def test_the_bound_of_every_recorded_request_is_at_least_what_bedrock_counted(
    record: dict[str, Any],
) -> None:
    bound = prompt_bound(record["request"])

    real = token_counts(usage_of(record)).prompt_tokens
    assert bound is None or bound >= real


def test_a_byte_of_text_counts_as_a_token() -> None:
    assert prompt_bound(text([{"text": "pallets"}])) == 7 + 16
    assert prompt_bound(text([{"text": "Übung"}])) == 6 + 16
    assert prompt_bound({**text([{"text": "a"}]), "system": [{"text": "b"}]}) == 2 + 32


def test_tools_count_with_their_schemas() -> None:
    tools = {"tools": [{"toolSpec": {"name": "stock", "inputSchema": {"json": {}}}}]}

    bound = prompt_bound({**text([{"text": "a"}]), "toolConfig": tools})

    assert bound == 17 + 1_000 + len(json.dumps(tools))


def test_instructions_for_a_schema_and_for_a_makers_own_tools_count_as_for_tools() -> None:
    cases: tuple[dict[str, Any], ...] = (
        {"outputConfig": {"textFormat": {}}},
        {"additionalModelRequestFields": {"tools": [{"type": "bash_20250124"}]}},
    )
    for more in cases:
        bound = prompt_bound({**text([{"text": "a"}]), **more})
        assert bound is not None
        assert bound > 1_000


def test_a_tool_that_the_service_runs_has_no_bound() -> None:
    tools = {"tools": [{"systemTool": {"name": "nova_grounding"}}]}

    assert prompt_bound({**text([{"text": "a"}]), "toolConfig": tools}) is None


def test_an_image_counts_5000_whatever_its_bytes() -> None:
    image = {"image": {"format": "png", "source": {"bytes": b"x" * 100_000}}}

    assert prompt_bound(text([image])) == 5_016


@pytest.mark.parametrize(
    "block",
    [
        {"document": {"format": "pdf", "name": "d", "source": {"bytes": b"%PDF"}}},
        {"document": {"format": "docx", "name": "d", "source": {"bytes": b"PK"}}},
        {"document": {"format": "txt", "name": "d", "source": {"s3Location": {"uri": "s3://b"}}}},
        {"image": {"format": "png", "source": {"s3Location": {"uri": "s3://b"}}}},
        {"video": {"format": "mp4", "source": {"bytes": b"x"}}},
    ],
)
def test_what_bytes_do_not_bound_has_no_bound(block: dict[str, Any]) -> None:
    assert prompt_bound(text([block])) is None
    assert prompt_bound(text([{"toolResult": {"toolUseId": "1", "content": [block]}}])) is None


def test_a_text_document_counts_its_bytes_and_its_citations() -> None:
    document = {"format": "txt", "name": "d", "source": {"bytes": b"x" * 500}}
    plain = prompt_bound(text([{"document": document}]))
    cited = prompt_bound(text([{"document": {**document, "citations": {"enabled": True}}}]))

    assert plain is not None
    assert cited is not None
    assert plain > 500
    assert cited > plain + 1_000


def test_a_prompt_arn_has_no_bound() -> None:
    arn = "arn:aws:bedrock:us-east-1:111122223333:prompt/PROMPT12345:1"

    assert prompt_bound({"modelId": arn, **text([{"text": "a"}])}) is None
