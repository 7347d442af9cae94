"""Batch inference of the local Bedrock, through boto3: jobs that do what they should."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

from langchain_modelmgr.local import LocalAWS, ScriptedReply
from tests.local.batch_support import NOVA, body_of, records

if TYPE_CHECKING:
    from tests.local.batch_support import Batches


def test_a_job_answers_each_record_as_converse_does(batches: Batches) -> None:
    arn = batches.create()

    job = batches.get(arn)
    direct = batches.aws.client("bedrock-runtime").converse(modelId=NOVA, **body_of("row 7"))

    assert job["status"] == "Completed"
    found = {each["recordId"]: each for each in batches.output(arn)}
    assert found.keys() == {each["recordId"] for each in records(100)}
    output = found["R0000007"]["modelOutput"]
    assert output["output"] == direct["output"]
    assert output["usage"] == direct["usage"]
    assert found["R0000007"]["modelInput"] == body_of("row 7")


def test_the_order_of_the_output_is_not_that_of_the_input(batches: Batches) -> None:
    arn = batches.create()

    assert batches.status(arn) == "Completed"
    ids = [each["recordId"] for each in batches.output(arn)]
    assert ids != sorted(ids)


def test_the_manifest_the_job_and_the_servers_counts_agree(batches: Batches) -> None:
    batches.aws.batch.outcome(NOVA, error_share=0.2, error_code=429, error_message="slow down")
    arn = batches.create()

    job = batches.get(arn)

    manifest, counts = batches.manifest(arn), batches.aws.batch.counts(NOVA)
    output = batches.output(arn)
    failed = [each["error"] for each in output if "error" in each]
    usage = [each["modelOutput"]["usage"] for each in output if "error" not in each]
    assert 5 < len(failed) < 40
    assert failed[0] == {"errorCode": 429, "errorMessage": "slow down"}
    assert manifest == {
        "totalRecordCount": 100,
        "processedRecordCount": 100,
        "successRecordCount": 100 - len(failed),
        "errorRecordCount": len(failed),
        "inputTokenCount": sum(each["inputTokens"] for each in usage),
        "outputTokenCount": sum(each["outputTokens"] for each in usage),
    }
    assert (job["totalRecordCount"], job["errorRecordCount"]) == (100, len(failed))
    assert (counts.jobs, counts.records, counts.failed) == (1, 100, len(failed))
    assert counts.input_tokens == manifest["inputTokenCount"]
    assert counts.output_tokens == manifest["outputTokenCount"]
    assert batches.aws.requests() == 0  # records are not calls


def test_records_that_converse_would_refuse_fail_alone(batches: Batches) -> None:
    tools = {"tools": [{"toolSpec": {"name": "look", "inputSchema": {"json": {}}}}]}
    lines = records(100)
    lines[0]["modelInput"]["toolConfig"] = tools
    lines[1]["modelInput"]["messages"][0]["content"] = []
    lines[2]["modelInput"]["modelId"] = NOVA
    arn = batches.create(lines)

    assert batches.status(arn) == "Completed"

    errors = {e["recordId"]: e["error"] for e in batches.output(arn) if "error" in e}
    assert {key: error["errorCode"] for key, error in errors.items()} == dict.fromkeys(
        ["R0000000", "R0000001", "R0000002"], 400
    )
    assert "Tool use is not supported" in errors["R0000000"]["errorMessage"]
    assert batches.manifest(arn)["errorRecordCount"] == 3


def test_scripts_answer_for_records_in_any_alphabet(batches: Batches) -> None:
    batches.aws.script(lambda request: ScriptedReply(text=f"日本 {request.prompt}"))
    arn = batches.create()

    assert batches.status(arn) == "Completed"
    texts = {e["modelOutput"]["output"]["message"]["content"][0]["text"] for e in
             batches.output(arn)}  # fmt: skip
    assert texts == {f"日本 row {i}" for i in range(100)}


def test_a_record_without_an_id_gets_one(batches: Batches) -> None:
    arn = batches.create([{"modelInput": body_of("row")}] * 100)

    assert batches.status(arn) == "Completed"
    assert len({each["recordId"] for each in batches.output(arn)}) == 100


def test_each_file_of_a_folder_has_an_output_of_its_own(batches: Batches) -> None:
    batches.upload(records(60), "in/a.jsonl")
    batches.upload(records(40), "in/deep/b.jsonl")
    batches.upload("not an input", "in/readme.txt")
    batches.upload(records(5), "in-other/c.jsonl")
    source = {"s3InputDataConfig": {"s3Uri": f"s3://{batches.bucket}/in"}}

    arn = batches.bedrock.create_model_invocation_job(
        **batches.request(inputDataConfig=source)
    )["jobArn"]  # fmt: skip

    assert batches.status(arn) == "Completed"
    written = batches.written(arn)
    assert written.keys() == {"a.jsonl.out", "deep/b.jsonl.out", "manifest.json.out"}
    assert len(written["a.jsonl.out"].splitlines()) == 60
    assert batches.manifest(arn)["totalRecordCount"] == 100


def test_a_job_takes_as_many_requests_as_was_set(batches: Batches) -> None:
    batches.aws.batch.outcome(polls=6)
    arn = batches.create()

    found = [batches.status(arn) for _ in range(7)]

    assert found == [
        "Submitted", "Validating", "Scheduled", "InProgress", "InProgress", "Completed",
        "Completed",
    ]  # fmt: skip
    assert batches.aws.batch.counts().records == 100


def test_a_job_can_last_some_time(batches: Batches) -> None:
    batches.aws.batch.outcome(seconds=3600)
    arn = batches.create()

    assert [batches.status(arn) for _ in range(5)][-1] == "InProgress"


@pytest.mark.parametrize(
    ("status", "processed"),
    [("PartiallyCompleted", 50), ("Stopped", 50), ("Expired", 0), ("Failed", 0)],
)
def test_a_job_can_end_before_its_last_record(
    batches: Batches, status: Any, processed: int
) -> None:
    batches.aws.batch.outcome(NOVA, status, message="out of luck")
    arn = batches.create()

    job = batches.get(arn)

    assert job["status"] == status
    assert job.get("message") == ("out of luck" if status == "Failed" else None)
    assert batches.aws.batch.counts().records == processed
    if processed:
        assert len(batches.output(arn)) == processed
        assert batches.manifest(arn)["totalRecordCount"] == 100
    else:
        assert batches.written(arn) == {}


def test_an_expired_job_can_have_output(batches: Batches) -> None:
    batches.aws.batch.outcome(NOVA, "Expired", records=7)
    arn = batches.create()

    assert batches.status(arn) == "Expired"
    assert len(batches.output(arn)) == 7


def test_outcomes_of_some_jobs_come_before_that_of_all_others(batches: Batches) -> None:
    batches.aws.batch.outcome(None, "Failed")
    batches.aws.batch.outcome(NOVA, "Expired", times=2)

    found = [batches.status(batches.create()) for _ in range(3)]

    assert found == ["Expired", "Expired", "Failed"]


def test_output_can_be_lost(batches: Batches) -> None:
    for lost in ("objects", "manifest", "lines", "tail"):
        batches.aws.batch.outcome(NOVA, lost=lost, times=1)
    arns = [batches.create() for _ in range(4)]

    assert {batches.status(arn) for arn in arns} == {"Completed"}

    objects, manifest, lines, tail = map(batches.written, arns)
    assert objects == {}
    assert manifest.keys() == {"rows.jsonl.out"}
    assert len(lines["rows.jsonl.out"].splitlines()) == 66
    assert not tail["rows.jsonl.out"].endswith("}\n")
    assert len(tail["rows.jsonl.out"].splitlines()) < 60
    assert batches.aws.batch.counts().records == 400  # they were processed all the same


def test_a_stopped_job_is_stopping_first(batches: Batches) -> None:
    batches.aws.batch.outcome(polls=10, records=20)
    arn = batches.create()

    batches.bedrock.stop_model_invocation_job(jobIdentifier=arn)

    assert [batches.status(arn) for _ in range(3)] == ["Stopping", "Stopped", "Stopped"]
    assert len(batches.output(arn)) == 20
    with pytest.raises(ClientError, match="ConflictException"):
        batches.bedrock.stop_model_invocation_job(jobIdentifier=arn)


def test_a_job_shows_what_was_requested(batches: Batches) -> None:
    arn = batches.create(timeoutDurationInHours=72, clientRequestToken="one")

    job = batches.get(arn.rpartition("/")[2])

    assert (job["jobArn"], job["jobName"], job["clientRequestToken"]) == (arn, "tickets", "one")
    assert job["jobExpirationTime"] - job["submitTime"] == dt.timedelta(hours=72)
    assert job["endTime"] >= job["submitTime"]
    assert job["modelInvocationType"] == "Converse"


def test_jobs_are_listed_by_name_status_and_page(batches: Batches) -> None:
    arns = [batches.create(jobName=f"job-{i}") for i in range(5)]
    batches.status(arns[0])
    listed = batches.bedrock.list_model_invocation_jobs

    pages = batches.bedrock.get_paginator("list_model_invocation_jobs").paginate(
        PaginationConfig={"PageSize": 2}
    )
    names = [job["jobName"] for page in pages for job in page["invocationJobSummaries"]]
    completed = listed(statusEquals="Completed")["invocationJobSummaries"]
    named = listed(nameContains="b-3", sortOrder="Ascending")["invocationJobSummaries"]
    later = listed(submitTimeAfter=dt.datetime.now(dt.UTC) + dt.timedelta(hours=1))

    assert names == [f"job-{i}" for i in reversed(range(5))]
    assert [job["jobArn"] for job in completed] == arns[:1]
    assert [job["jobName"] for job in named] == ["job-3"]
    assert later["invocationJobSummaries"] == []


def test_the_environment_names_the_s3_service(batches: Batches, s3_url: str) -> None:
    assert batches.aws.env()["AWS_ENDPOINT_URL_S3"] == s3_url
    with LocalAWS() as aws:
        assert "AWS_ENDPOINT_URL_S3" not in aws.env()
