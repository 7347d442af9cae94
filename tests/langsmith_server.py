"""LangSmithServer: takes the runs of a LangSmith client on loopback, and holds what they came to."""

from __future__ import annotations

import json
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import TYPE_CHECKING, Any, cast

import zstandard

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

POST, PATCH = "post", "patch"


class LangSmithServer:
    """Accepts one POST and one PATCH of each run, and refuses further ones with 409.

    So does LangSmith: its maintainers say so in langsmith-sdk's issue 1529.

    Args:
        multipart: Whether the server offers its multipart endpoint.

    Attributes:
        refused: The further operations on a run: their kind and fields.
        ways: How runs arrived: ``compressed``, ``multipart``, ``batch`` or ``single``.
    """

    def __init__(self, *, multipart: bool = True) -> None:
        self.multipart = multipart
        self.refused: list[tuple[str, dict[str, Any]]] = []
        self.ways: set[str] = set()
        self._kept: dict[str, dict[str, dict[str, Any]]] = {}
        self._lock = Lock()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.owner = self
        self._thread = Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

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

    def runs(self, run_type: str = "llm") -> list[dict[str, Any]]:
        """Return the runs of a type in the order of their start: a PATCH over its POST."""
        with self._lock:
            merged = [
                {**kept.get(POST, {}), **{k: v for k, v in kept.get(PATCH, {}).items() if v}}
                for kept in self._kept.values()
            ]
        return sorted(
            (run for run in merged if run["run_type"] == run_type),
            key=lambda run: run["start_time"],
        )

    def forget(self) -> None:
        """Forget everything that arrived."""
        with self._lock:
            self._kept.clear()
            self.refused.clear()
            self.ways.clear()

    def take(self, kind: str, fields: dict[str, Any]) -> bool:
        """Keep a part of a run; return False if there is one of its kind."""
        with self._lock:
            kept = self._kept.setdefault(fields["id"], {})
            if kind in kept:
                self.refused.append((kind, fields))
                return False
            kept[kind] = fields
            return True


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    owner: LangSmithServer


class _Handler(BaseHTTPRequestHandler):
    @property
    def _owner(self) -> LangSmithServer:
        return cast("_Server", self.server).owner

    def log_message(self, *_: Any) -> None:
        """Print nothing."""

    def do_GET(self) -> None:
        config = {
            "use_multipart_endpoint": self._owner.multipart,
            "scale_up_qsize_trigger": 1000,
            "scale_up_nthreads_limit": 1,
            "scale_down_nempty_trigger": 4,
            "size_limit": 100,
            "size_limit_bytes": 20_000_000,
        }
        flags = {"zstd_compression_enabled": True}
        self._answer(200, {"batch_ingest_config": config, "instance_flags": flags})

    def do_POST(self) -> None:
        body = self._body()
        if self.path.endswith("/multipart"):
            way = "compressed" if self.headers.get("Content-Encoding") else "multipart"
            parts = list(_multipart(self.headers["Content-Type"], body))
        elif self.path.endswith("/batch"):
            way, batch = "batch", json.loads(body)
            parts = [(kind, run) for kind in (POST, PATCH) for run in batch.get(kind) or ()]
        else:
            way, parts = "single", [(POST, json.loads(body))]
        self._owner.ways.add(way)
        taken = [self._owner.take(kind, fields) for kind, fields in parts]
        self._answer(202 if all(taken) else 409)

    def do_PATCH(self) -> None:
        fields = {"id": self.path.rpartition("/")[2], **json.loads(self._body())}
        self._answer(202 if self._owner.take(PATCH, fields) else 409)

    def _body(self) -> bytes:
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            body = b"".join(self._chunks())
        else:
            body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "zstd":
            return zstandard.ZstdDecompressor().stream_reader(body).read()
        return body

    def _chunks(self) -> Iterator[bytes]:
        while size := int(self.rfile.readline(), 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()

    def _answer(self, status: int, body: dict[str, Any] | None = None) -> None:
        content = json.dumps(body or {}).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def _multipart(content_type: str, body: bytes) -> Iterator[tuple[str, dict[str, Any]]]:
    """Return the operations of a multipart request: parts named ``post.<id>.outputs`` and so on."""
    header = f"Content-Type: {content_type}\r\n\r\n".encode()
    found: dict[tuple[str, str], dict[str, Any]] = {}
    again: list[tuple[str, dict[str, Any]]] = []
    for part in cast("list[Any]", BytesParser().parsebytes(header + body).get_payload()):
        name = part.get_param("name", header="Content-Disposition")
        kind, run_id, *field = name.split(".")
        value = json.loads(part.get_payload(decode=True))
        if field:
            found[kind, run_id][field[0]] = value
            continue
        if (kind, run_id) in found:  # a second operation of the same kind in one request
            again.append((kind, found[kind, run_id]))
        found[kind, run_id] = {**value, "id": run_id}
    yield from again
    for (kind, _), fields in found.items():
        yield kind, fields
