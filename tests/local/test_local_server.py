"""Which requests the local AWS accepts, and what it releases when it stops."""

from __future__ import annotations

import gc
import http.client
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError

from langchain_modelmgr.local import LocalAWS, ScriptedReply
from tests.models import SONNET

_BODY = json.dumps({"messages": [{"role": "user", "content": [{"text": "hi"}]}]})


def _post(aws: LocalAWS, headers: dict[str, str]) -> tuple[int, dict[str, Any]]:
    connection = http.client.HTTPConnection(aws.url.removeprefix("http://"))
    connection.putrequest("POST", f"/model/{SONNET}/converse", skip_host="Host" in headers)
    for name, value in headers.items():
        connection.putheader(name, value)
    connection.putheader("Content-Length", str(len(_BODY)))
    connection.endheaders(_BODY.encode())
    response = connection.getresponse()
    body = json.loads(response.read())
    connection.close()
    return response.status, body


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "evil.example:8000"},
        {"Host": "127.0.0.1.evil.example"},
        {"Host": "localhost.evil.example"},
        {"Host": "10.0.0.7"},
        {"Host": "[::2]:80"},
        {"Host": "["},
        {"Host": ""},
        {"Origin": "http://evil.example"},
        {"Origin": "https://localhost.evil.example"},
        {"Origin": "null"},
    ],
)
def test_a_request_under_another_name_than_loopback_is_refused(
    local_aws: LocalAWS, headers: dict[str, str]
) -> None:
    status, body = _post(local_aws, headers)

    assert status == 403
    assert "loopback" in body["message"]
    assert local_aws.requests() == 0


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Host": "localhost"},
        {"Host": "LOCALHOST:80"},
        {"Host": "[::1]:80"},
        {"Origin": "http://localhost:3000"},
        {"Origin": "http://127.0.0.1"},
    ],
)
def test_a_request_under_a_loopback_name_is_answered(
    local_aws: LocalAWS, headers: dict[str, str]
) -> None:
    assert _post(local_aws, headers)[0] == 200


def test_an_operation_that_is_not_served_is_named(local_aws: LocalAWS) -> None:
    with pytest.raises(ClientError, match="does not serve GET /guardrails") as raised:
        local_aws.client("bedrock").list_guardrails()

    assert raised.value.response["Error"]["Code"] == "UnknownOperationException"


def test_inference_profiles_are_listed(local_aws: LocalAWS) -> None:
    arn = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc"
    local_aws.inference_profile(arn, SONNET)

    listed = local_aws.client("bedrock").list_inference_profiles()

    (profile,) = listed["inferenceProfileSummaries"]
    assert profile["inferenceProfileArn"] == arn


def test_an_access_key_belongs_to_an_account(local_aws: LocalAWS) -> None:
    sts = local_aws.client("sts")
    unset = sts.get_caller_identity()
    local_aws.account("AKIAIOSFODNN7EXAMPLE", "111122223333")

    assert unset["Account"] == "123456789012"
    assert sts.get_caller_identity()["Account"] == "111122223333"


def test_who_asks_for_an_identity_can_be_denied(local_aws: LocalAWS) -> None:
    local_aws.fail(None, "ExpiredTokenException", at="identity")

    with pytest.raises(ClientError, match="expired"):
        local_aws.client("sts").get_caller_identity()


def test_no_file_is_opened_on_the_servers_loop() -> None:
    code = """
        import sys, threading
        opened = []
        def watch(event, args):
            if event == "open" and threading.current_thread().name == "local-aws":
                opened.append(args[0])
        sys.addaudithook(watch)
        from langchain_modelmgr.local import LocalAWS
        with LocalAWS() as aws:
            runtime = aws.client("bedrock-runtime")
            runtime.converse(modelId="a.b", messages=[{"role": "user", "content": [{"text": "hi"}]}])
            aws.client("bedrock").list_foundation_models()
            aws.client("sts").get_caller_identity()
            aws.client("cloudwatch").put_metric_data(
                Namespace="n", MetricData=[{"MetricName": "m", "Value": 1}]
            )
        print([name for name in opened if isinstance(name, str)])
    """

    done = subprocess.run(
        [sys.executable, "-c", dedent(code)], capture_output=True, text=True, check=True
    )

    assert done.stdout.strip() == "[]"


def test_sigterm_ends_the_command_and_leaves_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    command = [sys.executable, "-m", "langchain_modelmgr", "local"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        while not process.stdout.readline().startswith("unset"):
            pass
        before = list(tmp_path.iterdir())
        process.send_signal(signal.SIGTERM)
        rest = process.stdout.read()

    assert len(before) == 1
    assert list(tmp_path.iterdir()) == []
    assert rest == ""
    assert process.returncode == 0


def test_a_request_that_hangs_keeps_no_interpreter_from_its_end() -> None:
    code = """
        import threading
        from langchain_modelmgr.local import LocalAWS
        with LocalAWS() as aws:
            aws.metrics.hang(300)
            put = {"Namespace": "n", "MetricData": [{"MetricName": "m", "Value": 1}]}
            cloudwatch = aws.client("cloudwatch")
            threading.Thread(target=lambda: cloudwatch.put_metric_data(**put), daemon=True).start()
            while not aws.metrics.put_requests:
                pass
    """

    subprocess.run([sys.executable, "-c", dedent(code)], check=True, timeout=120)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_stopping_in_a_forked_child_leaves_the_parents_server_alone(local_aws: LocalAWS) -> None:
    folder = local_aws.env()["MODELMGR_STATE_DIR"]
    child = os.fork()
    if child == 0:
        local_aws.stop()
        os._exit(0)
    waiting = threading.Thread(target=os.waitpid, args=(child, 0), daemon=True)
    waiting.start()
    waiting.join(50)

    assert not waiting.is_alive()
    assert Path(folder).is_dir()
    assert _post(local_aws, {})[0] == 200


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ('{"messages": ' + "[" * 50_000 + "]" * 50_000 + "}", "nested too deeply"),
        (_BODY.replace("hi", "half \\ud83d"), "not valid Unicode"),
        (_BODY.replace("hi", "\\udc00"), "not valid Unicode"),
        (_BODY[:-1] + ', "additionalModelRequestFields": [1]}', "must be a JSON object"),
        (_BODY[:-1], "not valid JSON"),
    ],
)
@pytest.mark.parametrize("operation", ["converse", "converse-stream"])
def test_an_unreadable_body_gets_the_error_of_aws(
    local_aws: LocalAWS, operation: str, body: str, expected: str
) -> None:
    connection = http.client.HTTPConnection(local_aws.url.removeprefix("http://"))
    connection.request("POST", f"/model/{SONNET}/{operation}", body)
    response = connection.getresponse()
    text = json.loads(response.read())["message"]
    connection.close()

    assert response.status == 400
    assert response.headers["x-amzn-ErrorType"] == "ValidationException"
    assert expected in text


def test_a_whole_pair_of_surrogates_is_a_character(local_aws: LocalAWS) -> None:
    messages = [{"role": "user", "content": [{"text": "\N{PACKAGE}"}]}]

    reply = local_aws.client("bedrock-runtime").converse(modelId=SONNET, messages=messages)

    assert "\N{PACKAGE}" in reply["output"]["message"]["content"][0]["text"]


def test_clients_that_go_away_and_connections_that_are_reset_are_not_logged(
    local_aws: LocalAWS, caplog: pytest.LogCaptureFixture
) -> None:
    local_aws.script(lambda _: ScriptedReply("word " * 20_000))
    messages = [{"role": "user", "content": [{"text": "x"}]}]
    client = local_aws.client("bedrock-runtime")

    for _ in range(5):
        reply = client.converse_stream(modelId=SONNET, messages=messages)
        next(iter(reply["stream"]))
        reply["stream"].close()
    local_aws.reset(SONNET)
    with pytest.raises(ConnectionClosedError):
        client.converse(modelId=SONNET, messages=messages)

    assert local_aws.wait_closed(50)
    assert [r.getMessage() for r in caplog.records if r.levelno > logging.INFO] == []


def test_connections_that_come_while_the_server_stops_are_closed() -> None:
    """aiohttp forgets a connection that is accepted while it shuts down."""
    aws = LocalAWS.running()
    host, port = aws.url.removeprefix("http://").split(":")
    opened: list[socket.socket] = []
    stopped = threading.Event()

    def connect() -> None:
        while not stopped.is_set():
            with suppress(OSError):
                opened.append(socket.create_connection((host, int(port)), timeout=1))
            stopped.wait(0.0005)

    threads = [threading.Thread(target=connect) for _ in range(4)]
    for thread in threads:
        thread.start()
    while len(opened) < 8:
        time.sleep(0.001)
    aws.stop()
    stopped.set()
    for thread in threads:
        thread.join()

    try:
        for connection in opened:
            connection.settimeout(30)
            with suppress(ConnectionError):
                assert connection.recv(1) == b""
    finally:
        for connection in opened:
            connection.close()
    gc.collect()  # an open transport would warn, which is an error here
