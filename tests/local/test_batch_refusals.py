"""What the local Bedrock refuses of batch inference, and its faults."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.exceptions import ClientError, ConnectionClosedError

from tests.local.batch_support import NOVA, Batches, body_of, records

if TYPE_CHECKING:
    from collections.abc import Callable

    from langchain_modelmgr.local import LocalAWS


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"modelInvocationType": "InvokeModel"}, "only, not InvokeModel"),
        ({"jobName": "a b"}, "jobName: failed to satisfy the pattern"),
        ({"timeoutDurationInHours": 169}, "timeoutDurationInHours: must have at most 168"),
        ({"modelId": "arn:aws:bedrock:us-east-1:123456789012:provisioned-model/abcdefghijkl"},
         "modelId: failed to satisfy the pattern"),
    ],
)  # fmt: skip
def test_a_wrong_request_is_refused(batches: Batches, changes: dict[str, Any], text: str) -> None:
    with pytest.raises(ClientError, match="ValidationException") as raised:
        batches.create(**changes)

    assert text in str(raised.value)
    assert batches.aws.batch.jobs() == []


def test_the_invocation_type_is_invoke_model_if_it_is_missing(batches: Batches) -> None:
    request = batches.request()
    del request["modelInvocationType"]

    with pytest.raises(ClientError, match="not InvokeModel"):
        batches.bedrock.create_model_invocation_job(**request)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda aws: aws.unknown(NOVA), "The provided model identifier is invalid"),
        (lambda aws: aws.lifecycle(NOVA, "LEGACY"), "is a legacy model"),
        (lambda aws: aws.facts(NOVA, supports_batch=False), "does not support batch inference"),
        (lambda aws: aws.facts(NOVA, batch_regions=["us-west-2"]),
         "does not support batch inference in us-east-1"),
    ],
)  # fmt: skip
def test_a_model_that_takes_no_batches_is_refused(
    batches: Batches, change: Callable[[LocalAWS], None], text: str
) -> None:
    change(batches.aws)

    with pytest.raises(ClientError, match="ValidationException") as raised:
        batches.create()

    assert text in str(raised.value)


def test_the_quotas_are_those_of_aws(batches: Batches) -> None:
    fewer = batches.get(batches.create(records(99)))
    more = batches.get(batches.create('{"modelInput": {}}\n' * 50_001))

    assert fewer["status"] == more["status"] == "Failed"
    assert "contains less records (99) than the required minimum of: 100" in fewer["message"]
    assert "contains more records (50001) than the allowed maximum of: 50000" in more["message"]


def test_quotas_can_be_set(batches: Batches) -> None:
    batches.aws.batch.quotas(min_records=2, max_records=3, max_file_bytes=600, max_jobs=2)

    short = batches.create(records(2))
    fits = batches.status(short)
    large = batches.get(batches.create([*records(2), {"modelInput": body_of("x" * 600)}]))

    assert fits == "Completed"
    assert "than the allowed maximum of: 600" in large["message"]


def test_too_many_jobs_at_once_are_refused(batches: Batches) -> None:
    batches.aws.batch.quotas(max_jobs=2)
    first = batches.create()
    batches.create()

    with pytest.raises(ClientError, match="ServiceQuotaExceededException"):
        batches.create()
    batches.status(first)

    assert batches.create()


@pytest.mark.parametrize(
    ("lines", "text"),
    [
        ("not json\n" * 100, "is not a JSON object with a modelInput"),
        ("[]\n" * 100, "is not a JSON object with a modelInput"),
        ('{"recordId": "R1"}\n' * 100, "is not a JSON object with a modelInput"),
    ],
)
def test_a_job_with_a_wrong_input_fails(batches: Batches, lines: str, text: str) -> None:
    job = batches.get(batches.create(lines))

    assert job["status"] == "Failed"
    assert text in job["message"]


def test_a_job_without_its_input_fails(batches: Batches) -> None:
    def source(uri: str) -> dict[str, Any]:
        return {"s3InputDataConfig": {"s3Uri": uri}}

    no_file = batches.create(inputDataConfig=source(f"s3://{batches.bucket}/other/"))
    no_bucket = batches.create(inputDataConfig=source("s3://no-such-bucket/in/"))

    assert "No .jsonl file was found" in batches.get(no_file)["message"]
    assert "no-such-bucket can't be accessed: NoSuchBucket" in batches.get(no_bucket)["message"]


def test_a_bucket_in_another_region_is_refused(batches: Batches) -> None:
    batches.bucket = f"{batches.bucket}-west"
    batches.s3.create_bucket(
        Bucket=batches.bucket, CreateBucketConfiguration={"LocationConstraint": "us-west-2"}
    )

    job = batches.get(batches.create())

    assert job["status"] == "Failed"
    assert "must be in the job's region, us-east-1" in job["message"]


def test_the_same_token_is_the_same_job(batches: Batches) -> None:
    first = batches.create(clientRequestToken="token-1")
    again = batches.create(clientRequestToken="token-1")

    with pytest.raises(ClientError, match="ConflictException"):
        batches.create(clientRequestToken="token-1", jobName="other")

    assert first == again
    assert first != batches.create(clientRequestToken="token-2")
    assert len(batches.aws.batch.jobs(NOVA)) == 2


def test_an_unknown_job_is_not_found(batches: Batches) -> None:
    with pytest.raises(ClientError, match="ResourceNotFoundException"):
        batches.get("abcdefghijkl")
    with pytest.raises(ClientError, match="ResourceNotFoundException"):
        batches.bedrock.stop_model_invocation_job(jobIdentifier="abcdefghijkl")
    with pytest.raises(ClientError, match="ValidationException"):
        batches.get("no id of a job")


def test_each_operation_can_fail(batches: Batches) -> None:
    arn = batches.create()
    aws, bedrock = batches.aws, batches.bedrock
    aws.fail(NOVA, "ThrottlingException", at="get_job")
    aws.fail(NOVA, "InternalServerException", at="create_job")
    aws.fail(None, "AccessDeniedException", at="list_jobs")
    aws.fail(NOVA, "ThrottlingException", at="stop_job")

    with pytest.raises(ClientError, match="ThrottlingException"):
        batches.get(arn)
    with pytest.raises(ClientError, match="InternalServerException"):
        batches.create()
    with pytest.raises(ClientError, match="AccessDeniedException"):
        bedrock.list_model_invocation_jobs()
    with pytest.raises(ClientError, match="ThrottlingException"):
        bedrock.stop_model_invocation_job(jobIdentifier=arn)

    assert len(aws.batch.jobs()) == 1
    assert batches.status(arn) == "Completed"
    assert aws.requests(operations=["GetModelInvocationJob"]) == 2
    assert aws.requests(NOVA, ["CreateModelInvocationJob"]) == 2


def test_a_job_can_be_created_although_its_reply_is_lost(batches: Batches) -> None:
    batches.aws.reset(NOVA, at="job_created")

    with pytest.raises(ConnectionClosedError):
        batches.create(clientRequestToken="token-1")
    arn = batches.create(clientRequestToken="token-1")

    assert [job.arn for job in batches.aws.batch.jobs()] == [arn]


def test_the_job_belongs_to_region_and_account_of_the_request(batches: Batches) -> None:
    batches.aws.account("AKIDOFOTHERS00000000", "210987654321")
    client = boto3.client(
        "bedrock", endpoint_url=batches.aws.url, region_name="us-west-2",
        aws_access_key_id="AKIDOFOTHERS00000000", aws_secret_access_key="dummy",
    )  # fmt: skip

    arn = client.create_model_invocation_job(**batches.request())["jobArn"]

    assert arn.startswith("arn:aws:bedrock:us-west-2:210987654321:model-invocation-job/")


def test_a_local_aws_without_s3_says_so(local_aws: LocalAWS) -> None:
    request = Batches(local_aws, "bucket").request()

    with pytest.raises(ClientError, match=r"LocalAWS\(s3_url"):
        local_aws.client("bedrock").create_model_invocation_job(**request)
