"""What an answer means: only CloudWatch's own codes drop data, only its own success counts."""

from __future__ import annotations

import logging
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from langchain_modelmgr.bedrock.failures import classify
from langchain_modelmgr.errors import (
    BedrockAPIError,
    BedrockAuthenticationError,
    BedrockPermissionDeniedError,
    BedrockRateLimitError,
    BedrockTimeoutError,
)
from langchain_modelmgr.metrics import CloudWatchSink
from langchain_modelmgr.metrics.cloudwatch.outcome import Outcome, of_answer
from langchain_modelmgr.runtime import aws_codes
from tests.usage_records import make

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.metrics_fixtures import FaultyCloudWatch

AMZ = "application/x-amz-json-1.0"
FOREIGN = [
    (404, "text/html", "<html>not found</html>"),
    (405, "text/html", "<html>not allowed</html>"),
    (302, "text/html", ""),
    (407, "text/html", "<html>proxy authentication required</html>"),
    (200, "text/html", "<html>Welcome to the hotel</html>"),
    (200, "application/json", "{}"),
    (400, AMZ, '{"__type": "com.amazon.coral.service#UnknownOperationException"}'),
    (400, AMZ, '{"__type": "ValidationException", "message": "of another service"}'),
    (400, AMZ, '{"__type": "SomethingNew"}'),
    (404, AMZ, '{"__type": "ResourceNotFound"}'),
]


class Answers:
    """A server that answers everything alike."""

    def __init__(self, status: int, content_type: str, body: str) -> None:
        self.requests = 0
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                owner.requests += 1
                self.send_response(status)
                self.send_header("Content-Type", content_type)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body.encode())

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def client(self) -> Any:
        return boto3.Session(region_name="us-east-1").client(
            "cloudwatch",
            endpoint_url=f"http://127.0.0.1:{self.server.server_port}",
            config=Config(retries={"total_max_attempts": 1}),
        )


@pytest.fixture(params=FOREIGN, ids=lambda case: f"{case[0]} {case[2][:40]}")
def foreign(request: pytest.FixtureRequest) -> Iterator[Answers]:
    answers = Answers(*request.param)
    yield answers
    answers.server.shutdown()
    answers.server.server_close()


def test_an_answer_that_is_not_about_the_data_drops_nothing_and_is_not_a_success(
    foreign: Answers, faulty: FaultyCloudWatch
) -> None:
    clients = [foreign.client(), faulty.client(read_timeout=60)]
    sink = CloudWatchSink(lambda: clients[0], "x/Models")
    for number in range(20):
        sink.record(make(agent_name=f"a{number}"))

    first = sink.flush()
    del clients[0]
    sink._delivery._client = None  # the proxy is gone
    second = sink.flush()
    sink.close()

    assert (first.sent, first.dropped, first.ambiguous, first.kept) == (0, 0, 0, 100)
    assert foreign.requests <= 3  # a batch and its halves
    assert (second.sent, second.kept) == (100, 0)
    assert faulty.samples() == 100


@pytest.mark.parametrize(
    "code",
    ["InvalidParameterValue", "InvalidParameterCombination", "MissingParameter", "ValidationError"],
)
def test_cloudwatchs_own_codes_drop_the_datum_that_is_refused_and_no_other(
    faulty: FaultyCloudWatch, code: str, caplog: pytest.LogCaptureFixture
) -> None:
    sink = CloudWatchSink(lambda: faulty.client(read_timeout=60), "x/Models")
    faulty.faults.extend([f"{code} 400", f"{code} 400"])  # the batch, and its first half
    for number in range(2):
        sink.record(make(agent_name=f"a{number}", has_usage=False, cost_usd=None))

    with caplog.at_level(logging.WARNING):
        stats = sink.flush()
    sink.close()

    assert (stats.sent, stats.dropped, stats.kept) == (1, 1, 0)
    assert "refused a datum" in caplog.text


def test_a_throttle_in_the_middle_of_a_search_keeps_the_rest(faulty: FaultyCloudWatch) -> None:
    sink = CloudWatchSink(lambda: faulty.client(read_timeout=60), "x/Models")
    faulty.poisoned_agent = "a3"
    faulty.faults.extend(["ok", "Throttling 400"])
    for number in range(8):
        sink.record(make(agent_name=f"a{number}"))

    stats = sink.flush()
    sink.close()

    assert (stats.sent, stats.dropped, stats.kept) == (35, 5, 0)
    assert faulty.samples() == 35


def test_no_answer_in_the_middle_of_a_search_costs_that_part_alone(
    faulty: FaultyCloudWatch,
) -> None:
    sink = CloudWatchSink(lambda: faulty.client(read_timeout=60), "x/Models")
    faulty.faults.extend(["InvalidParameterValue 400", "reset"])
    for number in range(4):
        sink.record(make(agent_name=f"a{number}", has_usage=False, cost_usd=None))

    sink.flush()
    stats = sink.flush()
    sink.close()

    assert (stats.sent, stats.ambiguous, stats.dropped, stats.kept) == (2, 2, 0, 0)


@pytest.mark.parametrize(
    ("codes", "outcome", "failure"),
    [
        (aws_codes.THROTTLED, Outcome.RETRY, BedrockRateLimitError),
        (aws_codes.TIMED_OUT, Outcome.RETRY, BedrockTimeoutError),
        (aws_codes.UNAVAILABLE, Outcome.RETRY, BedrockAPIError),
        (aws_codes.BAD_CREDENTIALS, Outcome.UNUSABLE, BedrockAuthenticationError),
        (aws_codes.DENIED, Outcome.UNUSABLE, BedrockPermissionDeniedError),
    ],
)
def test_a_code_that_services_share_means_the_same_to_bedrock_and_to_cloudwatch(
    codes: frozenset[str], outcome: Outcome, failure: type[Exception]
) -> None:
    for code in codes:
        reply: Any = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": 400}}

        assert of_answer(400, {"x-amzn-requestid": "1"}, code) is outcome, code
        assert type(classify(ClientError(reply, "Converse"))) is failure, code
