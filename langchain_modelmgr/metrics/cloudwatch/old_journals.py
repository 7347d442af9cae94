"""Delivers the journals that version 0.1.0 left, once. To be removed in 0.3."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter, defaultdict
from contextlib import closing, suppress
from datetime import UTC, datetime
from typing import IO, TYPE_CHECKING, Any

from langchain_modelmgr.ledger import outbox
from langchain_modelmgr.ledger.database_file import transaction
from langchain_modelmgr.ledger.process_lock import locked
from langchain_modelmgr.metrics.cloudwatch.batch import requests_of
from langchain_modelmgr.metrics.cloudwatch.bins import publishable
from langchain_modelmgr.metrics.series import METRICS, Datum, series_of

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Iterator
    from pathlib import Path

_FOLDERS = "[0-9a-f]" * 16


def old_scope(profile: str | None) -> str:
    """Return the identity of a process's credentials as 0.1.0 wrote it."""
    env = os.environ.get
    key = "" if env("AWS_SESSION_TOKEN") else env("AWS_ACCESS_KEY_ID", "")
    profile = None if profile == "default" else profile
    parts = (profile or env("AWS_PROFILE", ""), key, env("AWS_ROLE_ARN", ""))
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def take_over(  # noqa: PLR0913 - the facts of a destination, keyword-only
    connection: sqlite3.Connection,
    root: Path,
    *,
    destination: int,
    namespace: str,
    region: str,
    scope: str,
    owner: str,
) -> None:
    """Store journals of dead 0.1.0 processes for a destination as batches, and delete the files."""
    for path in sorted(root.glob(f"{_FOLDERS}/*.jsonl")):
        with suppress(OSError, ValueError, AttributeError):
            file = locked(path, os.O_RDWR)
            if file is None:
                continue  # its process is alive
            with closing(file):
                head = json.loads(file.readline() or b"{}")
                place = head.get("destination", {})
                found = (place.get("namespace"), place.get("region"), place.get("scope"))
                if found == (namespace, region, scope):
                    _store(connection, str(head.get("name")), file, destination, owner)
                    path.unlink()


def _store(
    connection: sqlite3.Connection, name: str, file: IO[bytes], destination: int, owner: str
) -> None:
    with transaction(connection):
        writer = connection.execute(
            "INSERT INTO writers (name, environment, destination, settings, ended, adopted_by) "
            "VALUES (?, '', ?, '{}', ?, ?) ON CONFLICT DO NOTHING RETURNING id",
            (f"journal:{name}", destination, datetime.now(UTC).timestamp(), owner),
        ).fetchone()
        if writer is None:
            return  # it was stored before, and its file could not be removed
        waiting, ambiguous = _Journal(str(writer[0])).read(file)
        outbox.count(connection, destination, "recorded", outbox.points_of([*waiting, *ambiguous]))
        outbox.count(connection, destination, "ambiguous", outbox.points_of(ambiguous))
        for request in requests_of(Datum(*datum) for datum in waiting):
            oldest = min(datum.minute for datum in request)
            outbox.put(connection, destination, owner, [list(d) for d in request], oldest)


class _Journal:
    def __init__(self, writer: str) -> None:
        self._writer = writer
        self._pairs: dict[int, tuple[str, str]] = {}
        self._cells: defaultdict[tuple[int, int, int], Counter[float]] = defaultdict(Counter)
        self._drained: list[list[Any]] = []
        self._datums: dict[int, list[Any]] = {}
        self._sending: set[int] = set()

    def read(self, file: Iterable[bytes]) -> tuple[list[list[Any]], list[list[Any]]]:
        """Return the datums that wait and those that were being sent."""
        for line in file:
            with suppress(ValueError, KeyError, TypeError, IndexError, AttributeError):
                self._take(json.loads(line))
        sending = [d for number, d in self._datums.items() if number in self._sending]
        waiting = [d for number, d in self._datums.items() if number not in self._sending]
        return [*waiting, *self._drained, *self._counted()], sending

    def _take(self, line: Any) -> None:
        if isinstance(line, list):
            number, minute, *points = line
            for index, value in zip(points[::2], points[1::2], strict=True):
                self._cells[number, minute, index][float(value)] += 1
        elif "pair" in line:
            self._pairs[line["pair"]] = line["agent"], line["model"]
        elif "cell" in line:
            number, minute, index, value, times = line["cell"]
            self._cells[number, minute, index][float(value)] += times
        elif "drained" in line:
            self._drained = [*self._drained, *self._counted()]
            self._cells.clear()
        elif "datums" in line:
            if "adopted" not in line:
                self._drained = []
            for number, *datum in line["datums"]:
                self._datums[number] = [*datum, {self._writer: sum(datum[5])}]
        else:
            self._mark(line)

    def _mark(self, line: dict[str, list[int]]) -> None:
        for state, numbers in line.items():
            if state == "sending":
                self._sending |= set(numbers)
            elif state == "kept":
                self._sending -= set(numbers)
            elif state in {"done", "ambiguous"}:
                for number in numbers:
                    self._datums.pop(number, None)

    def _counted(self) -> Iterator[list[Any]]:
        for (number, minute, index), cell in self._cells.items():
            series = series_of(METRICS[index], *self._pairs[number])
            kept = dict(sorted(publishable(cell).items()))
            points = {self._writer: sum(kept.values())}
            yield [*series, minute, list(kept), list(kept.values()), points]
