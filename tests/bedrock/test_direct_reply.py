"""A reply that is read directly, and every error, equals what botocore makes of it."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings

from tests.bedrock.shape_values import SERVICE, Values
from tests.bedrock.two_ways import Server, calls_of, client, http_reply, json_reply, outcome
from tests.support import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

_RECORDINGS = ROOT.parent / "shared" / "recordings" / "converse.jsonl"
_LINES = _RECORDINGS.read_text("utf-8").splitlines() if _RECORDINGS.is_file() else []

_PARAMS: dict[str, Any] = {
    "modelId": "m",
    "messages": [{"role": "user", "content": [{"text": "x"}]}],
}
_REPLIES = {
    odd: Values(wire=True, odd=odd).of(SERVICE.operation_model("Converse").output_shape)
    for odd in (0, 30)
}
_CODES = [*(shape.name for shape in SERVICE.error_shapes), "UnknownException", "a#B:c", ""]


class _Reader:
    """Gives one reply to both clients."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._made = [client(server.url, direct=direct) for direct in (False, True)]

    def read(self, reply: bytes, params: dict[str, Any], *, streams: bool) -> Any:
        self._server.reply = reply
        found = [
            outcome(made.converse_stream if streams else made.converse, params)
            for made in self._made
        ]
        self._server.take()
        assert found[0] == found[1]
        assert calls_of(self._made[1])._off == ""
        return found[1]

    @property
    def logged(self) -> set[str]:
        return calls_of(self._made[1])._logged

    def close(self) -> None:
        for made in self._made:
            made.close()


@pytest.fixture(scope="module")
def reader() -> Iterator[_Reader]:
    with Server() as server:
        made = _Reader(server)
        yield made
        made.close()


@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(reply=_REPLIES[0])
def test_any_valid_reply_is_read_as_botocore_reads_it(reader: _Reader, reply: Any) -> None:
    reader.read(json_reply(json.dumps(reply).encode()), _PARAMS, streams=False)


@settings(max_examples=100, suppress_health_check=list(HealthCheck))
@given(reply=_REPLIES[30])
def test_any_other_reply_is_read_as_botocore_reads_it(reader: _Reader, reply: Any) -> None:
    reader.read(json_reply(json.dumps(reply).encode()), _PARAMS, streams=False)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"x"',
        b"<html>busy</html>",
        b"\xff\xfe{}",
        b"\xef\xbb\xbf{}",
        b'{"output": null, "stopReason": "end_turn"}',
        b'{"output": {}}',
        b'{"output": {"message": {"role": "assistant", "content": [{}]}}}',
        b'{"output": {"message": {"role": "assistant", "content": [{"new": {"a": 1}}]}}}',
        b'{"output": {"message": {"role": "assistant", "content": [null, {"text": "x"}]}}}',
        b'{"usage": {"inputTokens": 3.0}, "metrics": {"latencyMs": "5"}}',
        b'{"unknown": 1, "stopReason": "end_turn"}',
        b'{"stopReason": NaN}',
    ],
)
@pytest.mark.parametrize("status", [200, 201, 204, 300, 302])
def test_odd_bodies_are_read_as_botocore_reads_them(
    reader: _Reader, body: bytes, status: int
) -> None:
    reader.read(
        http_reply(status, {"Content-Type": "application/json"}, body), _PARAMS, streams=False
    )


@pytest.mark.parametrize("streams", [False, True])
@pytest.mark.parametrize("status", [400, 403, 404, 408, 424, 429, 500, 502, 503])
@pytest.mark.parametrize("where", ["header", "__type", "code", "nowhere"])
def test_errors_have_botocores_class_text_and_fields(
    reader: _Reader, status: int, where: str, *, streams: bool
) -> None:
    for code in _CODES:
        fields = {"message": "no é", "originalStatusCode": 500, "resourceName": "r", "extra": 1}
        headers = {"x-amzn-RequestId": "r-9", "X-Other": "a, b"}
        if where == "header":
            headers["x-amzn-ErrorType"] = f"{code}:http://internal.amazon.com/"
        elif where != "nowhere":
            fields[where] = code
        body = json.dumps(fields).encode()

        reader.read(http_reply(status, headers, body), _PARAMS, streams=streams)


@pytest.mark.parametrize("streams", [False, True])
@pytest.mark.parametrize(
    "body", [b"", b"<html>x</html>", b"upstream down", b"{", b"{}", b'{"Message": "M"}']
)
@pytest.mark.parametrize("status", [400, 429, 500, 503])
def test_errors_of_proxies_have_botocores_class_text_and_fields(
    reader: _Reader, status: int, body: bytes, *, streams: bool
) -> None:
    reader.read(
        http_reply(status, {"x-amz-request-id": "r", "x-amz-id-2": "h"}, body),
        _PARAMS,
        streams=streams,
    )


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x-amz-request-id": "r"},
        {"X-A": "1", "x-a": "2"},
        {"x-amzn-requestid": "r", "X-E": "é"},
    ],
)
def test_the_metadata_are_botocores(reader: _Reader, headers: dict[str, str]) -> None:
    (reply, _) = reader.read(http_reply(200, headers, b"{}"), _PARAMS, streams=False)

    assert "RetryAttempts" in reply


@pytest.mark.parametrize("line", _LINES, ids=range(len(_LINES)))
def test_each_recording_is_sent_and_read_as_by_boto3(reader: _Reader, line: str) -> None:
    record = json.loads(line)
    body = base64.b64decode(record["body_base64"])
    params = {"modelId": record["model_id"], **_bytes(record["request"])}

    reader.read(
        http_reply(record["status"], record["headers"], body),
        params,
        streams=record["operation"] == "ConverseStream",
    )

    assert reader.logged == set()


def _bytes(value: Any) -> Any:
    """Return recorded JSON with the bytes that boto3 takes."""
    if isinstance(value, dict):
        return {
            k: base64.b64decode(v) if k in ("bytes", "redactedContent") else _bytes(v)
            for k, v in value.items()
        }
    return [_bytes(item) for item in value] if isinstance(value, list) else value
