"""Every kind of failure, where it can strike, and what comes of it: the fault matrix's rows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.models import SONNET

if TYPE_CHECKING:
    from collections.abc import Callable

    from langchain_modelmgr.local import LocalAWS

PLACES = ("before headers", "before content", "in mid-text", "in a tool call")
AFTER = {"before content": 0, "in mid-text": 2, "in a tool call": 1}
"""Content events that come before the fault. A tool call begins with an event of its own."""


@dataclass(frozen=True)
class Kind:
    """One kind of failure.

    Attributes:
        name: As the table calls it.
        error: The class of the failure.
        order: Orders the fault from the local AWS: server, place, content events before it.
        places: Where it can strike.
        falls_back: True if another model answers, where no content was handed on.
        attempts: Attempts on the primary that it takes.
        wasted: True if Bedrock may have billed the attempt before any content.
        silent: True if the failure is that nothing more comes until the time-out.
    """

    name: str
    error: str
    order: Callable[[LocalAWS, str, int], None] = field(repr=False)
    places: tuple[str, ...] = PLACES
    falls_back: bool = True
    attempts: int = 1
    wasted: bool = False
    silent: bool = False


def _code(code: str, message: str = "") -> Callable[[LocalAWS, str, int], None]:
    def order(aws: LocalAWS, place: str, after: int) -> None:
        if place == "before headers":
            aws.fail(SONNET, code, message=message)
        else:
            aws.fail(SONNET, code, at="stream", after=after, message=message)

    return order


def _stall(aws: LocalAWS, place: str, after: int) -> None:
    if place == "before headers":
        aws.stall(SONNET, 300)
    else:
        aws.stall(SONNET, 300, at="stream", after=after)


def _reset(aws: LocalAWS, place: str, after: int) -> None:
    if place == "before headers":
        aws.reset(SONNET, times=2)  # the first is taken for a stale connection
    else:
        aws.reset(SONNET, at="stream", after=after)


def _cut(aws: LocalAWS, place: str, after: int) -> None:
    aws.cut(SONNET, after=after)


FIRST = ("before headers",)
STREAMED = PLACES[1:]

KINDS = [
    Kind("throttled", "BedrockRateLimitError", _code("ThrottlingException")),
    Kind(
        "day's quota used up",
        "BedrockRateLimitError",
        _code("ThrottlingException", "Too many tokens per day, please wait."),
        FIRST,
    ),
    Kind("service quota", "BedrockRateLimitError", _code("ServiceQuotaExceededException"), FIRST),
    Kind("access denied", "BedrockPermissionDeniedError", _code("AccessDeniedException"), FIRST),
    Kind(
        "not allowed in this place",
        "BedrockPermissionDeniedError",
        _code("ValidationException", "Access is not allowed from unsupported countries."),
        FIRST,
    ),
    Kind("no such model", "BedrockNotFoundError", _code("ResourceNotFoundException"), FIRST),
    Kind("model not ready", "BedrockAPIError", _code("ModelNotReadyException"), FIRST),
    Kind("model failed", "BedrockAPIError", _code("ModelErrorException"), FIRST),
    Kind("server error", "BedrockAPIError", _code("InternalServerException")),
    Kind("service unavailable", "BedrockAPIError", _code("ServiceUnavailableException")),
    Kind("stream failed", "BedrockAPIError", _code("ModelStreamErrorException"), STREAMED),
    Kind(
        "model timed out",
        "BedrockTimeoutError",
        _code("ModelTimeoutException"),
        FIRST,
        wasted=True,
    ),
    Kind("silent, no byte in time", "BedrockTimeoutError", _stall, wasted=True, silent=True),
    Kind("connection reset", "BedrockConnectionError", _reset, attempts=2),
    Kind("ended without messageStop", "BedrockConnectionError", _cut, STREAMED),
    Kind(
        "malformed request",
        "BedrockInvalidRequestError",
        _code("ValidationException"),
        falls_back=False,
    ),
    Kind(
        "the model can't do what is requested",
        "BedrockInvalidRequestError",
        _code("ValidationException", "This model doesn't support tool use."),
        FIRST,
    ),
    Kind(
        "credentials expired",
        "BedrockAuthenticationError",
        _code("ExpiredTokenException"),
        FIRST,
        falls_back=False,
    ),
    Kind(
        "prompt too long, no larger window",
        "BedrockContextOverflowError",
        _code("ValidationException", "Input is too long for requested model."),
        FIRST,
        falls_back=False,
    ),
]


def outcome(kind: Kind, place: str) -> str:
    """Return what the table says of a kind of failure in a place."""
    if place not in kind.places:
        return "can't be"
    if place in ("in mid-text", "in a tool call"):
        return "raised, with the partial text"
    if not kind.falls_back:
        return "raised"
    return "the fallback answers" + (
        ", after one more try" if kind.attempts > 1 and place == FIRST[0] else ""
    )


def table() -> str:
    """Return the matrix as the page holds it."""
    lines = [f"| failure | class | {' | '.join(PLACES)} |", "|---|---|" + "---|" * len(PLACES)]
    lines += [
        f"| {kind.name} | `{kind.error}` | {' | '.join(outcome(kind, p) for p in PLACES)} |"
        for kind in KINDS
    ]
    return "\n".join(lines)
