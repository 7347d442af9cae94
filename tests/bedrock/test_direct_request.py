"""A request that is sent directly equals boto3's, byte for byte."""

from __future__ import annotations

import re
from http.client import HTTPConnection
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import boto3
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from tests.bedrock.shape_values import SERVICE, Values
from tests.bedrock.two_ways import Server, attempt, calls_of, client, outcome

if TYPE_CHECKING:
    from collections.abc import Iterator

_REQUESTS = {
    (name, odd): Values(odd=odd).of(SERVICE.operation_model(name).input_shape)
    for name in ("Converse", "ConverseStream")
    for odd in (0, 40)
}
_HELLO = {"modelId": "m", "messages": [{"role": "user", "content": [{"text": "hé"}]}]}


class _Two:
    """The two clients and the server that keeps their requests."""

    def __init__(self, server: Server, **given: Any) -> None:
        self.server = server
        self.direct = client(server.url, direct=True, **given)
        self.boto3 = client(server.url, direct=False, **given)

    def send(self, name: str, params: dict[str, Any]) -> tuple[list[bytes], Any]:
        """Send by both; return what was sent and the outcome, which must be the same."""
        results = []
        for made in (self.boto3, self.direct):
            method = {"Converse": made.converse, "ConverseStream": made.converse_stream}[name]
            result = outcome(method, params)
            results.append((self.server.take(), result))
        assert results[0] == results[1]
        return results[1]

    def close(self) -> None:
        self.direct.close()
        self.boto3.close()


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server() as made:
        yield made


@pytest.fixture
def two(server: Server) -> Iterator[_Two]:
    made = _Two(server)
    yield made
    made.close()


def _sent_directly(made: Any, name: str) -> bool:
    return name in calls_of(made)._operations and calls_of(made)._operations[name].is_learned


@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(data=st.data(), name=st.sampled_from(["Converse", "ConverseStream"]))
def test_any_valid_request_has_boto3s_bytes_and_headers(two: _Two, data: Any, name: str) -> None:
    params = data.draw(_REQUESTS[name, 0])
    assume(len(params) > 1)

    sent, _ = two.send(name, params)

    assert len(sent) == 1
    assert _sent_directly(two.direct, name)
    assert calls_of(two.direct)._logged == set()


@settings(max_examples=150, suppress_health_check=list(HealthCheck))
@given(data=st.data(), name=st.sampled_from(["Converse", "ConverseStream"]))
def test_any_other_request_has_boto3s_bytes_or_its_error(two: _Two, data: Any, name: str) -> None:
    params = data.draw(_REQUESTS[name, 40])
    if isinstance(params, dict) and all(isinstance(key, str) for key in params):
        two.send(name, params)


@pytest.mark.parametrize(
    "model",
    [
        "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
        "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc123",
        "a b~c%/é+",
        "..",
    ],
)
@pytest.mark.parametrize("name", ["Converse", "ConverseStream"])
def test_odd_model_ids_are_encoded_and_signed_as_boto3_does(
    two: _Two, model: str, name: str
) -> None:
    sent, _ = two.send(name, {**_HELLO, "modelId": model})

    assert len(sent) == 1


@pytest.mark.parametrize("token", [None, "session-token=="])
@pytest.mark.parametrize("path", ["", "/a/proxy"])
def test_the_signature_is_the_one_that_botocore_calculates(
    server: Server, token: str | None, path: str
) -> None:
    session = boto3.Session("AKIAIOSFODNN7EXAMPLE", "secret", token, "eu-central-1")
    made = client(server.url + path, direct=True, session=session)
    with attempt():
        made.converse(**_HELLO)
    made.close()
    (request,) = server.received
    server.take()

    assert _sent_directly(made, "Converse")
    head, _, body = request.partition(b"\r\n\r\n")
    line, *lines = head.decode().split("\r\n")
    headers = dict(one.split(": ", 1) for one in lines)
    again = AWSRequest("POST", server.url + line.split()[1], data=body)
    signed = re.search("SignedHeaders=([^,]*)", headers["Authorization"])
    assert signed
    for name, value in headers.items():
        if name.lower() in signed[1].split(";"):
            again.headers[name] = value
    again.context["timestamp"] = headers["X-Amz-Date"]
    auth: Any = SigV4Auth(Credentials("AKIAIOSFODNN7EXAMPLE", "secret"), "bedrock", "eu-central-1")
    signature = auth.signature(auth.string_to_sign(again, auth.canonical_request(again)), again)
    assert headers["Authorization"].endswith(f"Signature={signature}")
    assert headers.get("X-Amz-Security-Token") == token
    assert urlsplit(server.url).netloc == headers["Host"]


def test_the_trace_of_a_lambda_function_goes_along(
    two: _Two, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "f")
    for trace in ("Root=1-a;Sampled=1", "Root=1-b"):
        monkeypatch.setenv("_X_AMZN_TRACE_ID", trace)

        sent, _ = two.send("Converse", _HELLO)

        assert trace.encode() in sent[0]
    assert _sent_directly(two.direct, "Converse")


@pytest.mark.parametrize("mode", ["standard", "legacy"])
def test_both_retry_modes_are_sent_directly(
    server: Server, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    monkeypatch.setenv("AWS_RETRY_MODE", mode)
    both = _Two(server)

    both.send("Converse", _HELLO)

    assert _sent_directly(both.direct, "Converse")
    both.close()


@pytest.mark.parametrize("size", [1, 2**18 - 100, 2**18, 2**18 + 100, 2**21])
@pytest.mark.parametrize("name", ["Converse", "ConverseStream"])
def test_bodies_of_any_size_are_sent_once_and_whole(two: _Two, size: int, name: str) -> None:
    content = [{"text": "y" * size}]
    sent, _ = two.send(name, {"modelId": "m", "messages": [{"role": "user", "content": content}]})

    assert len(sent) == 1
    _, _, body = sent[0].partition(b"\r\n\r\n")
    assert body.count(b"y") == size
    assert body.endswith(b'y"}]}]}')


def test_a_closed_client_opens_its_connections_again(two: _Two) -> None:
    for _ in range(3):
        sent, _ = two.send("Converse", _HELLO)
        assert len(sent) == 1
        two.direct.close()


def test_requests_to_many_models_share_a_connection(two: _Two) -> None:
    before = len(two.server._connections)
    for number in range(300):
        with attempt():
            two.direct.converse(**{**_HELLO, "modelId": f"m{number}"})
    two.server.take()

    assert len(two.server._connections) == before + 1


@pytest.mark.parametrize(("size", "writes"), [(1, 1), (2**18 - 100, 1), (2**18 + 100, 2)])
def test_a_body_is_written_with_its_headers_unless_it_is_large(
    two: _Two, monkeypatch: pytest.MonkeyPatch, size: int, writes: int
) -> None:
    content = [{"text": "y" * size}]
    params = {"modelId": "m", "messages": [{"role": "user", "content": content}]}
    two.send("Converse", params)
    written: list[int] = []
    write = HTTPConnection.send

    def counted(self: HTTPConnection, data: Any) -> None:
        written.append(len(data))
        write(self, data)

    monkeypatch.setattr(HTTPConnection, "send", counted)
    two.send("Converse", params)

    assert len(written) == 2 * writes  # of boto3 and directly
