"""Lifecycles, guardrails, a skewed clock, and what is kept of requests, through boto3."""

from __future__ import annotations

import datetime as dt
import email.utils
import http.client
import json
from typing import TYPE_CHECKING

import pytest
from botocore.exceptions import ClientError

from tests.models import SONNET

if TYPE_CHECKING:
    from langchain_modelmgr.local import LocalAWS


def _get(aws: LocalAWS, path: str, **headers: str) -> tuple[int, str, str]:
    """Return status, error type and body of a GET request with a date of our own."""
    connection = http.client.HTTPConnection(aws.url.removeprefix("http://"))
    connection.request("GET", path, headers={k.replace("_", "-"): v for k, v in headers.items()})
    response = connection.getresponse()
    found = response.status, response.headers.get("x-amzn-ErrorType", ""), response.read().decode()
    connection.close()
    return found


def test_a_model_is_active_until_it_is_said_to_be_legacy(local_aws: LocalAWS) -> None:
    bedrock = local_aws.client("bedrock")
    before = bedrock.get_foundation_model(modelIdentifier=SONNET)["modelDetails"]

    local_aws.lifecycle(SONNET, "LEGACY")

    after = bedrock.get_foundation_model(modelIdentifier=SONNET)["modelDetails"]
    listed = {
        each["modelId"]: each["modelLifecycle"]["status"]
        for each in bedrock.list_foundation_models()["modelSummaries"]
    }
    assert before["modelLifecycle"]["status"] == "ACTIVE"
    assert after["modelLifecycle"]["status"] == listed[SONNET] == "LEGACY"


def test_a_guardrail_is_ready_unless_the_request_fails(local_aws: LocalAWS) -> None:
    bedrock = local_aws.client("bedrock")
    arn = "arn:aws:bedrock:us-east-1:123456789012:guardrail/abc123"

    found = bedrock.get_guardrail(guardrailIdentifier=arn, guardrailVersion="3")

    assert (found["guardrailId"], found["version"], found["status"]) == ("abc123", "3", "READY")
    local_aws.fail("abc123", "ResourceNotFoundException", at="guardrail")
    assert bedrock.get_guardrail(guardrailIdentifier="other")["version"] == "DRAFT"
    with pytest.raises(ClientError, match="ResourceNotFoundException"):
        bedrock.get_guardrail(guardrailIdentifier="abc123")


@pytest.mark.parametrize(
    ("skew", "text"), [(600, "Signature expired"), (-600, "Signature not yet current")]
)
def test_a_signature_far_from_the_servers_time_is_refused(
    local_aws: LocalAWS, skew: float, text: str
) -> None:
    local_aws.clock_skew(skew)

    with pytest.raises(ClientError, match="InvalidSignatureException") as raised:
        local_aws.client("bedrock").list_foundation_models()
    with pytest.raises(ClientError, match="SignatureDoesNotMatch"):
        local_aws.client("sts").get_caller_identity()

    error = raised.value.response
    assert error["ResponseMetadata"]["HTTPStatusCode"] == 403
    assert text in error["Error"]["Message"]
    sent = email.utils.parsedate_to_datetime(error["ResponseMetadata"]["HTTPHeaders"]["date"])
    ahead = (sent - dt.datetime.now(dt.UTC)).total_seconds()
    assert abs(ahead - skew) < 120


def test_a_small_skew_is_tolerated(local_aws: LocalAWS) -> None:
    local_aws.clock_skew(200)

    assert local_aws.client("bedrock").list_foundation_models()["modelSummaries"]


@pytest.mark.parametrize(
    "date", ["2026-11-27T01:00:00Z", "20261127", "yesterday", "20261327T010000Z", "20261127T0100Z"]
)
def test_a_malformed_date_is_an_incomplete_signature(local_aws: LocalAWS, date: str) -> None:
    local_aws.clock_skew(1)

    status, code, body = _get(local_aws, "/foundation-models", X_Amz_Date=date)

    assert (status, code) == (400, "IncompleteSignature")
    assert "Date must be in ISO-8601 'basic format'" in json.loads(body)["message"]


def test_a_malformed_date_is_refused_by_sts_in_xml(local_aws: LocalAWS) -> None:
    local_aws.clock_skew(1)

    status, _, body = _get(
        local_aws,
        "/",
        X_Amz_Date="<now>",
        Content_Type="application/x-www-form-urlencoded",
    )

    assert status == 400
    assert "<Code>IncompleteSignature</Code>" in body
    assert "&lt;now&gt;" in body


def test_the_last_thousand_requests_are_kept_and_all_are_counted(local_aws: LocalAWS) -> None:
    connection = http.client.HTTPConnection(local_aws.url.removeprefix("http://"))
    for number in range(1_010):
        text = json.dumps({"messages": [{"role": "user", "content": [{"text": f"row {number}"}]}]})
        connection.request("POST", f"/model/{SONNET}/converse", text)
        connection.getresponse().read()
    connection.close()

    kept = local_aws.calls(SONNET)

    assert local_aws.requests(SONNET) == local_aws.requests() == 1_010
    assert len(kept) == 1_000
    assert kept[0].body["messages"][0]["content"][0]["text"] == "row 10"
    assert local_aws.requests(operations=["CountTokens"]) == 0
