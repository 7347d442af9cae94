"""S3 for the local AWS, and batch inference jobs to create there."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from langchain_modelmgr.local import LocalAWS

NOVA = "amazon.nova-lite-v1:0"
ROLE = "arn:aws:iam::123456789012:role/batch"


def body_of(text: str) -> dict[str, Any]:
    """Return the Converse request of a record."""
    return {"messages": [{"role": "user", "content": [{"text": text}]}]}


def records(count: int) -> list[dict[str, Any]]:
    """Return records, each with a text of its own."""
    return [{"recordId": f"R{i:07d}", "modelInput": body_of(f"row {i}")} for i in range(count)]


@dataclass
class Batches:
    """Creates jobs whose input and output are in one bucket.

    Attributes:
        aws: The local AWS.
        bucket: The bucket.
        bedrock: A client of Bedrock's control plane.
        s3: A client of S3.
    """

    aws: LocalAWS
    bucket: str
    bedrock: Any = None
    s3: Any = None

    def upload(self, lines: list[dict[str, Any]] | str, key: str = "in/rows.jsonl") -> None:
        """Write an input file."""
        text = lines if isinstance(lines, str) else "".join(f"{json.dumps(x)}\n" for x in lines)
        self.s3.put_object(Bucket=self.bucket, Key=key, Body=text.encode())

    def request(self, **changes: Any) -> dict[str, Any]:
        """Return the parameters of CreateModelInvocationJob."""
        uri = f"s3://{self.bucket}"
        return {
            "jobName": "tickets",
            "roleArn": ROLE,
            "modelId": NOVA,
            "modelInvocationType": "Converse",
            "inputDataConfig": {"s3InputDataConfig": {"s3Uri": f"{uri}/in/rows.jsonl"}},
            "outputDataConfig": {"s3OutputDataConfig": {"s3Uri": f"{uri}/out/"}},
            **changes,
        }

    def create(self, lines: list[dict[str, Any]] | str | None = None, **changes: Any) -> str:
        """Create a job and return its ARN."""
        self.upload(records(100) if lines is None else lines)
        arn: str = self.bedrock.create_model_invocation_job(**self.request(**changes))["jobArn"]
        return arn

    def get(self, arn: str) -> dict[str, Any]:
        """Return what GetModelInvocationJob says of a job."""
        job: dict[str, Any] = self.bedrock.get_model_invocation_job(jobIdentifier=arn)
        return job

    def status(self, arn: str) -> str:
        """Return a job's status."""
        return str(self.get(arn)["status"])

    def written(self, arn: str) -> dict[str, str]:
        """Return the output objects of a job by their names."""
        prefix = f"out/{arn.rpartition('/')[2]}/"
        found = self.s3.list_objects_v2(Bucket=self.bucket, Prefix=prefix).get("Contents", ())
        return {
            each["Key"].removeprefix(prefix): self.s3.get_object(
                Bucket=self.bucket, Key=each["Key"]
            )["Body"]
            .read()
            .decode()
            for each in found
        }

    def output(self, arn: str) -> list[dict[str, Any]]:
        """Return the records of a job's output file, in the file's order."""
        return [json.loads(line) for line in self.written(arn)["rows.jsonl.out"].splitlines()]

    def manifest(self, arn: str) -> dict[str, int]:
        """Return a job's manifest."""
        found: dict[str, int] = json.loads(self.written(arn)["manifest.json.out"])
        return found
