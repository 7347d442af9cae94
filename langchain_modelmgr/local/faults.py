"""Faults that a test sets, and which request each one applies to."""

from __future__ import annotations

import random
import threading
from dataclasses import dataclass, field
from typing import Literal

from langchain_modelmgr.local.shapes import status_of

Kind = Literal["error", "reset", "cut", "stall", "trickle"]
Place = Literal[
    "request",
    "headers",
    "body",
    "stream",
    "end",
    "profile",
    "identity",
    "availability",
    "models",
    "guardrail",
    "create_job",
    "job_created",
    "get_job",
    "list_jobs",
    "stop_job",
]

_MESSAGES = {
    "ThrottlingException": "Too many requests, please wait before trying again.",
    "AccessDeniedException": "You don't have access to the model with the specified model ID.",
    "ResourceNotFoundException": "Could not resolve the foundation model from the provided model "
    "identifier.",
    "ValidationException": "Malformed input request, please reformat your input and try again.",
    "ExpiredTokenException": "The security token included in the request is expired",
    "UnrecognizedClientException": "The security token included in the request is invalid.",
}


@dataclass
class Fault:
    """One fault: its model, kind, place and how often it happens.

    Attributes:
        kind: An error reply, a reset connection, a stream cut short, silence, or a trickle: a
            stream of events without content, a unary reply byte by byte.
        model_id: The model; None: any.
        at: Before the reply, after its headers, in a unary reply's body, in the stream, or at its
            end: after messageStop.
        after: Content events of a stream that come before the fault.
        times: The number of requests that it still applies to; None: no limit.
        rate: Share of requests that it applies to; None: all.
        code: AWS's error code.
        message: AWS's text.
        seconds: How long a stall, or a trickle, lasts.
        every: Seconds between the events, or bytes, of a trickle.
        retry_after: Seconds in a ``Retry-After`` header.
    """

    kind: Kind
    model_id: str | None
    at: Place = "request"
    after: int = 0
    times: int | None = 1
    rate: float | None = None
    code: str = ""
    message: str = ""
    seconds: float = 0.0
    every: float = 0.0
    retry_after: float | None = None
    dice: random.Random = field(default_factory=random.Random)

    def __post_init__(self) -> None:
        if self.code:
            status_of(self.code)  # raises an error for a code that AWS doesn't have
            self.message = self.message or _MESSAGES.get(self.code, "The request failed.")

    def applies_to(self, model_id: str, places: frozenset[Place]) -> bool:
        """Return whether the fault applies to this request, and count it if so."""
        if self.at not in places or self.model_id not in (None, model_id):
            return False
        if self.times == 0 or (self.rate is not None and self.dice.random() >= self.rate):
            return False
        if self.times is not None:
            self.times -= 1
        return True


class Faults:
    """The faults of one server, in the order in which they were set."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._orders: list[Fault] = []

    def order(self, fault: Fault) -> None:
        """Add a fault."""
        with self._lock:
            self._orders.append(fault)

    def clear(self) -> None:
        """Remove all faults."""
        with self._lock:
            self._orders.clear()

    def take(self, model_id: str, places: frozenset[Place]) -> Fault | None:
        """Return the fault that applies to this request, if any."""
        with self._lock:
            return next((f for f in self._orders if f.applies_to(model_id, places)), None)
