"""Video, audio, search results, S3 sources and begun answers go to no model that can't take them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage

from langchain_modelmgr import ModelCompatibilityError, ModelManager

if TYPE_CHECKING:
    from langchain_modelmgr.local import LocalAWS
    from tests.agents import Configure

NOVA = "us.amazon.nova-pro-v1:0"
CLAUDE = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
CLAUDE_46 = "us.anthropic.claude-sonnet-4-6"
VOXTRAL = "mistral.voxtral-small-24b-2507"
TEXT: dict[str, Any] = {"type": "text", "text": "What is this?"}
S3: dict[str, Any] = {"s3Location": {"uri": "s3://bucket/key"}}


def _served(aws: LocalAWS, config: Any, first: str, content: list[Any]) -> dict[str, Any]:
    aws.fail(first, "ThrottlingException")
    reply = ModelManager(config, sinks=[]).chat_model("a").invoke([HumanMessage(content)])
    report: dict[str, Any] = reply.response_metadata["model_manager"]
    return report


@pytest.mark.parametrize(
    ("block", "reason"),
    [
        ({"type": "video", "base64": "eA==", "mime_type": "video/mp4"}, "video"),
        ({"video": {"format": "mp4", "source": {"bytes": b"x"}}}, "video"),
        ({"image": {"format": "png", "source": S3}}, "sources in Amazon S3"),
        ({"document": {"format": "pdf", "name": "d", "source": S3}}, "sources in Amazon S3"),
    ],
)
def test_claude_is_passed_over_for_what_nova_alone_takes(
    configured: Configure, local_aws: LocalAWS, block: dict[str, Any], reason: str
) -> None:
    config = configured(
        f"a: {{model: '{NOVA}', fallbacks: ['{CLAUDE}', amazon.nova-lite-v1:0], retries: 0}}"
    )

    report = _served(local_aws, config, NOVA, [TEXT, block])

    assert report["model_id"] == "amazon.nova-lite-v1:0"
    assert report["skipped"] == [{"model_id": CLAUDE, "reason": f"Model does not support {reason}"}]
    assert local_aws.requests(CLAUDE) == 0


def test_nova_is_passed_over_for_search_results(configured: Configure, local_aws: LocalAWS) -> None:
    config = configured(f"a: {{model: '{CLAUDE}', fallbacks: ['{NOVA}', '{CLAUDE_46}']}}")
    found = {
        "type": "search_result",
        "source": "https://example.com",
        "title": "t",
        "content": [{"type": "text", "text": "x"}],
        "citations": {"enabled": True},
    }

    report = _served(local_aws, config, CLAUDE, [TEXT, found])

    assert report["model_id"] == CLAUDE_46
    assert report["skipped"][0]["reason"] == "Model does not support search results"


def test_audio_is_sent_to_a_model_that_accepts_it(
    configured: Configure, local_aws: LocalAWS
) -> None:
    manager = ModelManager(
        configured(f"a: {{model: '{CLAUDE}', fallbacks: ['{NOVA}', '{VOXTRAL}']}}"), sinks=[]
    )
    audio = {"audio": {"format": "mp3", "source": {"bytes": b"x"}}}

    result = manager.invoke_model("a", [{"role": "user", "content": [{"text": "x"}, audio]}])

    assert result["model_id"] == VOXTRAL
    assert [skipped["model_id"] for skipped in result["skipped"]] == [CLAUDE, NOVA]


@pytest.mark.parametrize("shape", ["langchain", "bedrock"])
def test_a_begun_answer_is_sent_to_a_model_that_continues_it(
    configured: Configure, local_aws: LocalAWS, shape: str
) -> None:
    manager = ModelManager(
        configured(f"a: {{model: '{NOVA}', fallbacks: ['{CLAUDE_46}', '{CLAUDE}']}}"), sinks=[]
    )
    local_aws.fail(NOVA, "ThrottlingException")

    if shape == "langchain":
        history = [HumanMessage("JSON, please."), AIMessage('{"count":')]
        report = manager.chat_model("a").invoke(history).response_metadata["model_manager"]
    else:
        report = manager.invoke_model(
            "a",
            [
                {"role": "user", "content": [{"text": "JSON, please."}]},
                {"role": "assistant", "content": [{"text": '{"count":'}]},
            ],
        )

    assert report["model_id"] == CLAUDE
    assert report["skipped"][0]["model_id"] == CLAUDE_46


def test_a_request_that_no_model_takes_is_an_error_before_anything_is_sent(
    configured: Configure, local_aws: LocalAWS
) -> None:
    llm = ModelManager(
        configured(f"a: {{model: '{CLAUDE}', fallbacks: ['{CLAUDE_46}']}}"), sinks=[]
    ).chat_model("a")
    film = {"type": "video", "base64": "eA==", "mime_type": "video/mp4"}

    with pytest.raises(ModelCompatibilityError, match="does not support video"):
        llm.invoke([HumanMessage([TEXT, film])])

    assert local_aws.requests() == 0
