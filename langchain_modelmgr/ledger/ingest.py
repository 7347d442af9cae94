"""Moves lines of segments into the tables: attempts, totals and batches in one transaction."""

from __future__ import annotations

import json
from collections import deque
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, Protocol

from langchain_modelmgr.ledger.attempt_rows import grouped
from langchain_modelmgr.ledger.database_file import transaction
from langchain_modelmgr.ledger.destinations import destination_of, identify
from langchain_modelmgr.ledger.line_reader import Reader, UnreadableLineError
from langchain_modelmgr.ledger.outbox import adopt
from langchain_modelmgr.ledger.process_lock import SUFFIX as LOCK
from langchain_modelmgr.ledger.quarter_hour_totals import Sums
from langchain_modelmgr.ledger.schema import ATTEMPT_COLUMNS
from langchain_modelmgr.ledger.unread_segments import (
    MAX_BYTES,
    Source,
    parsed,
    unread_segments,
    whole_lines,
)
from langchain_modelmgr.usage.record import AttemptStart

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from langchain_modelmgr.ledger.attempt_rows import AttemptRow, Group
    from langchain_modelmgr.ledger.segment import Writer

MAX_LINES = 10_000
"""Lines of one transaction: a backlog must not block other processes."""

_ROWS_AT_ONCE = 1_000
"""Rows that are in memory while rows of no segment are stored."""

_ROWS = 40
"""Rows of one INSERT: a fifth faster than one row each. Older SQLite takes 999 values."""

_INSERT = f"INSERT INTO attempts ({', '.join(ATTEMPT_COLUMNS)}) VALUES "  # noqa: S608 - our own names
_VALUES = f"({', '.join('?' * len(ATTEMPT_COLUMNS))})"
_INSERT_ROW = _INSERT + _VALUES
_INSERT_ROWS = _INSERT + ", ".join([_VALUES] * _ROWS)


@dataclass
class WriterState:
    """A writer as the database knows it, with its rows of the current transaction.

    Attributes:
        id: Its row.
        name: Its name.
        environment: The environment of its attempts.
        destination: The destination of its data points; None: they are not published.
        settings: Which metrics of its rows are published.
        in_flight: Its attempts that have started and not ended, by number.
        known: Numbers of ``in_flight`` that are already in the database.
        rows: Its rows of this transaction.
        groups: The same rows in groups.
    """

    id: int
    name: str
    environment: str
    destination: int | None
    settings: Mapping[str, Any]
    in_flight: dict[int, AttemptStart] = field(default_factory=dict)
    known: frozenset[int] = frozenset()
    rows: list[AttemptRow] = field(default_factory=list)
    groups: list[Group] = field(default_factory=list)


class Batcher(Protocol):
    """Makes batches of data points from rows, in the transaction that stores them."""

    def add(
        self,
        connection: sqlite3.Connection,
        destination: int,
        writers: list[WriterState],
        owner: str,
    ) -> None:
        """Store the batches of one destination, and count their data points."""


class Ingest:
    """One pass over the segments of a ledger. For one thread at a time.

    Args:
        connection: The database.
        folder: The ledger's folder; None: memory.
        own: The writer of this ledger; its segments are read first.
        batcher: Makes the batches.
        wall: Seconds since 1970.
        reject: Called with each line that can't be read.
    """

    def __init__(  # noqa: PLR0913 - what a pass needs, keyword-only
        self,
        connection: sqlite3.Connection,
        *,
        folder: Path | None,
        own: Writer,
        batcher: Batcher,
        wall: Callable[[], float],
        reject: Callable[[bytes], None],
    ) -> None:
        self._connection = connection
        self._folder = folder
        self._own = own
        self._batcher = batcher
        self._wall = wall
        self._reject = reject

    def run(self, is_over: Callable[[], bool]) -> bool:
        """Ingest slice by slice; return whether all segments were ingested.

        Args:
            is_over: Called after each slice; returns whether the time is up.

        Raises:
            OSError: A file can't be read.
            sqlite3.Error: The database can't be written; slices that were committed before stay.
        """
        with ExitStack() as locks:
            sources = deque(unread_segments(self._folder, self._own, locks))
            while sources:
                self._slice(sources)
                if sources and is_over():
                    return False
        return True

    def _slice(self, sources: deque[Source]) -> None:
        done: list[tuple[Source, int]] = []
        with transaction(self._connection):
            part = _Slice(self._connection, self._own.name, self._wall(), self._reject)
            while sources and part.lines < MAX_LINES:
                source = sources[0]
                done.append((source, part.take(source)))
                if not source.is_done:
                    break
                sources.popleft()
            part.store(self._batcher)
        for source, offset in done:  # only now it is committed
            self._committed(source, offset)

    def _committed(self, source: Source, offset: int) -> None:
        if source.own is not None and source.segment is not None:
            source.own.read_to = offset
            if source.path is None:
                source.segment.forget(offset)
        if source.is_done and source.is_closed and source.path is not None:
            with suppress(OSError):
                source.path.unlink()
            if source.is_dead and source.is_last:
                with suppress(OSError):
                    source.path.with_name(f"{source.writer}{LOCK}").unlink()


def store_rows(
    connection: sqlite3.Connection,
    own: Writer,
    batcher: Batcher,
    now: float,
    rows_of: Callable[[str], Iterator[AttemptRow]],
) -> None:
    """Store rows that are in no segment. The caller has begun a transaction.

    Args:
        connection: The database.
        own: The writer that they belong to; its head was ingested.
        batcher: Makes the batches.
        now: Seconds since 1970.
        rows_of: Returns the rows, given their environment.
    """
    rows: Iterator[AttemptRow] | None = None
    while True:
        part = _Slice(connection, own.name, now, lambda _: None)
        state = part.writer(own.name, ())
        rows = rows_of(state.environment) if rows is None else rows
        state.rows += islice(rows, _ROWS_AT_ONCE)
        if not state.rows:
            return
        part.store(batcher)


class _Slice:
    """The lines that one transaction moves."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        owner: str,
        now: float,
        reject: Callable[[bytes], None],
    ) -> None:
        self.lines = 0
        self._connection = connection
        self._owner = owner
        self._now = now
        self._reject = reject
        self._writers: dict[str, WriterState] = {}

    def take(self, source: Source) -> int:
        """Read a source up to the limit of the slice; return the new offset."""
        found = self._connection.execute(
            "SELECT offset, names FROM segments WHERE name = ?", (source.name,)
        ).fetchone()
        offset, names = (0, {}) if found is None else (found[0], _names_of(found[1]))
        data = source.read(offset)
        used, lines = whole_lines(data, MAX_LINES - self.lines)
        pairs = list(parsed(lines))
        state = self.writer(source.writer, pairs)
        reader = Reader(
            names, state.in_flight, state.rows, environment=state.environment, writer=state.name
        )
        known = len(names)
        reader.read(pairs, take_object=partial(self._take_object, state), reject=self._reject)
        self.lines += len(lines)
        if not used and len(data) >= MAX_BYTES:
            used = len(data)  # not a line of a ledger
            self._reject(data[:1000])
        source.is_done = used == len(data) or (not used and len(data) < MAX_BYTES)
        offset += used
        if source.is_done and source.is_dead and source.is_last:
            reader.lose()
            self._end(state)
        gone = self._now if source.is_done and source.is_closed else None
        if used or gone is not None:
            self._connection.execute(
                "INSERT INTO segments VALUES (?, ?, ?, ?, ?) ON CONFLICT (name) DO UPDATE SET "
                "offset = excluded.offset, names = excluded.names, gone = excluded.gone",
                (
                    source.name, state.id, offset,
                    json.dumps(names) if len(names) != known or found is None else found[1], gone,
                ),
            )  # fmt: skip
        return offset

    def store(self, batcher: Batcher) -> None:
        """Write the rows, the totals and the batches."""
        sums = Sums(self._connection)
        by_destination: dict[int, list[WriterState]] = {}
        for state in self._writers.values():
            self._store_in_flight(state)
            if not state.rows:
                continue
            _insert(self._connection, state.rows)
            state.groups = grouped(state.rows)
            sums.add(state.groups)
            if state.destination is not None:
                by_destination.setdefault(state.destination, []).append(state)
        sums.store()
        for destination, states in by_destination.items():
            batcher.add(self._connection, destination, states, self._owner)

    def writer(self, name: str, lines: Sequence[tuple[bytes, Any]]) -> WriterState:
        """Return the state of a writer; ``lines`` are the lines of its segment."""
        state = self._writers.get(name)
        if state is None:
            state = self._writers[name] = self._load(name) or self._new(name, _head_of(lines))
        return state

    def _take_object(self, state: WriterState, value: dict[str, Any]) -> None:
        """Read the head of a segment, or the account of a writer's destination."""
        if "segment" in value:
            return
        identity = value["identity"]
        if type(identity) is not str:
            raise UnreadableLineError
        before = state.destination
        if before is not None:
            after = identify(self._connection, before, identity)
            for each in self._writers.values():  # other writers may share the merged destination
                if each.destination == before:
                    each.destination = after

    def _load(self, name: str) -> WriterState | None:
        row = self._connection.execute(
            "SELECT id, name, environment, destination, settings FROM writers WHERE name = ?",
            (name,),
        ).fetchone()
        if row is None:
            return None
        flying = {
            number: AttemptStart(*json.loads(facts))
            for number, facts in self._connection.execute(
                "SELECT number, facts FROM in_flight WHERE writer = ?", (row[0],)
            )
        }
        return WriterState(
            id=row[0],
            name=row[1],
            environment=row[2],
            destination=row[3],
            settings=json.loads(row[4]),
            in_flight=flying,
            known=frozenset(flying),
        )

    def _new(self, name: str, head: Mapping[str, Any]) -> WriterState:
        settings, place = head.get("settings"), head.get("destination")
        destination = None
        if isinstance(place, dict):
            identity = head.get("identity") or place.get("identity") or f"writer:{name}"
            namespace, region, endpoint = (
                str(place.get(key, "")) for key in ("namespace", "region", "endpoint")
            )
            destination = destination_of(
                self._connection, namespace, region, endpoint, str(identity)
            )
        settings = settings if isinstance(settings, dict) else {}
        environment = str(head.get("environment", ""))
        number = self._connection.execute(
            "INSERT INTO writers (name, environment, destination, settings) VALUES (?, ?, ?, ?)",
            (name, environment, destination, json.dumps(settings)),
        ).lastrowid
        return WriterState(int(number or 0), name, environment, destination, settings)

    def _end(self, state: WriterState) -> None:
        """Note that a writer's process is dead."""
        self._connection.execute(
            "UPDATE writers SET ended = ? WHERE id = ? AND adopted_by IS NULL",
            (self._now, state.id),
        )
        adopt(self._connection, state.id, [self._owner])

    def _store_in_flight(self, state: WriterState) -> None:
        gone = state.known - state.in_flight.keys()
        self._connection.executemany(
            "DELETE FROM in_flight WHERE writer = ? AND number = ?",
            [(state.id, number) for number in gone],
        )
        self._connection.executemany(
            "INSERT OR REPLACE INTO in_flight VALUES (?, ?, ?)",
            [
                (state.id, number, json.dumps(left))
                for number, left in state.in_flight.items()
                if number not in state.known
            ],
        )


def _names_of(text: str) -> dict[int, str]:
    return {int(number): name for number, name in json.loads(text).items()}


def _head_of(lines: Sequence[tuple[bytes, Any]]) -> Mapping[str, Any]:
    return next((value for _, value in lines if type(value) is dict and "segment" in value), {})


def _insert(connection: sqlite3.Connection, rows: Sequence[AttemptRow]) -> None:
    whole = len(rows) - len(rows) % _ROWS
    connection.executemany(
        _INSERT_ROWS,
        [tuple(chain.from_iterable(rows[at : at + _ROWS])) for at in range(0, whole, _ROWS)],
    )
    connection.executemany(_INSERT_ROW, rows[whole:])
