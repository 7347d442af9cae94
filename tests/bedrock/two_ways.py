"""Sends a Converse request by boto3 and directly, and keeps what each sent and gave."""

from __future__ import annotations

import re
import socket
import time
from contextlib import contextmanager, suppress
from socketserver import StreamRequestHandler, ThreadingTCPServer
from threading import Thread
from typing import TYPE_CHECKING, Any, Self, cast

import boto3
from botocore.config import Config

from langchain_modelmgr.bedrock import transport
from langchain_modelmgr.bedrock.time_budget import TimeBudget
from langchain_modelmgr.runtime.watchdog import Watchdog
from langchain_modelmgr.usage.meter import Meter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from langchain_modelmgr.bedrock.direct_calls import DirectCalls

_WATCHDOG = Watchdog()

_VARIES = re.compile(
    rb"(?m)^(X-Amz-Date: ).*|^(amz-sdk-invocation-id: ).*|(Signature=)[0-9a-f]{64}|(/)\d{8}(?=/)"
)


class _Sender:
    """An attempt that never runs out of time."""

    def __init__(self) -> None:
        self.meter = Meter("m", lambda _: None)
        self.time_budget = TimeBudget(30, time.perf_counter() + 30, _WATCHDOG)
        self.http_reply: Any = {}


@contextmanager
def attempt() -> Iterator[None]:
    """Send as an attempt: other requests of a client are always boto3's."""
    token = transport.SENDER.set(_Sender())
    try:
        yield
    finally:
        transport.SENDER.reset(token)


def client(url: str, *, direct: bool, session: boto3.Session | None = None) -> Any:
    """Return a Bedrock Runtime client of the package, which sends directly or by boto3."""
    session = session or boto3.Session("AKIAIOSFODNN7EXAMPLE", "dummy", None, "us-east-1")
    config = Config(retries={"total_max_attempts": 1})
    with transport.watched(session):
        made = session.client("bedrock-runtime", endpoint_url=url, config=config)
    transport.instrument(made, only_boto3="" if direct else "by the test")
    return made


def calls_of(made: Any) -> DirectCalls:
    """Return what sends a client's requests directly."""
    return cast("DirectCalls", made._modelmgr_calls)


def outcome(method: Callable[..., Any], params: dict[str, Any]) -> Any:
    """Return a call's reply, with a stream's events, or all that its error says."""
    events: list[Any] = []
    with attempt():
        try:
            reply = method(**params)
            if "stream" in reply:
                with_stream = reply.pop("stream")
                try:
                    events.extend(with_stream)
                finally:
                    with_stream.close()
        except Exception as error:  # noqa: BLE001 - compared
            return _described(error), events
    return repr(reply), events


def _described(error: Exception) -> tuple[Any, ...]:
    kind = type(error)
    said = re.sub(r"0x[0-9a-f]+", "", str(error))
    return kind.__module__, kind.__name__, said, getattr(error, "response", None)


class Server:
    """Keeps each request byte for byte, and answers it with the bytes that the test sets."""

    def __init__(self) -> None:
        self.received: list[bytes] = []
        self.reply = json_reply(b"{}")
        self._connections: list[socket.socket] = []
        outer = self

        class Handler(StreamRequestHandler):
            def handle(self) -> None:
                outer._connections.append(self.connection)
                while head := outer._head(self.rfile):
                    length = re.search(rb"(?i)\r\ncontent-length: (\d+)", head)
                    outer.received.append(head + self.rfile.read(int(length[1]) if length else 0))
                    self.wfile.write(outer.reply)

        ThreadingTCPServer.allow_reuse_address = True
        self._server = ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def drop(self) -> None:
        """Close all connections."""
        while self._connections:
            with suppress(OSError):  # its client closed it
                self._connections.pop().shutdown(socket.SHUT_RDWR)

    def take(self) -> list[bytes]:
        """Return and forget the requests, without what differs between any two."""
        received, self.received = self.received, []
        return [_VARIES.sub(rb"\1\2\3\4", request) for request in received]

    def __enter__(self) -> Self:
        Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @staticmethod
    def _head(file: Any) -> bytes:
        head = b""
        while (line := file.readline()) not in (b"", b"\r\n"):
            head += line
        return head + line if head else b""


def http_reply(status: int, headers: dict[str, str], body: bytes) -> bytes:
    """Return an HTTP reply."""
    lines = [f"HTTP/1.1 {status} X", *(f"{k}: {v}" for k, v in headers.items())]
    return "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode() + body


def json_reply(body: bytes) -> bytes:
    """Return an HTTP reply of Converse."""
    return http_reply(200, {"x-amzn-RequestId": "r-1", "Content-Type": "application/json"}, body)
