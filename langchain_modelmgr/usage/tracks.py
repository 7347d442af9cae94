"""UsageTrack: the usage of one task's calls, in any thread and context."""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Self

from langchain_modelmgr.runtime.active_objects import ActiveObject
from langchain_modelmgr.runtime.forks import AFTER_FORK
from langchain_modelmgr.usage.summary_table import SummaryTable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from langchain_modelmgr.usage.record import ModelUsageMetrics
    from langchain_modelmgr.usage.summary import AllFigures, UsageSummary

TASK_KEY = "modelmgr_task"
"""The key of a run's metadata that names the task which the run belongs to."""

_ACTIVE: ContextVar[tuple[UsageTrack, ...]] = ContextVar("modelmgr_tracks", default=())
"""The tracks of this context."""


class UsageTrack(ActiveObject, AbstractContextManager["UsageTrack"]):
    """The usage of the calls of a task, a question or a session.

    As a context manager it tracks the calls that are begun inside the block, in its context,
    including tasks, LangChain's batches and copied contexts. It may be entered and exited in
    different contexts and threads.

    Args:
        tracks: The tracks of the manager whose calls are tracked.
        summary: An empty summary.
        task: Calls with this value in their metadata under ``modelmgr_task`` are tracked too, in
            any thread.
    """

    _VARIABLE = _ACTIVE
    _IS_ENTERED = "this track is already entered: call track() again for another one"

    def __init__(self, tracks: Tracks, summary: UsageSummary, task: str | None = None) -> None:
        super().__init__()
        self.task = task
        self.tracks = tracks
        self._summary = summary

    def __enter__(self) -> Self:
        """Begin to track.

        Raises:
            RuntimeError: It is already entered.
        """
        super().__enter__()
        self.tracks.opened(self)
        return self

    def __exit__(self, *error: object) -> None:
        """Track no call that is begun from now on."""
        self.tracks.ended(self)
        super().__exit__(*error)

    def attempt(self, usage: ModelUsageMetrics) -> None:
        """Add one attempt."""
        self._summary.attempt(usage)

    def call(self, agent_name: str, **ended: Any) -> None:
        """Add one call."""
        self._summary.call(agent_name, **ended)

    def as_dict(self) -> AllFigures:
        """Return the totals, with the keys of ``get_usage_summary()``."""
        return self._summary.as_dict()

    def to_pandas(self) -> Any:
        """Return the figures of each agent and model as a DataFrame, money as ``Decimal``.

        Raises:
            ImportError: pandas is not installed.
        """
        return SummaryTable(self.as_dict()).to_pandas()

    def _repr_html_(self) -> str:
        return SummaryTable(self.as_dict())._repr_html_()

    @property
    def calls(self) -> int:
        """The number of calls."""
        return int(self.as_dict()["calls"])

    @property
    def attempts(self) -> int:
        """The number of requests."""
        return int(self.as_dict()["attempts"])

    @property
    def total_tokens(self) -> int:
        """Tokens of all kinds."""
        return int(self.as_dict()["total_tokens"])

    @property
    def total_cost_usd(self) -> float:
        """USD of all attempts with a known price."""
        return float(self.as_dict()["total_cost_usd"])

    @property
    def estimated_wasted_cost_usd(self) -> float:
        """USD that Bedrock probably billed for attempts that broke, an estimate."""
        return float(self.as_dict()["estimated_wasted_cost_usd"])

    @property
    def average_latency_ms(self) -> float:
        """Average milliseconds of an answered call."""
        return float(self.as_dict()["average_latency_ms"])


class Tracks:
    """The tracks of one manager."""

    def __init__(self) -> None:
        self._of_tasks: dict[str, tuple[UsageTrack, ...]] = {}
        self._lock = threading.Lock()
        AFTER_FORK.watch(self)

    def new(self, summary: UsageSummary, task: str | None = None) -> UsageTrack:
        """Return a track, not entered yet."""
        return UsageTrack(self, summary, task)

    def opened(self, track: UsageTrack) -> None:
        """Let calls of the track's task find it."""
        if track.task is not None:
            with self._lock:
                self._of_tasks[track.task] = (*self._of_tasks.get(track.task, ()), track)

    def ended(self, track: UsageTrack) -> None:
        """Remove the track from the calls of its task."""
        if track.task is not None:
            with self._lock:
                others = [t for t in self._of_tasks.get(track.task, ()) if t is not track]
                self._of_tasks.pop(track.task, None)
                if others:
                    self._of_tasks[track.task] = tuple(others)

    def has_task(self, task: str) -> bool:
        """Return whether a track of a task is open."""
        return task in self._of_tasks

    def of_call(self, metadata: Mapping[str, Any]) -> tuple[UsageTrack, ...]:
        """Return the tracks of a call that begins in this context, each once.

        Args:
            metadata: The metadata of the call's run.
        """
        active, of_tasks = _ACTIVE.get(), self._of_tasks
        if not active and not of_tasks:
            return ()
        own = [t for t in active if t.tracks is self and not t.is_over]
        task = metadata.get(TASK_KEY)
        if task is not None:
            own += of_tasks.get(str(task), ())
        return tuple(dict.fromkeys(own))

    def reset_after_fork(self) -> None:
        """Make a new lock; each track's summary resets itself."""
        self._lock = threading.Lock()
