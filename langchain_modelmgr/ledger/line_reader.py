"""Reads and checks the lines of one segment: any program may have written them.

The types of a line's fields are checked together, with a cache of valid combinations; then the
ranges of its numbers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_modelmgr.ledger.attempt_rows import MAX_INTEGER, OUTCOMES, AttemptRow
from langchain_modelmgr.ledger.quarter_hour_totals import TimeText
from langchain_modelmgr.usage.record import AttemptStart

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_NEW_NAME, _START, _END = range(3)
"""The kinds of lines that are lists; ``segment.py`` describes them."""

_EARLIEST_MS, _LATEST_MS = 946_684_800_000, 4_102_444_800_000
"""2000 and 2100."""

_Types = frozenset[type]
_INTEGER, _NAME, _NONE = _Types({int}), _Types({int, str}), _Types({type(None)})
_INTEGER_OR_NONE, _NAME_OR_NONE, _TEXT_OR_NONE = (
    _INTEGER | _NONE,
    _NAME | _NONE,
    _NONE | {str},
)
_MEASURE_OR_NONE = _INTEGER_OR_NONE | {float}

_START_TYPES: tuple[_Types, ...] = (
    _INTEGER, _NAME, _NAME, _NAME_OR_NONE, _NAME_OR_NONE, _INTEGER, _INTEGER, _INTEGER, _INTEGER,
    _INTEGER, _TEXT_OR_NONE, _INTEGER_OR_NONE,
)  # fmt: skip
_END_TYPES: tuple[_Types, ...] = (
    _INTEGER, _NAME_OR_NONE, _NAME_OR_NONE, _INTEGER, _INTEGER, _INTEGER, *[_INTEGER_OR_NONE] * 7,
    _MEASURE_OR_NONE, _MEASURE_OR_NONE, _TEXT_OR_NONE,
)  # fmt: skip
_START_FIELDS, _END_FIELDS = len(_START_TYPES), len(_END_TYPES)
_TOKENS = slice(6, 11)
_INFINITY = float("inf")
_new = tuple.__new__


class UnreadableLineError(ValueError):
    """A line that can't be read."""


class Names(dict[Any, Any]):
    """Names by their number in a segment; a name that is written out maps to itself."""

    def __missing__(self, name: Any) -> str | None:
        """Return a name that is written out, as the database can store it."""
        if type(name) is str:
            return storable(name)
        raise UnreadableLineError


class Reader:
    """Makes rows of the lines of one writer's segment, in order.

    Args:
        names: Names of earlier lines by number. New ones are added.
        in_flight: Attempts that have started and not ended, by number. It is updated.
        rows: The list that new rows are appended to.
        environment: The environment of all rows.
        writer: The writer's name.
    """

    def __init__(
        self,
        names: dict[int, str],
        in_flight: dict[int, AttemptStart],
        rows: list[AttemptRow],
        *,
        environment: str,
        writer: str,
    ) -> None:
        self._segment_names = names
        self._names = Names(names)
        self._names[None] = None
        self._in_flight = in_flight
        self._rows = rows
        self._environment = environment
        self._writer = writer
        self._time_text = TimeText().of

    def read(
        self,
        lines: Iterable[tuple[bytes, Any]],
        *,
        take_object: Callable[[dict[str, Any]], None],
        reject: Callable[[bytes], None],
    ) -> None:
        """Read lines, each with its JSON.

        Args:
            lines: The lines.
            take_object: Called with each line that is a JSON object.
            reject: Called with lines that can't be read.
        """
        for line, value in lines:
            try:
                if type(value) is dict:
                    take_object(value)
                    continue
                kind = value[0]
                if kind == _START:
                    self._take_start(value)
                elif kind == _END:
                    self._take_end(value)
                elif kind == _NEW_NAME:
                    self._take_name(*value[1:3])
                else:
                    raise UnreadableLineError
            except (TypeError, ValueError, LookupError):
                reject(line)

    def lose(self) -> None:
        """Make rows with outcome ``lost`` from the attempts that a dead process did not end."""
        for left in self._in_flight.values():
            self._rows.append(
                AttemptRow(
                    self._time_text(left.time_ms), self._environment, left.agent, left.model,
                    "lost", None, None, None, None, None, None, None, left.estimate, None, None,
                    left.attempt, left.is_fallback, None, f"{self._writer}-{left.call}",
                    left.run_id, None, left.metadata, left.tags,
                )
            )  # fmt: skip
        self._in_flight.clear()

    def _take_start(self, value: list[Any]) -> None:
        line = value[:_START_FIELDS]
        types = tuple(map(type, line))
        if types not in _GOOD:
            _check_types(_START_TYPES, types)
        _, agent, model, tags, metadata, number, time, attempt, fallback, call, run, estimate = line
        if not (
            _EARLIEST_MS <= time < _LATEST_MS
            and 0 <= number <= MAX_INTEGER
            and 0 <= attempt <= MAX_INTEGER
            and 0 <= call <= MAX_INTEGER
            and (estimate is None or 0 <= estimate <= MAX_INTEGER)
        ):
            raise UnreadableLineError
        names = self._names
        self._in_flight[number] = _new(
            AttemptStart,
            (
                names[agent], names[model], attempt, 1 if fallback else 0, call, storable(run),
                names[tags], names[metadata], estimate, time,
            ),
        )  # fmt: skip

    def _take_end(self, value: list[Any]) -> None:
        line = value[:_END_FIELDS]
        types = tuple(map(type, line))
        if types not in _GOOD:
            _check_types(_END_TYPES, types)
        _, error, tier, number, time, outcome, *figures, latency, first, request = line
        if not (
            _EARLIEST_MS <= time < _LATEST_MS
            and 0 <= outcome < len(OUTCOMES)
            and (latency is None or 0 <= latency < _INFINITY)
            and (first is None or 0 <= first < _INFINITY)
        ):
            raise UnreadableLineError
        for figure in figures:
            if figure is not None and not 0 <= figure <= MAX_INTEGER:
                raise UnreadableLineError
        names = self._names
        error, tier, request = names[error], names[tier], storable(request)
        left = self._in_flight.pop(number)
        self._rows.append(
            _new(
                AttemptRow,
                (
                    self._time_text(time), self._environment, left[0], left[1], OUTCOMES[outcome],
                    error, *figures, latency, first, left[2], left[3], tier,
                    f"{self._writer}-{left[4]}", left[5], request, left[7], left[6],
                ),
            )
        )  # fmt: skip

    def _take_name(self, number: int, text: str) -> None:
        if type(number) is not int or type(text) is not str:
            raise UnreadableLineError
        self._segment_names[number] = self._names[number] = storable(text) or ""


def storable(text: str | None) -> str | None:
    """Return a text that the database can store: JSON may contain half a surrogate pair."""
    if text is None or text.isascii():
        return text
    return text.encode("utf-8", "replace").decode()


_GOOD: set[tuple[type, ...]] = set()
"""Combinations of field types that are valid; there are about a hundred."""


def _check_types(wanted: tuple[_Types, ...], types: tuple[type, ...]) -> None:
    """Check the types of a line's fields, and that token counts are all present or all missing."""
    if len(types) != len(wanted) or any(
        kind not in ok for kind, ok in zip(types, wanted, strict=True)
    ):
        raise UnreadableLineError
    if wanted is _END_TYPES and len(set(types[_TOKENS])) > 1:
        raise UnreadableLineError
    _GOOD.add(types)
