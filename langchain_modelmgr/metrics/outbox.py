"""What waits to be sent: bounded, oldest first, cut into requests that CloudWatch takes."""

from __future__ import annotations

from collections import Counter, deque
from typing import TYPE_CHECKING

from langchain_modelmgr.metrics.datums import MAX_VALUES, Datum, Series

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

MAX_DATUMS = 1_000
"""Datums in one request (PutMetricData's limit)."""

MAX_REQUEST_BYTES = 900_000
"""Bytes in one request before compression: the limit is 1 MB, headers and names included."""

MAX_PENDING_BYTES = 16_000_000
"""Bytes that wait at most: hundreds of series over more than an hour."""

MAX_AGE_SECONDS = 14 * 24 * 3600 - 3600
"""CloudWatch refuses what is older than two weeks; an hour is left for the clocks to differ."""

_ENVELOPE_BYTES = 1_000


class Outbox:
    """Datums in the order they came. For one thread at a time.

    Args:
        max_bytes: Size of all that waits; beyond it the oldest are dropped.
        on_drop: Told what is dropped.

    Attributes:
        dropped: Data points dropped so far, for lack of room or for age.
    """

    def __init__(
        self,
        *,
        max_bytes: int = MAX_PENDING_BYTES,
        on_drop: Callable[[list[Datum]], None] = lambda _: None,
    ) -> None:
        self.dropped = 0
        self._on_drop = on_drop
        self._max_bytes = max_bytes
        self._bytes = 0
        self._datums: deque[tuple[Datum, int]] = deque()

    def __len__(self) -> int:
        return len(self._datums)

    def add(self, datums: Iterable[Datum]) -> None:
        """Add the newest."""
        for datum in datums:
            size = datum.size
            self._bytes += size
            self._datums.append((datum, size))
        self._fit()

    def put_back(self, datums: Sequence[Datum]) -> None:
        """Return what could not be sent, in its order, to the front."""
        for datum in reversed(datums):
            size = datum.size
            self._bytes += size
            self._datums.appendleft((datum, size))
        self._fit()

    def take(self) -> list[Datum]:
        """Take what fits into one request; empty if nothing waits."""
        batch: list[Datum] = []
        room = MAX_REQUEST_BYTES - _ENVELOPE_BYTES
        values: Counter[Series] = Counter()
        while self._datums and len(batch) < MAX_DATUMS:
            datum, size = self._datums[0]
            values[datum.series] += len(datum.values)
            room -= size
            if batch and (room < 0 or values[datum.series] > MAX_VALUES):
                break
            batch.append(datum)
            self._remove_oldest()
        return batch

    def expire(self, now: float) -> None:
        """Drop what CloudWatch would refuse for its age; ``now`` in seconds since 1970."""
        oldest = now - MAX_AGE_SECONDS
        kept = [entry for entry in self._datums if entry[0].minute >= oldest]
        self._drop([datum for datum, _ in self._datums if datum.minute < oldest])
        self._datums = deque(kept)
        self._bytes = sum(size for _, size in kept)

    @property
    def oldest_minute(self) -> int | None:
        """The start of the oldest minute that waits, in seconds since 1970; None: nothing waits."""
        return min((datum.minute for datum, _ in self._datums), default=None)

    @property
    def waiting(self) -> list[Datum]:
        """All that waits, in order."""
        return [datum for datum, _ in self._datums]

    def _fit(self) -> None:
        dropped = []
        while self._bytes > self._max_bytes:
            dropped.append(self._remove_oldest())
        self._drop(dropped)

    def _drop(self, datums: list[Datum]) -> None:
        if datums:
            self.dropped += sum(datum.samples for datum in datums)
            self._on_drop(datums)

    def _remove_oldest(self) -> Datum:
        datum, size = self._datums.popleft()
        self._bytes -= size
        return datum
