"""The local Bedrock, through boto3."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

import botocore.exceptions
import pytest
from botocore.exceptions import ClientError, EventStreamError

from langchain_modelmgr.local import LocalAWS, ScriptedReply
from tests.models import SONNET, TITAN

if TYPE_CHECKING:
    from pathlib import Path

SONNET_45 = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
HELLO: list[Any] = [{"role": "user", "content": [{"text": "hello, how many pallets?"}]}]
THINKER = "us.anthropic.claude-3-7-sonnet-20250219-v1:0"
TOOL: dict[str, Any] = {
    "toolSpec": {
        "name": "count_pallets",
        "description": "Counts pallets.",
        "inputSchema": {"json": {"type": "object", "properties": {"n": {"type": "integer"}}}},
    }
}


@pytest.fixture
def runtime(local_aws: LocalAWS) -> Any:
    return local_aws.client("bedrock-runtime")


def events_of(reply: Any) -> list[Any]:
    with closing(reply["stream"]) as stream:
        return list(stream)


def test_converse_answers_with_honest_counts(runtime: Any, local_aws: LocalAWS) -> None:
    reply = runtime.converse(modelId=SONNET, messages=HELLO)

    usage = reply["usage"]
    assert "pallets" in reply["output"]["message"]["content"][0]["text"]
    assert reply["stopReason"] == "end_turn"
    assert usage["totalTokens"] == usage["inputTokens"] + usage["outputTokens"] > 0
    assert local_aws.requests(SONNET) == 1
    assert local_aws.calls()[0].operation == "Converse"


def test_converse_stream_sends_real_frames(runtime: Any) -> None:
    events = events_of(runtime.converse_stream(modelId=SONNET, messages=HELLO))

    kinds = [next(iter(event)) for event in events]
    text = "".join(
        e["contentBlockDelta"]["delta"]["text"] for e in events if "contentBlockDelta" in e
    )
    assert kinds[0] == "messageStart"
    assert kinds[-3:] == ["contentBlockStop", "messageStop", "metadata"]
    assert text == "You said: hello, how many pallets?"


def test_tools_reasoning_and_fields_stream_as_they_are_answered(
    runtime: Any, local_aws: LocalAWS
) -> None:
    reply = ScriptedReply(
        text="Let me see.",
        tool_calls=[("count_pallets", {"n": 3})],
        reasoning="They ask for pallets.",
        additional_fields={"note": "x"},
    )
    local_aws.reply(SONNET, reply, times=2)
    request = {"modelId": SONNET, "messages": HELLO, "toolConfig": {"tools": [TOOL]}}

    whole = runtime.converse(**request)
    events = events_of(runtime.converse_stream(**request))

    blocks = whole["output"]["message"]["content"]
    assert [next(iter(b)) for b in blocks] == ["reasoningContent", "text", "toolUse"]
    assert whole["stopReason"] == "tool_use"
    starts = [e["contentBlockStart"]["start"] for e in events if "contentBlockStart" in e]
    assert starts[0]["toolUse"]["name"] == "count_pallets"
    assert events[-2]["messageStop"]["additionalModelResponseFields"] == {"note": "x"}


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"messages": [{"role": "assistant", "content": [{"text": "x"}]}]}, "start with a user"),
        ({"messages": HELLO * 2}, "alternate"),
        ({"messages": [{"role": "user", "content": [{"text": " "}]}]}, "non-whitespace"),
        ({"messages": [{"role": "user", "content": []}]}, "is empty"),
        ({"messages": []}, "at least one message"),
        ({"messages": HELLO, "inferenceConfig": {"maxTokens": 0}}, "at least 1"),
        ({"messages": HELLO, "inferenceConfig": {"temperature": 1.5}}, "at most 1"),
        ({"messages": HELLO, "toolConfig": {"tools": []}}, "at least 1 items"),
        ({"messages": HELLO, "requestMetadata": {"a": "\u00e9" * 999}}, "characters"),
        (
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [{"toolResult": {"toolUseId": "t1", "content": []}}],
                    }
                ]
            },
            "toolConfig field must be defined",
        ),
        (
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [{"toolResult": {"toolUseId": "t1", "content": []}}],
                    }
                ],
                "toolConfig": {"tools": [TOOL]},
            },
            "unexpected toolResult",
        ),
        (
            {
                "messages": [
                    *HELLO,
                    {
                        "role": "assistant",
                        "content": [{"toolUse": {"toolUseId": "t1", "name": "f", "input": {}}}],
                    },
                    *HELLO,
                ],
                "toolConfig": {"tools": [TOOL]},
            },
            "Expected toolResult",
        ),
    ],
)
def test_a_malformed_request_is_refused_as_aws_does(
    local_aws: LocalAWS, body: dict[str, Any], words: str
) -> None:
    from botocore.config import Config

    runtime = local_aws.session().client(
        "bedrock-runtime",
        endpoint_url=local_aws.url,
        config=Config(parameter_validation=False, retries={"total_max_attempts": 1}),
    )

    with pytest.raises(ClientError, match=words) as caught:
        runtime.converse(modelId=SONNET, **body)

    assert caught.value.response["Error"]["Code"] == "ValidationException"
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400


@pytest.mark.parametrize(
    ("model_id", "operation", "words"),
    [
        (TITAN, "converse", "doesn't support tool use"),
        ("us.meta.llama3-3-70b-instruct-v1:0", "converse_stream", "in streaming mode"),
    ],
)
def test_tools_are_refused_where_aws_refuses_them(
    runtime: Any, model_id: str, operation: str, words: str
) -> None:
    with pytest.raises(ClientError, match=words):
        getattr(runtime, operation)(modelId=model_id, messages=HELLO, toolConfig={"tools": [TOOL]})


@pytest.mark.parametrize(
    ("model_id", "choice", "fields", "words"),
    [
        ("us.meta.llama3-3-70b-instruct-v1:0", "any", {}, "support the toolConfig.toolChoice.any"),
        ("mistral.mistral-large-2407-v1:0", "tool", {}, "support the toolConfig.toolChoice.tool"),
        ("anthropic.claude-opus-5-5", "any", {}, "support the toolConfig.toolChoice.any"),
        (THINKER, "any", {"thinking": {"type": "enabled"}}, "Thinking may not be enabled"),
        (THINKER, "tool", {"reasoning_config": {"type": "enabled"}}, "Thinking may not be enabled"),
    ],
)
def test_a_forced_choice_is_refused_where_aws_refuses_it(
    runtime: Any, model_id: str, choice: str, fields: dict[str, Any], words: str
) -> None:
    forced = {"name": "count_pallets"} if choice == "tool" else {}

    with pytest.raises(ClientError, match=words):
        runtime.converse(
            modelId=model_id,
            messages=HELLO,
            toolConfig={"tools": [TOOL], "toolChoice": {choice: forced}},
            additionalModelRequestFields=fields,
        )


@pytest.mark.parametrize(
    ("code", "status"),
    [("ThrottlingException", 429), ("AccessDeniedException", 403), ("ModelErrorException", 424),
     ("ModelTimeoutException", 408), ("ExpiredTokenException", 403)],
)  # fmt: skip
def test_a_planned_error_has_its_real_status_and_occurs_once(
    runtime: Any, local_aws: LocalAWS, code: str, status: int
) -> None:
    local_aws.fail(SONNET, code, times=1, retry_after=2)

    with pytest.raises(ClientError) as caught:
        runtime.converse(modelId=SONNET, messages=HELLO)

    reply = caught.value.response
    assert (reply["Error"]["Code"], reply["ResponseMetadata"]["HTTPStatusCode"]) == (code, status)
    assert reply["ResponseMetadata"]["HTTPHeaders"]["retry-after"] == "2"
    assert runtime.converse(modelId=SONNET, messages=HELLO)["stopReason"] == "end_turn"


def test_an_unknown_error_code_is_refused_when_it_is_ordered(local_aws: LocalAWS) -> None:
    with pytest.raises(ValueError, match="unknown Bedrock error code 'TrottlingException'"):
        local_aws.fail(SONNET, "TrottlingException")


def test_a_rate_is_the_same_for_the_same_seed(runtime: Any, local_aws: LocalAWS) -> None:
    def outcomes() -> list[bool]:
        local_aws.clear_faults()
        local_aws.fail(None, "ThrottlingException", rate=0.5, seed=3)
        seen: list[bool] = []
        for _ in range(20):
            try:
                runtime.converse(modelId=SONNET, messages=HELLO)
                seen.append(True)
            except ClientError:
                seen.append(False)
        return seen

    first, second = outcomes(), outcomes()

    assert first == second
    assert {True, False} == set(first)


def test_an_error_event_comes_in_mid_stream(runtime: Any, local_aws: LocalAWS) -> None:
    local_aws.fail(SONNET, "ModelStreamErrorException", at="stream", after=1)
    seen: list[Any] = []

    stream = runtime.converse_stream(modelId=SONNET, messages=HELLO)["stream"]
    with closing(stream), pytest.raises(EventStreamError, match="modelStreamErrorException"):
        seen.extend(event for event in stream)

    assert sum("contentBlockDelta" in event for event in seen) == 1


def test_a_cut_stream_has_no_end(runtime: Any, local_aws: LocalAWS) -> None:
    local_aws.cut(SONNET, after=1)

    events = events_of(runtime.converse_stream(modelId=SONNET, messages=HELLO))

    assert not any("messageStop" in event for event in events)


@pytest.mark.parametrize("at", ["request", "headers"])
@pytest.mark.parametrize("operation", ["converse", "converse_stream"])
def test_a_reset_breaks_the_connection(
    runtime: Any, local_aws: LocalAWS, operation: str, at: Any
) -> None:
    local_aws.reset(SONNET, at=at)

    reply: Any = {}
    with pytest.raises(Exception) as caught:  # noqa: PT011 - urllib3's or botocore's, by its place
        reply = getattr(runtime, operation)(modelId=SONNET, messages=HELLO)
        list(reply.get("stream", ()))
    if "stream" in reply:
        reply["stream"].close()

    assert not isinstance(caught.value, ClientError)


def test_a_stall_outlasts_the_clients_patience(local_aws: LocalAWS) -> None:
    from botocore.config import Config

    config = Config(read_timeout=0.2, retries={"total_max_attempts": 1})
    runtime = local_aws.session().client(
        "bedrock-runtime", endpoint_url=local_aws.url, config=config
    )
    local_aws.stall(SONNET, 300)

    with pytest.raises(botocore.exceptions.ReadTimeoutError):
        runtime.converse(modelId=SONNET, messages=HELLO)


def test_a_cached_prompt_is_written_once_and_read_afterwards(runtime: Any) -> None:
    system = [
        {"text": "You know the stock. " * 50},
        {"cachePoint": {"type": "default", "ttl": "1h"}},
    ]

    first = runtime.converse(modelId=SONNET_45, messages=HELLO, system=system)["usage"]
    second = runtime.converse(modelId=SONNET_45, messages=HELLO, system=system)["usage"]

    assert first["cacheWriteInputTokens"] == second["cacheReadInputTokens"] > 100
    assert first["cacheDetails"] == [{"ttl": "1h", "inputTokens": first["cacheWriteInputTokens"]}]
    assert first["totalTokens"] == second["totalTokens"]


def test_count_tokens_counts_what_converse_bills(runtime: Any) -> None:
    counted = runtime.count_tokens(modelId=SONNET, input={"converse": {"messages": HELLO}})

    billed = runtime.converse(modelId=SONNET, messages=HELLO)["usage"]["inputTokens"]
    assert counted["inputTokens"] == billed


def test_models_and_inference_profiles_are_listed(local_aws: LocalAWS, runtime: Any) -> None:
    arn = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc"
    local_aws.inference_profile(arn, SONNET)
    runtime.converse(modelId=SONNET, messages=HELLO)
    bedrock = local_aws.client("bedrock")

    profile = bedrock.get_inference_profile(inferenceProfileIdentifier=arn)
    models = bedrock.list_foundation_models()["modelSummaries"]
    details = bedrock.get_foundation_model(modelIdentifier=SONNET)["modelDetails"]

    assert profile["models"][0]["modelArn"].endswith(SONNET)
    assert SONNET in [m["modelId"] for m in models]
    assert details["modelId"] == SONNET
    with pytest.raises(bedrock.exceptions.ResourceNotFoundException):
        bedrock.get_inference_profile(inferenceProfileIdentifier="nobody")
    with pytest.raises(ClientError, match="does not serve"):
        bedrock.list_guardrails()


def test_a_model_that_does_not_exist_is_refused(runtime: Any, local_aws: LocalAWS) -> None:
    local_aws.unknown(SONNET)

    with pytest.raises(ClientError, match="model identifier is invalid"):
        runtime.converse(modelId=SONNET, messages=HELLO)


def test_a_server_that_is_not_started_has_no_address() -> None:
    aws = LocalAWS()

    with pytest.raises(RuntimeError, match="not started"):
        _ = aws.url
    aws.stop()


def test_a_server_starts_again_after_it_stopped() -> None:
    aws = LocalAWS()

    with aws.start():
        first = aws.start().url
    with aws:
        assert aws.client("bedrock-runtime").converse(modelId=SONNET, messages=HELLO)

    assert first.startswith("http://127.0.0.1:")


def test_recordings_are_replayed_byte_for_byte(
    local_aws: LocalAWS, runtime: Any, tmp_path: Path
) -> None:
    import base64
    import json

    body = json.dumps({"message": "gone"}).encode()
    record = {
        "operation": "Converse",
        "model_id": SONNET,
        "status": 404,
        "headers": {
            "content-type": "application/json",
            "x-amzn-ErrorType": "ResourceNotFoundException",
        },
        "body_base64": base64.b64encode(body).decode(),
    }
    (tmp_path / "r.jsonl").write_text(json.dumps(record))

    assert local_aws.replay(tmp_path / "r.jsonl") == 1
    with pytest.raises(ClientError, match="gone"):
        runtime.converse(modelId=SONNET, messages=HELLO)
    assert runtime.converse(modelId=SONNET, messages=HELLO)["stopReason"] == "end_turn"


def test_open_streams_are_counted(runtime: Any, local_aws: LocalAWS) -> None:
    local_aws.stall(SONNET, 300, at="stream", after=1)

    stream = runtime.converse_stream(modelId=SONNET, messages=HELLO)["stream"]
    next(iter(stream))
    open_now = local_aws.open_streams()
    stream.close()

    assert open_now == 1
    assert local_aws.wait_closed(50)
