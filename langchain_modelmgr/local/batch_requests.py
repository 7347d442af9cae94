"""Bedrock's batch inference over HTTP: creates, shows, lists and stops jobs."""

from __future__ import annotations

import asyncio
import datetime as dt
import re
import uuid
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from langchain_modelmgr.local.answers import check_shape
from langchain_modelmgr.local.batch import STATUSES
from langchain_modelmgr.local.facts import base_of, facts_of
from langchain_modelmgr.local.replies import AwsError, json_body, meet, reply
from langchain_modelmgr.local.state import RecordedCall

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from aiohttp import web

    from langchain_modelmgr.local.batch import BatchJob, BatchJobs
    from langchain_modelmgr.local.faults import Place
    from langchain_modelmgr.local.state import State

OPERATIONS = ("model-invocation-job", "model-invocation-jobs")
"""The first parts of the operations' paths."""

_REGION = re.compile(r"Credential=[^/,\s]+/\d+/([a-z0-9-]+)/")
_IDENTIFIER = re.compile(
    r"((arn:aws(-[^:]+)?:bedrock:[a-z0-9-]{1,20}:[0-9]{12}:model-invocation-job/)?[a-z0-9]{12})"
)
_PAGE = 100
_HOURS = 24
"""A job's time-out if its request has none."""


class BatchRequests:
    """Handles requests for batch inference jobs with the server's state."""

    def __init__(self, state: State, jobs: BatchJobs) -> None:
        self._state = state
        self._jobs = jobs

    async def answer(self, request: web.BaseRequest, parts: list[str], raw: bytes) -> web.Response:
        """Answer one request.

        Args:
            request: The request.
            parts: Its path, split at slashes.
            raw: Its body.

        Raises:
            AwsError: The reply is an error.
        """
        if parts == ["model-invocation-jobs"] and request.method == "GET":
            await self._meet(request, "ListModelInvocationJobs", "", "list_jobs")
            return reply(self._listed(request.query))
        if parts == ["model-invocation-job"] and request.method == "POST":
            return await self._create(request, raw)
        if parts[-1] == "stop" and request.method == "POST":
            job = self._job("/".join(parts[1:-1]))
            await self._meet(request, "StopModelInvocationJob", _model_of(job), "stop_job")
            await asyncio.to_thread(self._jobs.stop, _found(job))
            return reply({})
        if parts[0] == "model-invocation-job" and request.method == "GET":
            job = self._job("/".join(parts[1:]))
            await self._meet(request, "GetModelInvocationJob", _model_of(job), "get_job")
            await asyncio.to_thread(self._jobs.poll, _found(job))
            return reply(_details(_found(job)))
        raise AwsError(
            "UnknownOperationException",
            f"The local AWS does not serve {request.method} /{'/'.join(parts)}.",
        )

    async def _meet(
        self,
        request: web.BaseRequest,
        name: str,
        model_id: str,
        place: Place,
        body: dict[str, Any] | None = None,
    ) -> None:
        self._state.record(RecordedCall(name, model_id, body or {}, dict(request.headers)))
        await meet(request, self._state.faults.take(model_id, frozenset({place})))

    async def _create(self, request: web.BaseRequest, raw: bytes) -> web.Response:
        body = json_body(raw)
        model_id = body.get("modelId")
        named = model_id if isinstance(model_id, str) else ""
        await self._meet(request, "CreateModelInvocationJob", named, "create_job", body)
        check_shape(body, "CreateModelInvocationJob", "bedrock")
        region = _region_of(request)
        self._refuse(body, region)
        account = self._state.account_of(_access_key_of(request))
        arn = f"arn:aws:bedrock:{region}:{account}:model-invocation-job/{uuid.uuid4().hex[:12]}"
        job = self._jobs.create(body, arn)
        await meet(request, self._state.faults.take(named, frozenset({"job_created"})))
        return reply({"jobArn": job.arn})

    def _refuse(self, body: Mapping[str, Any], region: str) -> None:
        if body.get("modelInvocationType", "InvokeModel") != "Converse":
            raise AwsError(
                "ValidationException",
                "The local AWS simulates batch inference with the modelInvocationType Converse "
                "only, not InvokeModel.",
            )
        model_id = body["modelId"]
        base = base_of(model_id)
        if self._state.is_unknown(model_id) or self._state.is_unknown(base):
            raise AwsError("ValidationException", "The provided model identifier is invalid.")
        if self._state.lifecycle_of(base) == "LEGACY":
            raise AwsError("ValidationException", f"The model {model_id} is a legacy model.")
        facts = {**facts_of(base), **self._state.facts_of(model_id)}
        regions = facts.get("batch_regions", [region])
        if facts.get("supports_batch") is False or region not in regions:
            raise AwsError(
                "ValidationException",
                f"The model {model_id} does not support batch inference in {region}.",
            )

    def _job(self, part: str) -> BatchJob | None:
        identifier = unquote(part)
        if not _IDENTIFIER.fullmatch(identifier):
            raise AwsError(
                "ValidationException",
                "1 validation error detected: jobIdentifier: failed to satisfy the pattern",
            )
        return self._jobs.find(identifier)

    def _listed(self, query: Mapping[str, str]) -> dict[str, Any]:
        wanted = list(_matching(self._jobs.jobs(), query))
        if query.get("sortOrder", "Descending") == "Descending":
            wanted.reverse()
        try:
            start = int(query.get("nextToken", "0"))
            size = int(query.get("maxResults", _PAGE))
        except ValueError:
            text = "1 validation error detected: nextToken or maxResults is not valid"
            raise AwsError("ValidationException", text) from None
        body: dict[str, Any] = {
            "invocationJobSummaries": [_details(job) for job in wanted[start : start + size]]
        }
        if start + size < len(wanted):
            body["nextToken"] = str(start + size)
        return body


def _matching(jobs: list[BatchJob], query: Mapping[str, str]) -> Iterator[BatchJob]:
    status, name = query.get("statusEquals"), query.get("nameContains", "")
    if status is not None and status not in STATUSES:
        text = "1 validation error detected: statusEquals: not a status of a job"
        raise AwsError("ValidationException", text)
    after, before = _time(query, "submitTimeAfter"), _time(query, "submitTimeBefore")
    for job in jobs:
        if status not in (None, job.status) or name not in job.body["jobName"]:
            continue
        if (after and job.submitted <= after) or (before and job.submitted >= before):
            continue
        yield job


def _time(query: Mapping[str, str], name: str) -> dt.datetime | None:
    if name not in query:
        return None
    try:
        found = dt.datetime.fromisoformat(query[name])
    except ValueError:
        text = f"1 validation error detected: {name}: expected a time"
        raise AwsError("ValidationException", text) from None
    return found if found.tzinfo else found.replace(tzinfo=dt.UTC)


def _details(job: BatchJob) -> dict[str, Any]:
    hours = job.body.get("timeoutDurationInHours", _HOURS)
    details: dict[str, Any] = {
        "jobArn": job.arn,
        **{key: value for key, value in job.body.items() if key != "tags"},
        "status": job.status,
        "submitTime": _text(job.submitted),
        "lastModifiedTime": _text(job.modified),
        "timeoutDurationInHours": hours,
        "jobExpirationTime": _text(job.submitted + dt.timedelta(hours=hours)),
        "totalRecordCount": job.total,
        "processedRecordCount": job.processed,
        "successRecordCount": job.processed - job.counts.failed,
        "errorRecordCount": job.counts.failed,
    }
    if job.message:
        details["message"] = job.message
    if job.has_ended:
        details["endTime"] = _text(job.modified)
    return details


def _text(at: dt.datetime) -> str:
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _model_of(job: BatchJob | None) -> str:
    return job.model_id if job is not None else ""


def _found(job: BatchJob | None) -> BatchJob:
    if job is None:
        raise AwsError("ResourceNotFoundException", "The batch inference job was not found.")
    return job


def _region_of(request: web.BaseRequest) -> str:
    found = _REGION.search(request.headers.get("Authorization", ""))
    return found.group(1) if found else "us-east-1"


def _access_key_of(request: web.BaseRequest) -> str:
    found = re.search(r"Credential=([^/,\s]+)/", request.headers.get("Authorization", ""))
    return found.group(1) if found else ""
