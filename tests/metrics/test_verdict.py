"""Each failure of PutMetricData says what to do with what was being sent."""

from __future__ import annotations

from typing import Any

import pytest
from botocore import exceptions as aws

from langchain_modelmgr.metrics.verdict import Verdict, classify, reason

URL = "https://monitoring.example"


def refused(code: str, status: int) -> aws.ClientError:
    response: Any = {
        "Error": {"Code": code, "Message": "arn:aws:iam::123456789012:user/x"},
        "ResponseMetadata": {"HTTPStatusCode": status},
    }
    return aws.ClientError(response, "PutMetricData")


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        (refused("Throttling", 400), Verdict.RETRY),
        (refused("ThrottlingException", 400), Verdict.RETRY),
        (refused("Unheard", 408), Verdict.RETRY),
        (refused("Unheard", 425), Verdict.RETRY),
        (refused("Unheard", 429), Verdict.RETRY),
        (refused("RequestTimeout", 400), Verdict.RETRY),
        (refused("InternalServiceFault", 500), Verdict.RETRY),
        (refused("ServiceUnavailable", 503), Verdict.RETRY),
        (refused("AccessDenied", 403), Verdict.UNUSABLE),
        (refused("ExpiredTokenException", 400), Verdict.UNUSABLE),
        (refused("Unheard", 401), Verdict.UNUSABLE),
        (refused("Unheard", 403), Verdict.UNUSABLE),
        (refused("InvalidParameterValue", 400), Verdict.INVALID),
        (refused("ValidationException", 400), Verdict.INVALID),
        (refused("413", 413), Verdict.INVALID),
        (aws.EndpointConnectionError(endpoint_url=URL), Verdict.RETRY),
        (aws.ConnectTimeoutError(endpoint_url=URL), Verdict.RETRY),
        (aws.ProxyConnectionError(proxy_url=URL, error="x"), Verdict.RETRY),
        (aws.SSLError(endpoint_url=URL, error=OSError("x")), Verdict.RETRY),
        (aws.ReadTimeoutError(endpoint_url=URL), Verdict.AMBIGUOUS),
        (aws.ConnectionClosedError(endpoint_url=URL), Verdict.AMBIGUOUS),
        (aws.HTTPClientError(error="x"), Verdict.AMBIGUOUS),
        (aws.IncompleteReadError(actual_bytes=1, expected_bytes=2), Verdict.AMBIGUOUS),
        (ValueError("unreadable answer"), Verdict.AMBIGUOUS),
    ],
)
def test_a_failure_while_sending_has_its_verdict(error: Exception, verdict: Verdict) -> None:
    assert classify(error) is verdict


def test_a_failure_is_named_without_its_text() -> None:
    assert reason(refused("AccessDenied", 403)) == "AccessDenied"
    assert reason(aws.NoCredentialsError()) == "NoCredentialsError"
