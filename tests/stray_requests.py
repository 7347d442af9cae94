"""StrayRequests: the default AWS endpoint of every test, where no request may arrive."""

from __future__ import annotations

import os
from socketserver import BaseRequestHandler, ThreadingTCPServer
from threading import Lock, Thread
from typing import TYPE_CHECKING, NamedTuple, cast

if TYPE_CHECKING:
    from typing import Self


class StrayRequest(NamedTuple):
    """A request that named no server of its test.

    Attributes:
        test: The test that ran when it arrived.
        request: Its first line.
    """

    test: str
    request: str


class StrayRequests:
    """Stands for the account of whoever runs the tests: listens on loopback, answers nothing.

    Requests come from the threads of this process and from its child processes, which inherit
    ``AWS_ENDPOINT_URL``. Each worker of pytest-xdist has a server of its own.
    """

    def __init__(self) -> None:
        self._found: list[StrayRequest] = []
        self._lock = Lock()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.owner = self
        self._thread = Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def add(self, request: bytes) -> None:
        test = os.environ.get("PYTEST_CURRENT_TEST", "no test")
        first_line = request.partition(b"\r\n")[0].decode("latin-1")
        with self._lock:
            self._found.append(StrayRequest(test, first_line))

    def take(self) -> list[StrayRequest]:
        """Return what arrived since the last time, so that one test's request fails one test."""
        with self._lock:
            found, self._found = self._found, []
        return found


class _Server(ThreadingTCPServer):
    daemon_threads = True
    request_queue_size = 64
    owner: StrayRequests


class _Handler(BaseRequestHandler):
    def handle(self) -> None:
        if request := self.request.recv(200):  # a connection without a request does not count
            cast("_Server", self.server).owner.add(request)
