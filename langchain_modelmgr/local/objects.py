"""Reads and writes objects of an S3 service by its endpoint URL."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    import boto3


@dataclass(frozen=True)
class StoredObject:
    """One object.

    Attributes:
        bucket: Its bucket.
        key: Its key.
        size: Its size in bytes.
    """

    bucket: str
    key: str
    size: int


class NoAccessError(Exception):
    """Raised if a bucket or an object can't be read or written."""


class Objects:
    """An S3 service.

    Args:
        session: The session whose keys sign the requests.
        url: The service's endpoint URL.
    """

    def __init__(self, session: boto3.Session, url: str) -> None:
        self._session = session
        self._url = url
        self._lock = threading.Lock()
        self._made: Any = None

    @property
    def _client(self) -> Any:
        from botocore.config import Config

        with self._lock:
            if self._made is None:  # not at once: reading S3's service model takes 0.1 s
                self._made = self._session.client(
                    "s3",
                    endpoint_url=self._url,
                    config=Config(
                        s3={"addressing_style": "path"},
                        request_checksum_calculation="when_required",
                        response_checksum_validation="when_required",
                    ),
                )
            return self._made

    def close(self) -> None:
        """Close the connections."""
        with self._lock:
            if self._made is not None:
                self._made.close()

    def region_of(self, bucket: str) -> str:
        """Return the region of a bucket."""
        with _access(bucket):
            found = self._client.get_bucket_location(Bucket=bucket)
        return str(found.get("LocationConstraint") or "us-east-1")

    def find(self, uri: str) -> list[StoredObject]:
        """Return the object of an S3 URI, or else all objects under it as a folder, by key."""
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        with _access(bucket):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=bucket, Prefix=key
            )
            found = [
                StoredObject(bucket, each["Key"], each["Size"])
                for page in pages
                for each in page.get("Contents", ())
            ]
        exact = [each for each in found if each.key == key]
        folder = key if not key or key.endswith("/") else f"{key}/"
        return exact or [each for each in found if each.key.startswith(folder)]

    def lines(self, found: StoredObject) -> Iterator[bytes]:
        """Yield the lines of an object that are not blank."""
        with _access(found.bucket):
            body = self._client.get_object(Bucket=found.bucket, Key=found.key)["Body"]
            yield from (line for line in body.iter_lines() if line.strip())

    def write(self, bucket: str, key: str, content: bytes | IO[bytes]) -> None:
        """Write an object."""
        with _access(bucket):
            self._client.put_object(Bucket=bucket, Key=key, Body=content)


@contextmanager
def _access(bucket: str) -> Iterator[None]:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as error:
        code = error.response["Error"]["Code"]
        raise NoAccessError(f"The S3 bucket {bucket} can't be accessed: {code}.") from error
    except BotoCoreError as error:
        text = f"The S3 service can't be reached: {type(error).__name__}."
        raise NoAccessError(text) from error
