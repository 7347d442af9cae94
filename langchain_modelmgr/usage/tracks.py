"""UsageTrack: the usage of one task's calls, in any thread and context."""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager, contextmanager, suppress
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Self

from langchain_modelmgr.runtime.bound_functions import BindsFunctions
from langchain_modelmgr.runtime.forks import AFTER_FORK
from langchain_modelmgr.usage.summary_table import SummaryTable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from contextvars import Token

    from langchain_modelmgr.usage.record import ModelUsageMetrics
    from langchain_modelmgr.usage.summary import AllFigures, UsageSummary

TASK_KEY = "modelmgr_task"
"""The key of a run's metadata that names the task which the run belongs to."""

_ACTIVE: ContextVar[tuple[UsageTrack, ...]] = ContextVar("modelmgr_tracks", default=())
"""The tracks of this context. Tasks and copied contexts inherit them; plain threads don't
(before Python 3.14)."""


class UsageTrack(BindsFunctions, AbstractContextManager["UsageTrack"]):
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

    def __init__(self, tracks: Tracks, summary: UsageSummary, task: str | None = None) -> None:
        self.task = task
        self.is_over = False
        self.tracks = tracks
        self._summary = summary
        self._token: Token[tuple[UsageTrack, ...]] | None = None

    def __enter__(self) -> Self:
        """Begin to track.

        Raises:
            RuntimeError: It is already entered.
        """
        if self._token is not None:
            raise RuntimeError("this track is already entered: call track() again for another one")
        self.is_over = False
        self._token = _ACTIVE.set((*_ACTIVE.get(), self))
        self.tracks.opened(self)
        return self

    def __exit__(self, *_: object) -> None:
        """Track no call that is begun from now on."""
        self.tracks.ended(self)
        token, self._token = self._token, None
        others = tuple(track for track in _ACTIVE.get() if track is not self)
        try:
            if token is not None:
                _ACTIVE.reset(token)
        except ValueError:
            # Entered in another context, which still has the track.
            self.is_over = True
        _ACTIVE.set(others)

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

    @contextmanager
    def _active(self) -> Iterator[None]:
        token = _ACTIVE.set((*_ACTIVE.get(), self))
        try:
            yield
        finally:
            with suppress(ValueError):  # closed in another context
                _ACTIVE.reset(token)


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
