"""A server before an S3 server that cuts off bodies of objects in the middle."""

from __future__ import annotations

import http.client
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator

_PER_HOP = frozenset({"connection", "transfer-encoding", "content-length", "date", "server"})


class CutBodies:
    """Which replies are cut off, and what was requested.

    Attributes:
        ending: Objects whose keys end so have their bodies cut off.
        times: How many more replies are cut off.
        ranges: The ``Range`` header of each request for such an object; None: the whole object.
    """

    def __init__(self) -> None:
        self.ending = ""
        self.times = 0
        self.ranges: list[str | None] = []


@contextmanager
def cut_bodies(s3_url: str) -> Iterator[tuple[str, CutBodies]]:
    """Forward requests to an S3 server; yield the address, and what is cut off."""
    cut, port = CutBodies(), urlsplit(s3_url).port

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def forward(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            server = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
            server.request(self.command, self.path, self.rfile.read(length), dict(self.headers))
            reply = server.getresponse()
            body = reply.read()
            is_cut = self.command == "GET" and cut.ending and self.is_of(cut.ending)
            if is_cut:
                cut.ranges.append(self.headers.get("Range"))
            self.send_response(reply.status)
            for name, value in reply.getheaders():
                if name.lower() not in _PER_HOP:
                    self.send_header(name, value)
            size = reply.getheader("Content-Length") if self.command == "HEAD" else len(body)
            self.send_header("Content-Length", str(size or 0))
            self.end_headers()
            if is_cut and cut.times:
                cut.times -= 1
                body, self.close_connection = body[: len(body) // 2], True
            self.wfile.write(body)

        def is_of(self, ending: str) -> bool:
            return urlsplit(self.path).path.endswith(ending)

        do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = forward  # noqa: N815

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", cut
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
