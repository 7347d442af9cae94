"""Runs one batch inference job: reads its records, answers them, writes its output."""

from __future__ import annotations

import json
import random
from itertools import islice
from tempfile import TemporaryFile
from typing import IO, TYPE_CHECKING, Any

from langchain_modelmgr.local.answers import answer_to, check_request, converse_output
from langchain_modelmgr.local.batch_settings import BatchCounts
from langchain_modelmgr.local.replies import AwsError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from langchain_modelmgr.local.batch_settings import BatchOutcome, BatchQuotas
    from langchain_modelmgr.local.objects import Objects, StoredObject
    from langchain_modelmgr.local.state import State

_SHUFFLED = 100
"""Records whose order changes: as at AWS, the output's is not the input's."""

_BAD_REQUEST = 400
_NO_TOOLS = "Tool use is not supported for batch inference with the Converse invocation type."


class JobFailedError(Exception):
    """Raised if a job's input is refused."""


class _RecordFailedError(Exception):
    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class JobRun:
    """One job's way from its input to its output.

    Args:
        state: What the model answers from.
        objects: The S3 service.
        model_id: The job's model.
        arn: Its ARN.
        outcome: How it goes on.
    """

    def __init__(
        self, state: State, objects: Objects, model_id: str, arn: str, outcome: BatchOutcome
    ) -> None:
        self._state = state
        self._objects = objects
        self._model_id = model_id
        self._arn = arn
        self._outcome = outcome
        self._dice = random.Random(outcome.seed)

    def check(self, uri: str, region: str, quotas: BatchQuotas) -> tuple[list[StoredObject], int]:
        """Check a job's input as AWS does while the job's status is Validating.

        Args:
            uri: Where the input is.
            region: The job's region.
            quotas: The quotas.

        Returns:
            The input files, and how many records they have.

        Raises:
            JobFailedError: The input is refused.
            NoAccessError: It can't be read.
        """
        bucket = uri.removeprefix("s3://").partition("/")[0]
        if self._objects.region_of(bucket) != region:
            raise JobFailedError(f"The S3 bucket {bucket} must be in the job's region, {region}.")
        files = [each for each in self._objects.find(uri) if each.key.endswith(".jsonl")]
        if not files:
            raise JobFailedError(f"No .jsonl file was found at {uri}.")
        total = 0
        for each in files:
            if each.size > quotas.max_file_bytes:
                raise JobFailedError(
                    f"Batch job {self._arn} contains a file that is larger ({each.size} bytes) "
                    f"than the allowed maximum of: {quotas.max_file_bytes}"
                )
            total += sum(_is_record(line) for line in self._objects.lines(each))
        if total < quotas.min_records:  # AWS's wording, as users quote it
            raise JobFailedError(
                f"Batch job {self._arn} contains less records ({total}) than the required "
                f"minimum of: {quotas.min_records}"
            )
        if total > quotas.max_records:
            raise JobFailedError(
                f"Batch job {self._arn} contains more records ({total}) than the allowed "
                f"maximum of: {quotas.max_records}"
            )
        return files, total

    def write(
        self, files: list[StoredObject], base: str, output: str, limit: int, total: int
    ) -> BatchCounts:
        """Answer up to ``limit`` records and write the output.

        Args:
            files: The input files.
            base: The input's S3 URI: names of output files are relative to it.
            output: The S3 URI of the job's output folder.
            limit: How many records.
            total: How many records the input files have.

        Returns:
            What was processed, without the job itself.
        """
        counts = BatchCounts()
        bucket, _, folder = output.removeprefix("s3://").partition("/")
        for each in files:
            with TemporaryFile() as file:
                done = self._answer(each, file, limit - counts.records)
                counts += done
                if done.records and self._outcome.lost != "objects":
                    if self._outcome.lost == "tail":
                        _cut(file)
                    file.seek(0)
                    name = _relative(each.key, base)
                    self._objects.write(bucket, f"{folder}/{name}.out", file)
        if counts.records and self._outcome.lost not in ("objects", "manifest"):
            manifest = json.dumps(_manifest(counts, total)).encode()
            self._objects.write(bucket, f"{folder}/manifest.json.out", manifest)
        return counts

    def _answer(self, source: StoredObject, file: IO[bytes], limit: int) -> BatchCounts:
        counts = BatchCounts()
        lines = islice(self._objects.lines(source), limit)
        while block := list(islice(lines, _SHUFFLED)):
            answered = list(self._answered(block))
            for _, done in answered:
                counts += done
            if self._outcome.lost == "lines":
                del answered[::3]
            self._dice.shuffle(answered)
            file.writelines(line for line, _ in answered)
        return counts

    def _answered(self, lines: list[bytes]) -> Iterator[tuple[bytes, BatchCounts]]:
        for line in lines:
            record = json.loads(line)
            said: dict[str, Any] = {
                "recordId": record.get("recordId") or f"{self._dice.getrandbits(44):011x}",
                "modelInput": record["modelInput"],
            }
            try:
                output = self._output(record["modelInput"])
            except _RecordFailedError as error:
                said["error"] = {"errorCode": error.code, "errorMessage": error.message}
                counts = BatchCounts(records=1, failed=1)
            else:
                said["modelOutput"] = output
                usage = output["usage"]
                counts = BatchCounts(
                    records=1,
                    succeeded=1,
                    input_tokens=usage["inputTokens"],
                    output_tokens=usage["outputTokens"],
                )
            yield json.dumps(said, ensure_ascii=False).encode(errors="replace") + b"\n", counts

    def _output(self, body: dict[str, Any]) -> dict[str, Any]:
        outcome = self._outcome
        if outcome.error_share and self._dice.random() < outcome.error_share:
            raise _RecordFailedError(outcome.error_code, outcome.error_message)
        if "toolConfig" in body:
            raise _RecordFailedError(_BAD_REQUEST, _NO_TOOLS)
        try:
            check_request(self._state, "Converse", self._model_id, body)
            return converse_output(answer_to(self._state, "Converse", self._model_id, body))
        except AwsError as error:
            raise _RecordFailedError(error.status, error.message) from None


def _is_record(line: bytes) -> bool:
    try:
        record = json.loads(line)
    except ValueError:
        record = None
    if not isinstance(record, dict) or not isinstance(record.get("modelInput"), dict):
        raise JobFailedError("A line of the input is not a JSON object with a modelInput object.")
    return True


def _relative(key: str, base: str) -> str:
    prefix = base.removeprefix("s3://").partition("/")[2]
    if key == prefix:
        return key.rpartition("/")[2]
    return key.removeprefix(prefix).lstrip("/")


def _manifest(counts: BatchCounts, total: int) -> dict[str, int]:
    return {
        "totalRecordCount": total,
        "processedRecordCount": counts.records,
        "successRecordCount": counts.succeeded,
        "errorRecordCount": counts.failed,
        "inputTokenCount": counts.input_tokens,
        "outputTokenCount": counts.output_tokens,
    }


def _cut(file: IO[bytes]) -> None:
    """Remove the second half of a file, and so that its last line is not whole."""
    middle = file.seek(0, 2) // 2
    file.seek(middle - 1)
    file.truncate(middle - 2 if file.read(1) == b"\n" else middle)
