"""What dead processes left in their journals: found, read, and taken over exactly once."""

from __future__ import annotations

import contextlib
import json
import os
import time
from dataclasses import dataclass, field
from decimal import Decimal
from typing import IO, TYPE_CHECKING, Any

from langchain_modelmgr.metrics.aggregate import Aggregator
from langchain_modelmgr.metrics.datums import Datum, Series
from langchain_modelmgr.metrics.journal import SUFFIX

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from langchain_modelmgr.metrics.journal import Journal

_NO_BOUND = 10**9
_GUARD = "adopting.lock"
_STALE_SECONDS = 60.0
"""After this long an unfinished file that nobody holds is rubbish."""


@dataclass
class Left:
    """What one journal had left.

    Attributes:
        name: The journal's name.
        waiting: Datums that were never sent, or refused for a passing reason.
        ambiguous: Datums that were being sent when the process died.
        given_up: Data points that it, or one that it had taken over, gave up as ambiguous.
        adopted: Names of the journals that it had taken over.
        broken: Lines that could not be read: the last one is often cut short.
    """

    name: str = ""
    waiting: list[Datum] = field(default_factory=list)
    ambiguous: list[Datum] = field(default_factory=list)
    given_up: int = 0
    adopted: set[str] = field(default_factory=set)
    broken: int = 0


def adopt(folder: Path, journal: Journal, extra: Iterable[str] = ()) -> list[Left]:
    """Take over what dead processes left in a folder: into ``journal``, then their files go.

    One process adopts at a time. What a dead adopter had taken over already, and could not
    delete any more, is deleted now and not taken twice.

    Raises:
        OSError: The folder can't be read or written; nothing is lost, nothing taken twice.
    """
    import portalocker

    _remove_stale(folder)
    others = [path for path in folder.glob(f"*{SUFFIX}") if path != journal.path]
    if not others:
        return []
    with contextlib.ExitStack() as stack:
        guard = stack.enter_context((folder / _GUARD).open("ab"))
        if not _locked(guard, portalocker):
            return []  # another process is at it
        dead = [(path, file) for path in others if (file := _held(path, portalocker, stack))]
        found = [(path, read(file, extra)) for path, file in dead]
        taken = {name for _, left in found for name in left.adopted}
        adopted = []
        for path, left in found:
            if left.name not in taken:
                numbered = journal.take(
                    [*left.waiting, *left.ambiguous], adopted=left.name, given_up=left.given_up
                )
                left.waiting, left.ambiguous = (
                    numbered[: len(left.waiting)],
                    numbered[len(left.waiting) :],
                )
                adopted.append(left)
            path.unlink(missing_ok=True)
        return adopted


def read(file: IO[bytes], extra: Iterable[str] = ()) -> Left:
    """Return what a journal had left; ``extra`` is the reader's ``metrics.extra``."""
    left, state = Left(), _State(extra)
    for line in file.read().splitlines():
        try:
            state.take(json.loads(line), left)
        except (ValueError, KeyError, TypeError, IndexError):
            left.broken += 1
    left.waiting, left.ambiguous = state.end()
    return left


class _State:
    def __init__(self, extra: Iterable[str]) -> None:
        self._pairs: dict[int, tuple[str, str]] = {}
        self._counted = Aggregator(max_series=_NO_BOUND, max_cells=_NO_BOUND, extra=extra)
        self._drained: list[Datum] | None = None
        self._datums: dict[int, Datum] = {}
        self._sending: set[int] = set()

    def take(self, line: Any, left: Left) -> None:
        """Take one line."""
        if isinstance(line, list):
            self._attempt(line)
        elif "journal" in line:
            left.name = line["name"]
        elif "pair" in line:
            self._pairs[line["pair"]] = (line["agent"], line["model"])
        elif "cell" in line:
            self._cell(*line["cell"])
        elif "drained" in line:
            self._drained = [*(self._drained or ()), *self._counted.drain()]
        elif "datums" in line:
            self._take_datums(line, left)
        else:
            self._mark(line, left)

    def _mark(self, line: dict[str, list[int]], left: Left) -> None:
        for state, numbers in line.items():
            if state == "sending":
                self._sending |= set(numbers)
            elif state == "kept":
                self._sending -= set(numbers)
            elif state in {"done", "ambiguous"}:
                gone = [self._datums.pop(number) for number in numbers if number in self._datums]
                if state == "ambiguous":
                    left.given_up += sum(datum.samples for datum in gone)

    def _cell(self, number: int, minute: int, index: int, value: Any, times: int) -> None:
        mine = self._counted.admit(self._pairs[number])
        self._counted.restore_cell(mine, minute, index, _exact(value), times)

    def end(self) -> tuple[list[Datum], list[Datum]]:
        """Return the datums that wait, undrained attempts among them, and those being sent."""
        sending = [d for number, d in self._datums.items() if number in self._sending]
        waiting = [d for number, d in self._datums.items() if number not in self._sending]
        return [*waiting, *(self._drained or ()), *self._counted.drain()], sending

    def _attempt(self, line: list[Any]) -> None:
        number, minute, *points = line
        found = [(index, _exact(value)) for index, value in _pairwise(points)]
        mine = self._counted.admit(self._pairs[number])
        self._counted.restore(mine, minute, found)

    def _take_datums(self, line: dict[str, Any], left: Left) -> None:
        if "adopted" in line:
            left.adopted.add(line["adopted"])
        else:
            self._drained = None  # what was drained is in these
        left.given_up += line.get("given_up", 0)
        for number, name, unit, dimensions, minute, values, counts in line["datums"]:
            series = Series(name, unit, tuple((n, v) for n, v in dimensions))
            self._datums[number] = Datum(series, minute, tuple(values), tuple(counts), number)


def _exact(value: Any) -> Any:
    """Return money, which stands in quotes, as the Decimal that it is."""
    return Decimal(value) if isinstance(value, str) else value


def _pairwise(points: list[Any]) -> Iterable[tuple[int, Any]]:
    return zip(points[::2], points[1::2], strict=True)


def _held(path: Path, portalocker: Any, stack: contextlib.ExitStack) -> IO[bytes] | None:
    """Open and lock a file whose process is gone; None if it lives."""
    try:
        file: IO[bytes] = stack.enter_context(path.open("r+b"))
    except OSError:
        return None
    if not _locked(file, portalocker):
        return None
    try:
        # Its process may have ended well in between, or have put a new file in its place.
        return file if os.path.samestat(os.fstat(file.fileno()), path.stat()) else None
    except OSError:
        return None


def _locked(file: IO[bytes], portalocker: Any) -> bool:
    flags = portalocker.LockFlags.EXCLUSIVE | portalocker.LockFlags.NON_BLOCKING
    try:
        portalocker.lock(file, flags)
    except (portalocker.LockException, OSError):
        return False
    return True


def _remove_stale(folder: Path) -> None:
    for path in folder.glob("*.new"):
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > _STALE_SECONDS:
                path.unlink()
