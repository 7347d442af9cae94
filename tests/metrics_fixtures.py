"""Fixtures: records of attempts, a clock that a test moves, and a CloudWatch with faults."""

from __future__ import annotations

import gzip
import json
import math
import socket
import struct
import threading
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.config import Config

from langchain_modelmgr.metrics import CloudWatchSink
from langchain_modelmgr.runtime.interval_worker import Clock
from tests.usage_records import NOW, make

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.usage_records import MakeUsage

MakeServer = Callable[[], AbstractContextManager["FaultyCloudWatch"]]


@pytest.fixture(scope="session")
def usage() -> MakeUsage:
    """Make the record of an answered attempt, with some fields changed."""
    return make


@dataclass
class FakeClock:
    """Time that passes only in ``pass_time`` and in pauses."""

    now: float = 1_000.0
    pauses: list[float] = field(default_factory=list)
    during_pause: Callable[[], None] = lambda: None

    def clock(self) -> Clock:
        start = NOW.timestamp() - self.now
        return Clock(lambda: self.now, lambda: start + self.now, self._sleep)

    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    def _sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds
        self.during_pause()


@pytest.fixture
def fake_clock() -> FakeClock:
    return FakeClock()


class FaultyCloudWatch:
    """Takes PutMetricData over real HTTP, with faults that no honest server has.

    A fault is ``reset`` (takes the body, then breaks the connection), ``hang`` (takes the body and
    does not answer), ``ok``, or an error: its code and its status, as ``Throttling 400``.
    """

    def __init__(self) -> None:
        self.faults: deque[str] = deque()
        self.always: str | None = None
        self.poisoned_agent: str | None = None
        self.bodies: list[dict[str, Any]] = []
        self.sizes: list[int] = []
        self.data: list[dict[str, Any]] = []
        self.arrived = threading.Condition()
        self.released = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def requests(self) -> int:
        return len(self.bodies)

    def client(self, **config: Any) -> Any:
        return boto3.Session(region_name="us-east-1").client(
            "cloudwatch",
            endpoint_url=self.url,
            config=Config(retries={"total_max_attempts": 1}, **config),
        )

    def sum(self, name: str) -> float:
        """Sum of all that was taken of one metric."""
        return math.fsum(
            value * count
            for datum in self.data
            if datum["MetricName"] == name
            for value, count in zip(datum["Values"], datum["Counts"], strict=True)
        )

    def samples(self) -> int:
        return int(sum(sum(datum["Counts"]) for datum in self.data))

    def wait_for(self, condition: Callable[[], bool]) -> None:
        with self.arrived:
            assert self.arrived.wait_for(condition, timeout=50)

    def take(self, body: bytes) -> str:
        request = json.loads(body)
        fault = self.faults.popleft() if self.faults else self.always or "ok"
        agents = {d["Value"] for m in request["MetricData"] for d in m["Dimensions"]}
        if fault == "ok" and self.poisoned_agent in agents:
            fault = "InvalidParameterValue 400"
        with self.arrived:
            self.bodies.append(request)
            self.sizes.append(len(body))
            if fault in ("ok", "hang", "reset"):
                self.data += request["MetricData"]
            self.arrived.notify_all()
        return fault

    def stop(self) -> None:
        self.released.set()
        if self._thread.is_alive():
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()


def _handler(server: FaultyCloudWatch) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers["Content-Length"]))
            zipped = self.headers.get("Content-Encoding") == "gzip"
            body = gzip.decompress(raw) if zipped else raw
            if "X-Amz-Target" not in self.headers:  # another service's request
                self._answer("ValidationError 400")
                return
            fault = server.take(body)
            if fault == "reset":
                # Closing with linger 0 sends a RST.
                self.connection.setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
                )
                self.connection.close()
                self.close_connection = True
            elif fault == "hang":
                server.released.wait(300)
                self.close_connection = True
            else:
                self._answer("" if fault == "ok" else fault)

        def _answer(self, fault: str) -> None:
            code, _, status = fault.partition(" ")
            error = {"__type": f"x#{code}", "message": "account 123456789012"}
            body = json.dumps(error if fault else {}).encode()
            self.send_response(int(status or 200))
            self.send_header("Content-Type", "application/x-amz-json-1.0")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def finish(self) -> None:
            if self.rfile.closed or self.connection.fileno() == -1:
                return
            super().finish()

        def log_message(self, *_: Any) -> None:
            pass

    return Handler


@pytest.fixture
def faulty() -> Iterator[FaultyCloudWatch]:
    with running() as server:
        yield server


@pytest.fixture(scope="session")
def faulty_server() -> MakeServer:
    """Start a server of its own for each example of a property."""
    return running


@contextmanager
def running() -> Iterator[FaultyCloudWatch]:
    server = FaultyCloudWatch()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture
def sink(faulty: FaultyCloudWatch) -> Iterator[CloudWatchSink]:
    made = CloudWatchSink(
        lambda: faulty.client(read_timeout=60), "x/Models", clock=Clock(sleep=lambda _: None)
    )
    yield made
    faulty.always = None
    faulty.faults.clear()
    made.close()
