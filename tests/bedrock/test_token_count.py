"""Documents, images and video count as what they are, not as the text of their bytes."""

from __future__ import annotations

import base64
import struct
import zlib
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.messages import (
    AIMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
    trim_messages,
)
from langchain_core.messages.utils import count_tokens_approximately

from langchain_modelmgr import ManagedBedrockChat
from langchain_modelmgr.usage.media_tokens import image_tokens, pdf_pages
from tests.models import SONNET

if TYPE_CHECKING:
    from langchain_modelmgr.local import LocalAWS
    from tests.agents import Configure


@pytest.fixture
def llm(configured: Configure) -> ManagedBedrockChat:
    return ManagedBedrockChat(agent_name="a", config=configured(f"a: {{model: '{SONNET}'}}"))


def pdf(pages: int, *, size: int = 0, packed: bool = False) -> bytes:
    objects = b"\n".join(b"<< /Type /Page /Parent 1 0 R >>" for _ in range(pages))
    tree = b"1 0 obj << /Type /Pages /Count %d >> endobj\n" % pages
    if packed:
        data = zlib.compress(objects)
        head = b"9 0 obj << /Type /ObjStm /N 1 /Filter /FlateDecode /Length %d >> stream\n" % len(
            data
        )
        objects = head + data + b"\nendstream endobj"
    body = b"%PDF-1.7\n" + tree + objects
    return body + b"\n%" + b"0" * max(0, size - len(body)) + b"\n%%EOF"


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


PDF_12 = pdf(12, size=400_000)
PNG = b"\x89PNG\r\n\x1a\n" + b"\0\0\0\rIHDR" + struct.pack(">II", 300, 500) + bytes(90_000)
FORMS: list[dict[str, Any]] = [
    {"type": "file", "mime_type": "application/pdf", "base64": b64(PDF_12)},
    {"type": "file", "mime_type": "application/pdf", "source_type": "base64", "data": b64(PDF_12)},
    {
        "type": "file",
        "file": {"filename": "a.pdf", "file_data": f"data:application/pdf;base64,{b64(PDF_12)}"},
    },
    {
        "type": "document",
        "source": {"type": "base64", "media_type": "application/pdf", "data": b64(PDF_12)},
    },
    {"type": "document", "document": {"format": "pdf", "name": "a", "source": {"bytes": PDF_12}}},
    {"document": {"format": "pdf", "name": "a", "source": {"bytes": PDF_12}}},
    {
        "type": "non_standard",
        "value": {"document": {"format": "pdf", "name": "a", "source": {"bytes": PDF_12}}},
    },
]


def tokens_of(llm: ManagedBedrockChat, *blocks: Any) -> int:
    plain = count_tokens_approximately([HumanMessage([])])
    return llm.get_num_tokens_from_messages([HumanMessage(list(blocks))]) - plain


@pytest.mark.parametrize("block", FORMS)
def test_a_pdf_counts_by_its_pages_in_each_form(llm: ManagedBedrockChat, block: Any) -> None:
    assert tokens_of(llm, block) == 12 * 2_000


@pytest.mark.parametrize("packed", [False, True])
def test_pages_are_read_where_they_are_packed_too(packed: bool) -> None:
    assert pdf_pages(pdf(40, packed=packed)) == 40


def test_a_pdf_whose_pages_cannot_be_read_counts_by_its_size(llm: ManagedBedrockChat) -> None:
    def unread(size: int) -> int:
        data = b"%PDF-1.7 /Encrypt " + b"/ObjStm stream\nnoise" + b"0" * (size - 38)
        return tokens_of(llm, {"document": {"format": "pdf", "source": {"bytes": data}}})

    assert unread(400_000) == 2_000
    assert unread(1_200_000) == 6_000


def test_a_bomb_is_read_to_its_bound() -> None:
    packed = zlib.compress(b"/Type /Page " * 10_000_000, 9)

    assert pdf_pages(b"/ObjStm stream\n" + packed) < 100_000


@pytest.mark.parametrize(
    ("block", "tokens"),
    [
        ({"type": "file", "mime_type": "text/plain", "base64": b64(b"x" * 400)}, 100),
        ({"document": {"format": "md", "name": "a", "source": {"text": "x" * 400}}}, 100),
        ({"document": {"format": "csv", "name": "a", "source": {"bytes": b"x" * 400}}}, 100),
        ({"document": {"name": "a", "source": {"content": [{"text": "x" * 400}]}}}, 100),
        ({"type": "text-plain", "mime_type": "text/plain", "text": "x" * 400}, 100),
        ({"document": {"format": "docx", "name": "a", "source": {"bytes": b"x" * 120_000}}}, 6_000),
        (
            {
                "document": {
                    "format": "pdf",
                    "name": "a",
                    "source": {"s3Location": {"uri": "s3://b/k"}},
                }
            },
            2_000,
        ),
        ({"type": "file", "file_id": "f"}, 2_000),
        ({"type": "image", "mime_type": "image/png", "base64": b64(PNG)}, 200),
        (
            {
                "type": "image",
                "source": {"type": "base64", "media_type": "image/png", "data": b64(PNG)},
            },
            200,
        ),
        ({"type": "image_url", "image_url": {"url": f"data:image/png;base64,{b64(PNG)}"}}, 200),
        ({"image": {"format": "png", "source": {"bytes": PNG}}}, 200),
        ({"type": "image", "url": "https://example.com/a.png"}, 1_600),
        ({"type": "image", "base64": "not base64!"}, 1_600),
        ({"video": {"format": "mp4", "source": {"bytes": bytes(6_000_000)}}}, 3 * 2_880),
        ({"type": "video", "mime_type": "video/mp4", "base64": b64(bytes(100))}, 2_880),
        ({"type": "audio", "mime_type": "audio/mp3", "base64": b64(bytes(200_000))}, 250),
        ({"cachePoint": {"type": "default"}}, 0),
        (
            {
                "type": "reasoning_content",
                "reasoning_content": {"text": "x" * 40, "signature": "s" * 4_000},
            },
            10,
        ),
        ({"reasoningContent": {"redactedContent": b"x" * 4_000}}, 0),
    ],
)
def test_each_kind_of_block_counts_as_what_it_is(
    llm: ManagedBedrockChat, block: dict[str, Any], tokens: int
) -> None:
    assert tokens_of(llm, block) == tokens


def test_blocks_inside_tool_results_count_the_same(llm: ManagedBedrockChat) -> None:
    image = {"image": {"format": "png", "source": {"bytes": PNG}}}
    own = {"toolResult": {"toolUseId": "t", "content": [image, FORMS[5]]}}
    anthropic = {"type": "tool_result", "tool_use_id": "t", "content": [image, FORMS[0]]}

    assert tokens_of(llm, own) == 24_200
    assert tokens_of(llm, anthropic) == 24_200
    message = ToolMessage([image, FORMS[0]], tool_call_id="t")
    empty = ToolMessage([], tool_call_id="t")
    counted = llm.get_num_tokens_from_messages([message])
    assert counted - llm.get_num_tokens_from_messages([empty]) == 24_200


def test_text_counts_as_langchain_counts_it(llm: ManagedBedrockChat) -> None:
    call = {"name": "look", "args": {"a": 1}, "id": "t", "type": "tool_call"}
    messages = [
        SystemMessage("You know the stock."),
        HumanMessage(["how many?", {"type": "text", "text": "now"}]),
        AIMessage("", tool_calls=[call]),
        ToolMessage("3", tool_call_id="t"),
    ]

    assert llm.get_num_tokens_from_messages(messages) == count_tokens_approximately(messages)


@pytest.mark.parametrize("data", [pdf(1, size=400_000), b"%PDF-1.4" + bytes(400_000)])
def test_trimming_keeps_a_question_about_a_document(
    llm: ManagedBedrockChat, local_aws: LocalAWS, data: bytes
) -> None:
    file = {"type": "file", "mime_type": "application/pdf", "base64": b64(data), "name": "a"}
    question = HumanMessage([file, {"type": "text", "text": "How many pallets are in it?"}])
    old = [HumanMessage("x" * 20_000), AIMessage("y")]

    kept = trim_messages([*old, question], max_tokens=4_000, token_counter=llm, strategy="last")

    assert kept == [AIMessage("y"), question]
    assert local_aws.requests() == 0


@pytest.mark.parametrize(
    ("data", "tokens"),
    [
        (b"GIF89a" + struct.pack("<HH", 300, 500), 200),
        (b"\xff\xd8\xff\xe0\x00\x04ab\xff\xc0\x00\x11\x08" + struct.pack(">HH", 500, 300), 200),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">II", 9_000, 9_000), 1_600),
        (b"\x89PNG", 1_600),
        (b"\x89PNG\r\n\x1a\n", 1_600),
        (b"\xff\xd8\xff\xe0\xff\xff", 1_600),
        (b"RIFFxxxxWEBP", 1_600),
    ],
)
def test_the_size_of_an_image_is_read_from_its_header(data: bytes, tokens: int) -> None:
    assert image_tokens(data) == tokens
