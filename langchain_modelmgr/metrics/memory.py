"""MemorySink: keeps the last records in memory, for tests, notebooks and small programs."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from langchain_modelmgr.usage.record import ModelUsageMetrics


class MemorySink:
    """Keeps the last records.

    Args:
        maxlen: Largest number of records; the oldest are discarded first.

    Example:
        >>> sink = MemorySink(maxlen=100)
        >>> sink.records
        ()
    """

    def __init__(self, maxlen: int = 10_000) -> None:
        self._records: deque[ModelUsageMetrics] = deque(maxlen=maxlen)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as an empty sink of the same size: another process has its own records."""
        return type(self), (self._records.maxlen,)

    @property
    def records(self) -> tuple[ModelUsageMetrics, ...]:
        """The records kept, oldest first."""
        return tuple(self._records.copy())

    def record(self, usage: ModelUsageMetrics) -> None:
        """Keep one record."""
        self._records.append(usage)

    def clear(self) -> None:
        """Discard all records."""
        self._records.clear()

    def flush(self, timeout: float | None = None) -> None:
        """Do nothing: there is nothing to deliver."""

    def close(self) -> None:
        """Do nothing: the records stay readable."""

    def reset_after_fork(self) -> None:
        """Internal: discard the parent's records."""
        self.clear()
