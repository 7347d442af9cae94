"""Reads Converse's replies as botocore does; botocore itself reads all errors."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NoReturn

from langchain_modelmgr.bedrock.event_frames import EventFrames
from langchain_modelmgr.bedrock.reply_filter import reply_filter
from langchain_modelmgr.bedrock.service_shapes import UncommonError

if TYPE_CHECKING:
    from collections.abc import Callable

_OK = 200
_ERROR = 300
_REACHED = "MaxAttemptsReached"


class ReplyReader:
    """Reads the replies of one operation.

    Args:
        client: The boto3 client.
        operation: The botocore model of the operation.

    Raises:
        UncommonError: This version of botocore describes the operation in an unknown way.
    """

    def __init__(self, client: Any, operation: Any) -> None:
        self._client = client
        self._operation = operation
        self._service = operation.service_model.service_id.hyphenize()
        self._always: dict[str, Any] = {}
        self._read = self._unary(operation.output_shape)
        if operation.has_event_stream_output:
            self._read = self._stream(operation.output_shape)

    def learn(self, reply: dict[str, Any]) -> None:
        """Learn from a reply that botocore read what it adds to each reply's metadata."""
        metadata = reply["ResponseMetadata"]
        if _REACHED in metadata:
            self._always = {_REACHED: metadata[_REACHED]}

    def read(self, response: Any) -> dict[str, Any]:
        """Return an HTTP reply as the client's method would.

        Raises:
            ClientError: Bedrock refused the request; the client's own class for the error.
            ResponseParserError: The reply does not fit Bedrock's model.
        """
        if response.status_code == _OK:
            try:
                return self._read(response)
            except (UncommonError, ValueError, RecursionError):
                pass
        return self._read_by_botocore(response)

    def _unary(self, shape: Any) -> Callable[[Any], dict[str, Any]]:
        fields = None if shape.serialization else reply_filter(shape)

        def read(response: Any) -> dict[str, Any]:
            if fields is None:
                raise UncommonError(shape.name)
            reply = fields(json.loads(response.content.decode()))
            return {"ResponseMetadata": self._metadata(response), **reply}

        return read

    def _stream(self, shape: Any) -> Callable[[Any], dict[str, Any]]:
        from botocore.eventstream import EventStream
        from botocore.parsers import EventStreamJSONParser

        (member, stream) = next(iter(shape.members.items()))
        if len(shape.members) != 1 or shape.serialization != {"payload": member}:
            raise UncommonError(shape.name)
        events = {
            name.encode(): (name, reply_filter(event))
            for name, event in stream.members.items()
            if not event.metadata.get("exception")
        }
        parser, name = EventStreamJSONParser(), self._operation.name

        def by_botocore(raw: Any) -> Any:
            return EventStream(raw, stream, parser, name)

        def read(response: Any) -> dict[str, Any]:
            frames = EventFrames(response.raw, events, by_botocore)
            return {"ResponseMetadata": self._metadata(response), member: frames}

        return read

    def _metadata(self, response: Any) -> dict[str, Any]:
        headers = {name.lower(): value for name, value in response.headers.items()}
        if "x-amzn-requestid" in headers:
            ids = {"RequestId": headers["x-amzn-requestid"]}
        elif "x-amz-request-id" in headers:
            ids = {"RequestId": headers["x-amz-request-id"]}
            ids["HostId"] = headers.get("x-amz-id-2", "")
        else:
            ids = {}
        return {
            **ids,
            "HTTPStatusCode": response.status_code,
            "HTTPHeaders": headers,
            **self._always,
            "RetryAttempts": 0,
        }

    def _read_by_botocore(self, response: Any) -> dict[str, Any]:
        """Do what botocore's endpoint and client do with a reply (read in botocore 1.44.5)."""
        from botocore.endpoint import convert_to_response_dict
        from botocore.parsers import create_parser

        operation = self._operation
        raw = convert_to_response_dict(response, operation)
        more: dict[str, Any] = {}
        self._emit(
            "before-parse",
            operation_model=operation,
            response_dict=raw,
            customized_response_dict=more,
        )
        parser = create_parser(operation.service_model.resolved_protocol)
        parsed: dict[str, Any] = parser.parse(raw, operation.output_shape)
        parsed.update(more)
        if response.status_code >= _ERROR:
            code = parsed.get("Error", {}).get("Code")
            known = None if code is None else operation.service_model.shape_for_error_code(code)
            if known is not None:
                parsed.update(parser.parse(raw, known))
        self._emit(
            "needs-retry",
            response=(response, parsed),
            endpoint=None,
            operation=operation,
            attempts=1,
            caught_exception=None,
            request_dict={"context": {"retries": {"attempt": 1}}},
        )
        parsed["ResponseMetadata"]["RetryAttempts"] = 0
        if response.status_code >= _ERROR:
            self._refuse(parsed)
        return parsed

    def _refuse(self, parsed: dict[str, Any]) -> NoReturn:
        kind = self._client.exceptions.from_code(parsed.get("Error", {}).get("Code"))
        raise kind(parsed, self._operation.name)

    def _emit(self, event: str, **facts: Any) -> None:
        name = f"{event}.{self._service}.{self._operation.name}"
        self._client.meta.events.emit(name, **facts)
