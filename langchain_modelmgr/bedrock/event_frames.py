"""Decodes ConverseStream's event stream; botocore decodes anything uncommon."""

from __future__ import annotations

import json
import struct
import zlib
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from langchain_modelmgr.bedrock.service_shapes import UncommonError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

_PRELUDE = struct.Struct(">III")
_SHORTEST = 16
_LONGEST_HEADERS = 128 * 1024
_LONGEST_PAYLOAD = 24 * 1024 * 1024
"""botocore refuses longer headers and payloads (read in 1.44.5)."""

NOTHING_ARRIVED: dict[str, Any] = {}
"""In place of an event: the reply has no more bytes yet. Only this object, not its equals."""

_JSON = json.JSONDecoder()

_STRING = 7
_EVENT = {b":message-type": b"event", b":content-type": b"application/json"}


class EventFrames:
    """The events of one stream, with botocore's values and errors.

    A frame is decoded here if its checksums are right and it is an event of the model. botocore
    decodes any other frame, and raises its own errors.

    A reply that is awaited gives None where a blocking one would wait; ``NOTHING_ARRIVED`` then
    stands in place of an event.

    Args:
        raw: The open HTTP reply.
        events: How to read each event's payload, by event type.
        by_botocore: Makes botocore's event stream from an object with a method ``stream``.
    """

    def __init__(
        self,
        raw: Any,
        events: Mapping[bytes, tuple[str, Callable[[Any], Any]]],
        by_botocore: Callable[[Any], Any],
    ) -> None:
        self._raw = raw
        self._events = events
        self._by_botocore = by_botocore
        self._iterator = self._decoded()

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Return an iterator of the events that have not been read yet."""
        return self._iterator

    def close(self) -> None:
        """Close the HTTP reply."""
        self._raw.close()

    def _decoded(self) -> Iterator[dict[str, Any]]:
        chunks = self._raw.stream()
        waiting = b""
        for chunk in chunks:
            if chunk is None:
                yield NOTHING_ARRIVED
                continue
            waiting = waiting + chunk if waiting else chunk
            start = 0
            while (end := _end_of_frame(waiting, start)) is not None:
                if not end:
                    yield from self._by_botocore(_Rest(waiting[start:], chunks))
                    return
                frame, start = waiting[start:end], end
                if (event := self._event(frame)) is not None:
                    yield event
                else:
                    yield from self._by_botocore(_Rest(frame))
            waiting = waiting[start:]

    def _event(self, frame: bytes) -> dict[str, Any] | None:
        """Return a frame's event; None if botocore must decode it."""
        if zlib.crc32(frame[:-4]) != int.from_bytes(frame[-4:], "big"):
            return None
        payload = _PRELUDE.size + int.from_bytes(frame[4:8], "big")
        try:
            known = self._events.get(_event_type(frame[_PRELUDE.size : payload]))
            if known is None:
                return None
            name, read = known
            text = frame[payload:-4].decode()
            value, end = _JSON.raw_decode(text)  # less than half of json.loads
            return {name: read(value)} if end == len(text) else None
        except (UncommonError, ValueError, IndexError, RecursionError):
            return None


class _Rest:
    """A part of a reply: bytes that were read, then the chunks that follow.

    It ends where nothing more has arrived: its first bytes are no frame, and raise an error.
    """

    def __init__(self, first: bytes, chunks: Iterable[bytes | None] = ()) -> None:
        self._first = first
        self._chunks = chunks

    def stream(self) -> Iterator[bytes]:
        yield self._first
        for chunk in self._chunks:
            if chunk is None:
                return
            yield chunk


def _end_of_frame(data: bytes, start: int) -> int | None:
    """Return where a frame ends; None if it is not complete; 0 if its beginning is not valid."""
    if len(data) - start < _PRELUDE.size:
        return None
    total, headers, checksum = _PRELUDE.unpack_from(data, start)
    payload = total - headers - _SHORTEST
    if (
        payload < 0
        or payload > _LONGEST_PAYLOAD
        or headers > _LONGEST_HEADERS
        or zlib.crc32(data[start : start + 8]) != checksum
    ):
        return 0
    return start + total if start + total <= len(data) else None


@lru_cache(maxsize=64)
def _event_type(headers: bytes) -> bytes:
    """Return an event's type from its headers.

    Raises:
        UncommonError: The frame is not an event in JSON, or has other headers.
    """
    at, found = 0, dict[bytes, bytes]()
    while at < len(headers):
        name_end = at + 1 + headers[at]
        value = name_end + 3
        name = headers[at + 1 : name_end]
        at = value + int.from_bytes(headers[name_end + 1 : value], "big")
        if headers[name_end] != _STRING or name in found:
            raise UncommonError("a header")
        found[name] = headers[value:at]
    kind = found.pop(b":event-type", b"")
    if at != len(headers) or found != _EVENT:
        raise UncommonError("a header")
    return kind
