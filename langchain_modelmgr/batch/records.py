"""Records of batch inference jobs: a row's request as the wire would carry it, and its output."""

from __future__ import annotations

import functools
import json
from typing import TYPE_CHECKING, Any, NamedTuple

from langchain_modelmgr.batch.asking import messages_of
from langchain_modelmgr.budgets.worst_case import worst_case
from langchain_modelmgr.converse import request_of, text_of
from langchain_modelmgr.errors import JobError
from langchain_modelmgr.usage.meter import token_counts
from langchain_modelmgr.usage.totals import Run

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from langchain_modelmgr.agent import Agent
    from langchain_modelmgr.batch.plan import Plan
    from langchain_modelmgr.batch.rows import Row
    from langchain_modelmgr.budgets.worst_case import WorstCase
    from langchain_modelmgr.catalog import ModelConfig
    from langchain_modelmgr.chain.candidate import Candidate
    from langchain_modelmgr.usage.pricing import TokenCounts

_DIGITS = 11
_NOT_IN_RECORDS = ("serviceTier", "performanceConfig")
"""Fields of Converse that choose a way to be served, which a batch inference job is itself."""

_THROTTLED, _SERVER_ERROR = 429, 500


def record_id(position: int) -> str:
    """Return the ``recordId`` of a row: alphanumeric, 12 characters or more."""
    return f"R{position:0{_DIGITS}}"


class Record(NamedTuple):
    """A row as a record.

    Attributes:
        line: The line of the input file.
        worst: The most that it can use, at the prices of batch inference; None: its request has
            no ``maxTokens``.
    """

    line: bytes
    worst: WorstCase | None


class RecordForm:
    """Forms the records of one job's rows.

    Args:
        agent: The agent.
        plan: The job's plan.
        candidate: The agent's own model, which answers.
        priced: The model with the prices of batch inference.
    """

    def __init__(self, agent: Agent, plan: Plan, candidate: Candidate, priced: ModelConfig) -> None:
        self._agent = agent
        self._plan = plan
        self._candidate = candidate
        self._priced = priced

    def record(self, row: Row) -> Record:
        """Return a row as a record.

        Raises:
            JobError: The model can't serve it.
        """
        request = request_of(messages_of(row.body), self._plan.system, None, {})
        _, given = self._agent.open(request, Run())
        if reason := self._candidate.unsuited_because(given.request):
            raise JobError(f"row {row.position}: {self._candidate.public_id}: {reason}")
        params = self._candidate.formed(given.request)
        params = {name: value for name, value in params.items() if name not in _NOT_IN_RECORDS}
        output = (params.get("inferenceConfig") or {}).get("maxTokens")
        line = b'{"recordId": "%s", "modelInput": %s}\n' % (
            record_id(row.position).encode(),
            body_of(params),
        )
        worst = None if output is None else worst_case(params, self._priced, int(output))
        return Record(line, worst)


def body_of(params: dict[str, Any]) -> bytes:
    """Return the body of a Converse request, as botocore sends it."""
    serializer, operation = _serializer()
    sent = serializer.serialize_to_request({"modelId": "model", **params}, operation)
    body: bytes = sent["body"]
    return body


@functools.cache
def _serializer() -> tuple[Any, Any]:
    import botocore.session
    from botocore.serialize import create_serializer

    service = botocore.session.get_session().get_service_model("bedrock-runtime")
    serializer = create_serializer(service.resolved_protocol, include_validation=False)
    return serializer, service.operation_model("Converse")


class Output(NamedTuple):
    """What a job has written about one row.

    Attributes:
        position: The row.
        text: The answer's text; None: it failed.
        usage: The answer's tokens; None: unknown.
        error: Why it failed; None: it was answered.
        may_pass: Whether it may be answered if it is asked again.
    """

    position: int
    text: str | None
    usage: TokenCounts | None
    error: str | None = None
    may_pass: bool = False


def outputs_of(lines: Iterable[bytes]) -> Iterator[Output]:
    """Yield what an output file says; lines that can't be read are left out."""
    for line in lines:
        try:
            record = json.loads(line)
            position = int(record["recordId"].removeprefix("R"))
            if "modelOutput" in record:
                reply = record["modelOutput"]
                content = reply["output"]["message"]["content"]
                usage = token_counts(reply["usage"]) if "usage" in reply else None
                yield Output(position, text_of(content), usage)
            else:
                code = int(record["error"]["errorCode"])
                text = f"{code}: {record['error'].get('errorMessage', '')}"
                may_pass = code == _THROTTLED or code >= _SERVER_ERROR
                yield Output(position, None, None, text, may_pass)
        except (ValueError, TypeError, KeyError, AttributeError):
            continue
