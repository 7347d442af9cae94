"""The local Bedrock refuses what each model refuses, by the facts of the data file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

if TYPE_CHECKING:
    from langchain_modelmgr.local import LocalAWS

SONNET_45 = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
SONNET_37 = "us.anthropic.claude-3-7-sonnet-20250219-v1:0"
HAIKU_35 = "anthropic.claude-3-5-haiku-20241022-v1:0"
OPUS_46 = "us.anthropic.claude-opus-4-6-v1"
OPUS_47 = "us.anthropic.claude-opus-4-7"
NOVA = "us.amazon.nova-pro-v1:0"
LLAMA = "us.meta.llama3-3-70b-instruct-v1:0"
GPT_OSS = "openai.gpt-oss-120b-1:0"
R1 = "us.deepseek.r1-v1:0"
ARN = f"arn:aws:bedrock:us-east-1:123456789012:inference-profile/{NOVA}"
TEXT: dict[str, Any] = {"text": "x"}
POINT: dict[str, Any] = {"cachePoint": {"type": "default"}}
HOUR: dict[str, Any] = {"cachePoint": {"type": "default", "ttl": "1h"}}
TOOL: dict[str, Any] = {"toolSpec": {"name": "look", "inputSchema": {"json": {"type": "object"}}}}
TOOLS = {"tools": [TOOL]}
USE: dict[str, Any] = {"toolUse": {"toolUseId": "t", "name": "look", "input": {}}}
RESULT: dict[str, Any] = {"toolResult": {"toolUseId": "t", "content": [TEXT]}}
PICTURE: dict[str, Any] = {"image": {"format": "png", "source": {"bytes": b"x"}}}
FILM: dict[str, Any] = {"video": {"format": "mp4", "source": {"bytes": b"x"}}}
STORED: dict[str, Any] = {"s3Location": {"uri": "s3://bucket/key"}}
FOUND: dict[str, Any] = {"searchResult": {"source": "s", "title": "t", "content": [TEXT]}}


def _turns(*turns: list[Any]) -> list[Any]:
    return [{"role": ("user", "assistant")[i % 2], "content": t} for i, t in enumerate(turns)]


def _refusal(aws: LocalAWS, model_id: str, turns: list[Any] | None, fields: Any) -> str:
    messages = turns or _turns([TEXT])
    with pytest.raises(ClientError) as caught:
        aws.client("bedrock-runtime").converse(modelId=model_id, messages=messages, **fields)
    return str(caught.value)


def _fields(**fields: Any) -> dict[str, Any]:
    return {"additionalModelRequestFields": fields}


@pytest.mark.parametrize(
    ("model_id", "turns", "fields", "words"),
    [
        (NOVA, None, {"toolConfig": {"tools": [TOOL, POINT]}}, "#/toolConfig/tools/1: extraneous"),
        (ARN, None, {"toolConfig": {"tools": [TOOL, POINT]}}, "extraneous key [cachePoint]"),
        (NOVA, _turns([TEXT], [USE], [RESULT, POINT]), {"toolConfig": TOOLS}, "#/messages/2/con"),
        (LLAMA, None, {"system": [TEXT, POINT]}, "did not allow prompt caching"),
        (SONNET_37, None, {"system": [TEXT, HOUR]}, "ttl field"),
        (SONNET_45, _turns([TEXT, HOUR]), {"system": [TEXT, POINT]}, "must not come after"),
        (SONNET_45, _turns([TEXT, *[POINT] * 5]), {}, "4 cache points at most"),
        (HAIKU_35, _turns([TEXT, PICTURE]), {}, "doesn't support the image field"),
        (SONNET_45, _turns([TEXT, FILM]), {}, "doesn't support the video field"),
        (NOVA, _turns([TEXT, FOUND]), {}, "doesn't support the searchResult field"),
        (
            SONNET_45,
            _turns([TEXT, {"image": {"format": "png", "source": STORED}}]),
            {},
            "image.source.type: Field required",
        ),
        (OPUS_46, _turns([TEXT], [TEXT]), {}, "assistant message prefill"),
        (LLAMA, None, {"toolConfig": {**TOOLS, "toolChoice": {"any": {}}}}, "toolChoice.any"),
        (GPT_OSS, None, {"inferenceConfig": {"stopSequences": ["x"]}}, "the stopSequences field"),
        (R1, None, {"inferenceConfig": {"stopSequences": ["Observation"]}}, "limit of 10 char"),
        (SONNET_45, None, {"inferenceConfig": {"stopSequences": ["\n"]}}, "non-whitespace"),
        (SONNET_45, None, {"inferenceConfig": {"temperature": 0.5, "topP": 0.5}}, "cannot both"),
        (OPUS_47, None, {"inferenceConfig": {"temperature": 0.5}}, "deprecated"),
        (LLAMA, None, {"inferenceConfig": {"maxTokens": 100_000}}, "exceeds the model limit"),
        (NOVA, None, {"serviceTier": {"type": "flex"}}, ""),
        (SONNET_45, None, {"serviceTier": {"type": "flex"}}, "service tier flex"),
        (NOVA, None, _fields(thinking={"type": "adaptive"}), "extraneous key [thinking]"),
        (HAIKU_35, None, _fields(thinking={"type": "enabled"}), "expected tags: none"),
        (SONNET_45, None, _fields(thinking={"type": "adaptive"}), "'enabled', 'disabled'"),
        (SONNET_45, None, _fields(anthropic_beta=["no-such-flag"]), "invalid beta flag"),
    ],
)
def test_a_model_refuses_what_it_does_not_take(
    local_aws: LocalAWS, model_id: str, turns: Any, fields: dict[str, Any], words: str
) -> None:
    if not words:  # the counterpart: taken
        messages = turns or _turns([TEXT])
        local_aws.client("bedrock-runtime").converse(modelId=model_id, messages=messages, **fields)
    else:
        assert words in _refusal(local_aws, model_id, turns, fields)


@pytest.mark.parametrize(
    ("inference", "fields", "more", "words"),
    [
        ({"maxTokens": 2000}, {}, {}, "must be greater than `thinking.budget_tokens`"),
        ({"temperature": 0.5}, {}, {}, "may only be set to 1"),
        ({"topP": 0.5}, {}, {}, "greater than or equal to 0.95"),
        ({}, {"top_k": 5}, {}, "`top_k` must be unset"),
        ({}, {}, {"toolConfig": {**TOOLS, "toolChoice": {"any": {}}}}, "forces tool use"),
    ],
)
def test_thinking_excludes_what_it_excludes_at_anthropic(
    local_aws: LocalAWS,
    inference: dict[str, Any],
    fields: dict[str, Any],
    more: dict[str, Any],
    words: str,
) -> None:
    thinking = {"thinking": {"type": "enabled", "budget_tokens": 2000}, **fields}
    given = {"inferenceConfig": inference, "additionalModelRequestFields": thinking, **more}

    assert words in _refusal(local_aws, SONNET_37, None, given)


def test_a_budget_has_a_least_size(local_aws: LocalAWS) -> None:
    fields = _fields(thinking={"type": "enabled", "budget_tokens": 1000})

    assert "greater than or equal to 1024" in _refusal(local_aws, SONNET_37, None, fields)


def test_a_model_that_the_data_file_does_not_have_takes_everything(local_aws: LocalAWS) -> None:
    reply = local_aws.client("bedrock-runtime").converse(
        modelId="acme.unheard-of",
        messages=_turns([TEXT, FILM, POINT], [TEXT]),
        inferenceConfig={"temperature": 0.5, "topP": 0.5, "stopSequences": ["\n"]},
        additionalModelRequestFields={"thinking": {"type": "adaptive"}},
    )

    assert reply["stopReason"]


def test_a_model_can_be_configured_to_take_more_or_less(local_aws: LocalAWS) -> None:
    runtime = local_aws.client("bedrock-runtime")
    seen = _turns([TEXT, PICTURE])
    local_aws.facts(HAIKU_35, supports_images=True)
    local_aws.facts("acme.unheard-of", supports_images=False)

    assert runtime.converse(modelId=HAIKU_35, messages=seen)["stopReason"]
    assert "the image field" in _refusal(local_aws, "acme.unheard-of", seen, {})
