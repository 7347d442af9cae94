"""An event stream gives botocore's events and errors, however its bytes arrive."""

from __future__ import annotations

import json
import struct
from binascii import crc32
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from botocore.eventstream import EventStream
from botocore.parsers import EventStreamJSONParser
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from langchain_modelmgr.bedrock.direct_reply import ReplyReader
from langchain_modelmgr.bedrock.event_frames import NOTHING_ARRIVED
from langchain_modelmgr.local import frames
from tests.bedrock.shape_values import SERVICE, Values

if TYPE_CHECKING:
    from collections.abc import Iterator

_OPERATION = SERVICE.operation_model("ConverseStream")
_READER = ReplyReader(None, _OPERATION)
_STREAM = _OPERATION.output_shape.members["stream"]


def _events(odd: int) -> st.SearchStrategy[list[bytes]]:
    """Return a strategy for the frames of a stream, of which some are odd."""
    values = Values(wire=True, odd=odd)
    known: list[st.SearchStrategy[bytes]] = [
        values.of(shape).map(lambda value, name=name: _frame(name, value))  # type: ignore[misc]
        for name, shape in _STREAM.members.items()
        if not shape.metadata.get("exception")
    ]
    if odd:
        known += [
            st.sampled_from(["modelStreamErrorException", "newException", ""]).map(
                lambda kind: frames.exception(kind, "no é")
            ),
            st.just(_frame("newEvent", {"a": 1})),
            st.sampled_from([b"", b"{", b"[]", b"null", b"\xff"]).map(
                lambda body: _raw(_header(":event-type", "messageStop"), body)
            ),
        ]
    return st.lists(st.one_of(known), max_size=8)


def _frame(kind: str, value: Any) -> bytes:
    headers = {
        ":event-type": kind,
        ":content-type": "application/json",
        ":message-type": "event",
    }
    encoded = b"".join(_header(*header) for header in headers.items())
    return _raw(encoded, json.dumps(value).encode())


def _header(name: str, value: str) -> bytes:
    text = value.encode()
    return bytes([len(name)]) + name.encode() + struct.pack(">BH", 7, len(text)) + text


def _raw(headers: bytes, body: bytes) -> bytes:
    prelude = struct.pack(">II", 16 + len(headers) + len(body), len(headers))
    frame = prelude + struct.pack(">I", crc32(prelude)) + headers + body
    return frame + struct.pack(">I", crc32(frame))


class _Reply:
    """An open HTTP reply of a stream, which arrives in chunks."""

    status_code = 200
    headers: dict[str, str] = {}  # noqa: RUF012 - never changed

    def __init__(self, chunks: list[bytes], error: Exception | None = None) -> None:
        self.raw = self
        self.is_closed = False
        self._chunks = chunks
        self._error = error

    def stream(self) -> Iterator[bytes]:
        yield from self._chunks
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        self.is_closed = True


def _chunks(data: bytes, cuts: list[int]) -> list[bytes]:
    at = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[start:end] for start, end in pairwise(at)]


def _read(stream: Any) -> tuple[list[str], str]:
    events: list[str] = []
    try:
        events += (repr(event) for event in stream)
    except Exception as error:  # noqa: BLE001 - compared
        return events, f"{type(error).__qualname__}: {error}"
    return events, ""


def _own(reply: _Reply) -> Any:
    return _READER.read(reply)["stream"]


def _same(chunks: list[bytes], error: Exception | None = None) -> tuple[list[str], str]:
    parser: Any = EventStreamJSONParser()
    by_botocore: Any = EventStream(_Reply(chunks, error), _STREAM, parser, "ConverseStream")
    own = _read(_own(_Reply(chunks, error)))
    assert own == _read(by_botocore)
    return own


_CUTS = st.lists(st.integers(0, 5000), max_size=6)
_SETTINGS = settings(max_examples=120, suppress_health_check=list(HealthCheck))


@_SETTINGS
@given(made=_events(0), cuts=_CUTS)
def test_valid_events_in_every_split(made: list[bytes], cuts: list[int]) -> None:
    events, error = _same(_chunks(b"".join(made), cuts))

    assert (len(events), error) == (len(made), "")


@_SETTINGS
@given(made=_events(12), cuts=_CUTS)
def test_odd_events_in_every_split(made: list[bytes], cuts: list[int]) -> None:
    _same(_chunks(b"".join(made), cuts))


@_SETTINGS
@given(made=_events(12), cuts=_CUTS, data=st.binary(max_size=40))
def test_a_reply_that_does_not_wait_gives_the_same_events(
    made: list[bytes], cuts: list[int], data: bytes
) -> None:
    chunks = _chunks(b"".join([*made, data]), cuts)
    pauses: list[Any] = [part for chunk in chunks for part in (None, chunk)]

    stream = _own(_Reply(pauses))
    awaited = _read(event for event in stream if event is not NOTHING_ARRIVED)

    assert awaited == _read(_own(_Reply(chunks)))


@_SETTINGS
@given(made=_events(0), cuts=_CUTS, at=st.integers(0, 5000), bit=st.integers(0, 7))
def test_a_flipped_bit_is_the_error_that_botocore_raises(
    made: list[bytes], cuts: list[int], at: int, bit: int
) -> None:
    data = bytearray(b"".join([*made, _frame("messageStop", {"stopReason": "end_turn"})]))
    data[at % len(data)] ^= 1 << bit

    _same(_chunks(bytes(data), cuts))


@_SETTINGS
@given(data=st.binary(max_size=80), cuts=_CUTS)
def test_bytes_that_are_no_frames_are_the_error_that_botocore_raises(
    data: bytes, cuts: list[int]
) -> None:
    _same(_chunks(data, cuts))


@pytest.mark.parametrize(
    "headers",
    [
        b"",
        _header(":event-type", "messageStop") * 2,
        _header(":event-type", "messageStop") + b"\x01a\x00",
        _header(":message-type", "error") + _header(":error-code", "c"),
        _header(":message-type", "event") + _header(":event-type", "messageStop"),
        _header(":event-type", "messageStop")[:-3],
        b"\xff",
    ],
)
def test_frames_with_other_headers(headers: bytes) -> None:
    frame = _raw(headers, b'{"stopReason": "end_turn"}')

    _same([_frame("messageStart", {"role": "assistant"}) + frame, frame])


def test_the_longest_frames_are_those_of_botocore() -> None:
    for total, headers in ((24 * 2**20 + 17, 0), (2**18, 128 * 1024 + 1), (8, 0), (16, 1)):
        prelude = struct.pack(">II", total, headers)
        _same([prelude + struct.pack(">I", crc32(prelude)), b"x" * 64])


def test_an_error_of_the_connection_comes_after_the_events_before_it() -> None:
    whole = _frame("messageStart", {"role": "assistant"})

    events, error = _same([whole + whole[:9]], ConnectionResetError("reset"))

    assert len(events) == 1
    assert error == "ConnectionResetError: reset"


def test_a_stream_can_be_read_in_parts_and_closed() -> None:
    reply = _Reply([_frame("messageStart", {"role": "assistant"}) * 3])
    stream = _own(reply)

    for event in stream:
        assert event == {"messageStart": {"role": "assistant"}}
        break
    assert len(list(stream)) == 2
    stream.close()
    assert reply.is_closed
