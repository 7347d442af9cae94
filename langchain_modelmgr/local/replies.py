"""Replies of the local Bedrock over HTTP: JSON, errors, broken connections."""

from __future__ import annotations

import asyncio
import json
import struct
import uuid
from socket import SO_LINGER, SOL_SOCKET
from typing import TYPE_CHECKING, Any

from aiohttp import web

from langchain_modelmgr.local.shapes import status_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from langchain_modelmgr.local.faults import Fault


class AwsError(Exception):
    """Raised to send an error as the reply."""

    def __init__(self, code: str, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.retry_after = retry_after

    @property
    def status(self) -> int:
        """The HTTP status of the code."""
        return status_of(self.code)


def json_body(raw: bytes) -> dict[str, Any]:
    """Return a request's body, which must be a JSON object.

    Raises:
        AwsError: It is not one.
    """
    try:
        body = json.loads(raw or b"{}", parse_constant=_refuse)  # NaN is not valid JSON
    except ValueError:
        raise AwsError("ValidationException", "The request body is not valid JSON.") from None
    if not isinstance(body, dict):
        raise AwsError("ValidationException", "The request body is not a JSON object.")
    return body


def _refuse(constant: str) -> None:
    raise ValueError(constant)


def reset_connection(request: web.BaseRequest) -> None:
    """Break the connection at once with a TCP reset, as a crash does."""
    transport = request.transport
    if transport is not None:
        sock = transport.get_extra_info("socket")
        sock.setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
    raise ConnectionResetError


async def meet(request: web.BaseRequest, fault: Fault | None) -> None:
    """Apply a fault that happens before any reply."""
    if fault is None:
        return
    if fault.kind == "stall":
        await asyncio.sleep(fault.seconds)
    elif fault.kind == "reset":
        reset_connection(request)
    else:
        raise AwsError(fault.code, fault.message, fault.retry_after)


def new_headers() -> dict[str, str]:
    """Return the headers of a reply: a request id of its own."""
    return {"x-amzn-RequestId": str(uuid.uuid4())}


def named(headers: Mapping[str, str]) -> dict[str, str]:
    """Return headers with a request id of their own."""
    return {**headers, **new_headers()}


def reply(body: dict[str, Any]) -> web.Response:
    """Return a JSON body as the reply."""
    text = json.dumps(body, ensure_ascii=False)
    return web.Response(text=text, content_type="application/json", headers=new_headers())


def error_reply(code: str, message: str, retry_after: float | None = None) -> web.Response:
    """Return an error as Bedrock sends it."""
    headers = {**new_headers(), "x-amzn-ErrorType": code}
    if retry_after is not None:
        headers["Retry-After"] = f"{retry_after:g}"
    return web.Response(
        text=json.dumps({"message": message}),
        status=status_of(code),
        content_type="application/json",
        headers=headers,
    )
