"""The state of the server, shared by two threads: calls, faults, scripts, recorded replies."""

from __future__ import annotations

import base64
import json
import threading
from collections import Counter, defaultdict, deque
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from langchain_modelmgr.local.faults import Faults
from langchain_modelmgr.local.model import ScriptedModel

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from pathlib import Path

    from langchain_modelmgr.local.scripted import Script, ScriptedReply, ScriptedRequest

Lifecycle: TypeAlias = Literal["ACTIVE", "LEGACY"]
"""What ListFoundationModels says of a model's lifecycle."""

KEPT_CALLS = 1_000
"""Received requests that are kept with their bodies; all of them are counted."""

DEFAULT_ACCOUNT = "123456789012"
"""The account of access keys without one of their own: AWS's own example."""


def availability(
    *, agreed: bool = True, authorized: bool = True, entitled: bool = True, in_region: bool = True
) -> dict[str, Any]:
    """Return the four answers of GetFoundationModelAvailability."""
    return {
        "agreementAvailability": {"status": "AVAILABLE" if agreed else "NOT_AVAILABLE"},
        "authorizationStatus": "AUTHORIZED" if authorized else "NOT_AUTHORIZED",
        "entitlementAvailability": "AVAILABLE" if entitled else "NOT_AVAILABLE",
        "regionAvailability": "AVAILABLE" if in_region else "NOT_AVAILABLE",
    }


@dataclass(frozen=True)
class RecordedCall:
    """One received request.

    Attributes:
        operation: ``Converse``, ``ConverseStream``, ``CountTokens``, ...
        model_id: The model id of the URL, decoded.
        body: The request's JSON.
        headers: Its headers.
    """

    operation: str
    model_id: str
    body: dict[str, Any]
    headers: Mapping[str, str]


@dataclass(frozen=True)
class Replay:
    """A recorded reply, byte for byte."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class State:
    """The settings and the received requests. Every method is thread-safe."""

    def __init__(self) -> None:
        self.faults = Faults()
        self.model = ScriptedModel()
        self._lock = threading.Lock()
        self._closed = threading.Condition()
        self._open_streams = 0
        self._calls: deque[RecordedCall] = deque(maxlen=KEPT_CALLS)
        self._counts: Counter[tuple[str, str]] = Counter()
        self._latency: dict[str | None, tuple[float, float]] = {}
        self._scripts: dict[str | None, Script] = {}
        self._replies: defaultdict[str | None, deque[ScriptedReply]] = defaultdict(deque)
        self._replays: defaultdict[tuple[str, str], deque[Replay]] = defaultdict(deque)
        self._unknown: set[str] = set()
        self._facts: dict[str, Mapping[str, Any]] = {}
        self._profiles: dict[str, dict[str, Any]] = {}
        self._accounts: dict[str, str] = {}
        self._availability: dict[str, dict[str, Any]] = {}
        self._lifecycles: dict[str, Lifecycle] = {}
        self.clock_skew = 0.0

    def record(self, call: RecordedCall) -> None:
        """Count a received request and keep it among the last ones."""
        with self._lock:
            self._calls.append(call)
            self._counts[call.operation, call.model_id] += 1

    def calls(self, model_id: str | None) -> list[RecordedCall]:
        """Return the last 1,000 received requests, in order; those of one model if it is given."""
        with self._lock:
            return [c for c in self._calls if model_id in (None, c.model_id)]

    def count(self, operations: Collection[str], model_id: str | None) -> int:
        """Return how many requests were received since the start: of these operations."""
        with self._lock:
            return sum(
                count
                for (operation, model), count in self._counts.items()
                if operation in operations and model_id in (None, model)
            )

    def model_ids(self) -> list[str]:
        """Return the models that received requests so far."""
        with self._lock:
            return sorted({model for _, model in self._counts})

    def set_latency(self, model_id: str | None, seconds: float, chunk_delay: float) -> None:
        """Set how long a reply, and each event of a stream, takes."""
        with self._lock:
            self._latency[model_id] = (seconds, chunk_delay)

    def latency_of(self, model_id: str) -> tuple[float, float]:
        """Return a model's latency and its delay between events."""
        with self._lock:
            return self._latency.get(model_id) or self._latency.get(None) or (0.0, 0.0)

    def set_script(self, model_id: str | None, script: Script) -> None:
        """Set a model's script."""
        with self._lock:
            self._scripts[model_id] = script

    def add_reply(self, model_id: str | None, reply: ScriptedReply, times: int) -> None:
        """Set the next replies of a model."""
        with self._lock:
            self._replies[model_id].extend([reply] * times)

    def scripted(self, request: ScriptedRequest) -> ScriptedReply | None:
        """Return the answer of a user's reply or script to this request, if any."""
        with self._lock:
            for key in (request.model_id, None):
                if self._replies[key]:
                    return self._replies[key].popleft()
            script = self._scripts.get(request.model_id) or self._scripts.get(None)
        return script(request) if script else None

    def load_replays(self, path: Path) -> int:
        """Queue recorded replies; return how many."""
        lines = path.read_text("utf-8").splitlines()
        for line in lines:
            record = json.loads(line)
            replay = Replay(
                record["status"], record["headers"], base64.b64decode(record["body_base64"])
            )
            with self._lock:
                self._replays[record["operation"], record["model_id"]].append(replay)
        return len(lines)

    def add_replay(self, operation: str, model_id: str, replay: Replay) -> None:
        """Queue one recorded reply."""
        with self._lock:
            self._replays[operation, model_id].append(replay)

    def replayed(self, operation: str, model_id: str) -> Replay | None:
        """Return the next recorded reply for this model and operation, if any."""
        with self._lock:
            waiting = self._replays.get((operation, model_id))
            return waiting.popleft() if waiting else None

    def set_facts(self, model_id: str, facts: Mapping[str, Any]) -> None:
        """Override facts of a model in the data file."""
        with self._lock:
            self._facts[model_id] = {**self._facts.get(model_id, {}), **facts}

    def facts_of(self, model_id: str) -> Mapping[str, Any]:
        """Return the facts of a model that were set."""
        with self._lock:
            return self._facts.get(model_id, {})

    def make_unknown(self, model_id: str) -> None:
        """Make a model unknown."""
        with self._lock:
            self._unknown.add(model_id)

    def is_unknown(self, model_id: str) -> bool:
        """Return whether a model was made unknown."""
        with self._lock:
            return model_id in self._unknown

    def add_profile(self, name: str, profile: dict[str, Any]) -> None:
        """Add an inference profile, by id and ARN."""
        with self._lock:
            self._profiles[name] = profile

    def inference_profile(self, name: str) -> dict[str, Any] | None:
        """Return an inference profile."""
        with self._lock:
            return self._profiles.get(name)

    def inference_profiles(self) -> list[dict[str, Any]]:
        """Return all inference profiles."""
        with self._lock:
            return list(self._profiles.values())

    def set_account(self, access_key_id: str, account_id: str) -> None:
        """Set the account that an access key belongs to."""
        with self._lock:
            self._accounts[access_key_id] = account_id

    def account_of(self, access_key_id: str) -> str:
        """Return the account that an access key belongs to."""
        with self._lock:
            return self._accounts.get(access_key_id, DEFAULT_ACCOUNT)

    def set_availability(self, model_id: str, availability: dict[str, Any]) -> None:
        """Set what GetFoundationModelAvailability returns for a model."""
        with self._lock:
            self._availability[model_id] = availability

    def availability_of(self, model_id: str) -> dict[str, Any]:
        """Return what GetFoundationModelAvailability returns for a model, its id excepted."""
        with self._lock:
            return self._availability.get(model_id) or availability()

    def set_lifecycle(self, model_id: str, status: Lifecycle) -> None:
        """Set the lifecycle that ListFoundationModels returns for a model."""
        with self._lock:
            self._lifecycles[model_id] = status

    def lifecycle_of(self, model_id: str) -> Lifecycle:
        """Return the lifecycle that ListFoundationModels returns for a model."""
        with self._lock:
            return self._lifecycles.get(model_id, "ACTIVE")

    @contextmanager
    def open_stream(self) -> Iterator[None]:
        """Count a stream while it is open."""
        with self._closed:
            self._open_streams += 1
        try:
            yield
        finally:
            with self._closed:
                self._open_streams -= 1
                self._closed.notify_all()

    def open_streams(self) -> int:
        """Return how many streams are open."""
        with self._closed:
            return self._open_streams

    def wait_closed(self, timeout: float) -> bool:
        """Wait until no stream is open; return whether that was in time."""
        with self._closed:
            return self._closed.wait_for(lambda: not self._open_streams, timeout)
