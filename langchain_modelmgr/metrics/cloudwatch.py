"""The CloudWatch sink: counts in memory, publishes from a background thread, never blocks a call.

Usage is aggregated by the minute and sent each interval, when much has come, on ``flush`` and at
interpreter exit. What CloudWatch does not take for a passing reason is kept and sent again; what
was sent without an answer is counted as ambiguous and not sent twice.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Literal

from langchain_modelmgr.forks import AFTER_FORK
from langchain_modelmgr.metrics.aggregate import MAX_SERIES, Aggregator
from langchain_modelmgr.metrics.at_exit import AT_EXIT, EXIT_SECONDS
from langchain_modelmgr.metrics.datums import checked_namespace
from langchain_modelmgr.metrics.delivery import Clock, Courier, samples_in
from langchain_modelmgr.metrics.keeper import JournalKeeper
from langchain_modelmgr.metrics.outbox import MAX_DATUMS, MAX_PENDING_BYTES, Outbox
from langchain_modelmgr.metrics.quiet import QuietLog
from langchain_modelmgr.metrics.stats import SinkStats

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from langchain_modelmgr.metrics.destination import Destination
    from langchain_modelmgr.records import ModelUsageMetrics

logger = logging.getLogger(__name__)

INTERVAL_SECONDS = 60.0
FLUSH_SECONDS = 30.0
"""Time of a flush whose caller sets none: one hung request and what comes after it."""

_LOOK_EVERY = 32
"""Records after which a sink looks whether much has come."""

CONNECT_TIMEOUT_SECONDS = 2
READ_TIMEOUT_SECONDS = 10


def cloudwatch_client(session: Any, region: str | None = None) -> Any:
    """Make the CloudWatch client that the sink wants.

    botocore makes one attempt: PutMetricData has no idempotency token, so its own retries after
    a time-out count the same usage several times.

    Args:
        session: A ``boto3.Session``; credentials and endpoints are its business.
        region: AWS region; None means the session's.
    """
    from botocore.config import Config

    config = Config(
        retries={"total_max_attempts": 1},
        connect_timeout=CONNECT_TIMEOUT_SECONDS,
        read_timeout=READ_TIMEOUT_SECONDS,
    )
    return session.client("cloudwatch", region_name=region, config=config)


@dataclass(frozen=True, slots=True)
class _Flush:
    """An order to the worker: deliver now, and say when that is done."""

    deadline: float
    is_last: bool = False
    done: threading.Event = field(default_factory=threading.Event)


class CloudWatchSink:
    """Publishes usage as the design guide's five metrics.

    Args:
        client_factory: Makes the boto3 client, see ``cloudwatch_client``; called in the sink's own
            thread when there is something to send.
        namespace: CloudWatch namespace, as ``{project_prefix}/Models``.
        interval_seconds: Seconds between two publications.
        max_series: Metrics of this process at most; agents and models beyond become ``other``.
        max_pending_bytes: What may wait in an outage; beyond it the oldest is dropped.
        extra: What is published beyond the guide's five, see ``docs/metrics.md``.
        on_ambiguous: What was sent without an answer: ``drop`` counts it, ``resend`` sends it
            again, perhaps twice.
        journal: The folder of the journals; None: memory alone.
        destination: What a journal is kept for; without it there is none.
        clock: Time.

    Raises:
        ValueError: If CloudWatch would refuse the namespace.
    """

    def __init__(  # noqa: PLR0913 - limits, keyword-only, each with its default
        self,
        client_factory: Callable[[], Any],
        namespace: str,
        *,
        interval_seconds: float = INTERVAL_SECONDS,
        max_series: int = MAX_SERIES,
        max_pending_bytes: int = MAX_PENDING_BYTES,
        extra: Iterable[str] = (),
        on_ambiguous: Literal["drop", "resend"] = "drop",
        journal: Path | None = None,
        destination: Destination | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.namespace = checked_namespace(namespace)
        self._client_factory = client_factory
        self._interval = interval_seconds
        self._max_series = max_series
        self._max_pending_bytes = max_pending_bytes
        self._extra = tuple(extra)
        self._resend = on_ambiguous == "resend"
        self._keeper = JournalKeeper(journal, destination, self._extra)
        self._clock = clock or Clock()
        self._thread: threading.Thread | None = None
        # SimpleQueue.put may be called from a finaliser; an Event may not.
        self._orders: SimpleQueue[_Flush | None] = SimpleQueue()
        self._woken = False
        self._unlooked = 0
        self.reset_after_fork()
        AFTER_FORK.watch(self)
        AT_EXIT.remember(self)

    def record(self, usage: ModelUsageMetrics) -> None:
        """Count one attempt. Takes microseconds, never blocks and never raises."""
        try:
            self._aggregate.add(usage)
            if self._thread is None:
                self._start()
            self._unlooked += 1
            if self._unlooked >= _LOOK_EVERY:
                self._unlooked = 0
                self._look()
        except Exception as error:  # noqa: BLE001 - metrics boundary: a call must not fail for its metrics
            # Python 3.12.1 starts no thread once exit handlers run: ours delivers without one.
            if "interpreter shutdown" not in str(error):
                self._failed(error)

    def _look(self) -> None:
        """Publish early if much has come."""
        much = self._aggregate.cells >= MAX_DATUMS or self._keeper.is_large
        if much and not self._woken:
            self._woken = True
            self._orders.put(None)

    def flush(self, timeout: float | None = None) -> SinkStats:
        """Deliver what is left, and wait for it.

        Args:
            timeout: Seconds to wait; None means 30. What is not delivered then stays in memory
                and is sent later.

        Returns:
            What was delivered and what is kept.
        """
        seconds = FLUSH_SECONDS if timeout is None else timeout
        if self._thread is not None or self.stats().kept:
            try:
                self._start()
                self._wait(self._orders, seconds)
            except RuntimeError:
                # No thread can be started while the interpreter ends: deliver in this one.
                self._publish(_Flush(self._clock.monotonic() + seconds))
        return self.stats()

    def close(self) -> None:
        """Deliver what is left, within 5 seconds, and stop the thread. A later record restarts."""
        AT_EXIT.forget(self)
        # From here on a record starts its own thread; what came before is in the last delivery.
        thread, self._thread = self._thread, None
        orders, self._orders = self._orders, SimpleQueue()
        if thread is not None:
            self._wait(orders, EXIT_SECONDS, is_last=True)
            self.report_undelivered()
        self.let_go()

    def stats(self) -> SinkStats:
        """Return what became of the usage so far."""
        courier = self._courier
        # Before `recorded`: nothing is sent before it is recorded, so `kept` is never negative.
        sent, ambiguous = courier.sent, courier.ambiguous
        dropped = courier.invalid + self._outbox.dropped
        recorded, refused = self._aggregate.recorded + self._adopted, self._aggregate.refused
        oldest = self._outbox.oldest_minute
        return SinkStats(
            recorded=recorded + refused,
            sent=sent,
            kept=recorded - sent - dropped - ambiguous,
            dropped=dropped + refused,
            ambiguous=ambiguous,
            requests=courier.requests,
            folded=self._aggregate.folded,
            errors=self._errors,
            adopted=self._adopted,
            resent=courier.resent,
            oldest_age_seconds=0.0 if oldest is None else max(0.0, self._clock.wall() - oldest),
        )

    def let_go(self) -> None:
        """Let go of the journal, for the next process; of an empty one nothing is left."""
        self._keeper.close(is_empty=not self.stats().kept)

    def report_undelivered(self) -> None:
        """Log what is still kept, where nobody will send it any more."""
        kept = self.stats().kept
        if kept and self._keeper.is_on:
            logger.warning(
                "%d data points could not be delivered to CloudWatch: the journal keeps them for "
                "the next process",
                kept,
            )
        elif kept:
            logger.warning("%d data points could not be delivered to CloudWatch", kept)

    def reset_after_fork(self) -> None:
        """Start anew in a forked child: what was recorded before is the parent's to send."""
        self._log = QuietLog(logger, self._clock.monotonic)
        self._keeper.let_go_after_fork()
        self._aggregate = Aggregator(
            max_series=self._max_series,
            extra=self._extra,
            keep=self._keeper.keep if self._keeper.is_on else None,
            lock=self._keeper.lock,
        )
        self._outbox = Outbox(
            max_bytes=self._max_pending_bytes,
            on_drop=lambda datums: self._keeper.mark("done", datums),
        )
        self._courier = Courier(
            self._client_factory,
            self.namespace,
            self._outbox,
            clock=self._clock,
            log=self._log,
            mark=self._keeper.mark,
            resend=self._resend,
        )
        self._adopted = 0
        self._has_adopted = False
        self._publishing = threading.Lock()
        self._starting = threading.Lock()
        self._orders = SimpleQueue()
        self._thread = None
        self._woken = False
        self._unlooked = 0
        self._errors = 0

    def _wait(
        self, orders: SimpleQueue[_Flush | None], seconds: float, *, is_last: bool = False
    ) -> None:
        order = _Flush(self._clock.monotonic() + seconds, is_last)
        orders.put(order)
        order.done.wait(seconds)

    def _start(self) -> None:
        """Start the worker if it isn't running. Whoever comes second needn't wait."""
        thread = self._thread
        if thread is not None and thread.is_alive():
            return
        if not self._starting.acquire(blocking=False):
            return
        try:
            AT_EXIT.remember(self)
            thread = threading.Thread(
                target=self._work, args=(self._orders,), name="modelmgr-metrics", daemon=True
            )
            thread.start()
            self._thread = thread
        finally:
            self._starting.release()

    def _work(self, orders: SimpleQueue[_Flush | None]) -> None:
        next_time = self._clock.monotonic() + self._interval
        while True:
            order = self._next_order(orders, next_time)
            try:
                self._publish(order)
            except Exception as error:  # noqa: BLE001 - metrics boundary: the thread must live on
                self._failed(error)
                self._courier.back_off()
            finally:
                if order is not None:
                    order.done.set()
            if order is not None and order.is_last:
                return
            next_time = self._clock.monotonic() + self._interval

    def _next_order(self, orders: SimpleQueue[_Flush | None], next_time: float) -> _Flush | None:
        """Wait for an order, for the interval to end, or for the pause after a failure."""
        seconds = next_time - self._clock.monotonic()
        if len(self._outbox):
            seconds = min(seconds, self._courier.wait_seconds)
        try:
            return orders.get(timeout=max(seconds, 0.0))
        except Empty:
            return None

    def _publish(self, order: _Flush | None) -> None:
        with self._publishing:
            self._woken = False
            if order is not None or not self._has_adopted:
                self._adopt()
            drained = self._aggregate.drain(self._keeper.mark_drained)
            self._outbox.add(self._keeper.take(drained))
            if order is None:
                self._courier.deliver()
            else:
                self._courier.deliver_now(order.deadline)
            self._keeper.tidy(self._aggregate, self._outbox.waiting)

    def _adopt(self) -> None:
        """Take over what processes that died had left for the same destination."""
        self._has_adopted = True
        for left in self._keeper.adopt():
            self._adopted += samples_in([*left.waiting, *left.ambiguous]) + left.given_up
            self._courier.ambiguous += left.given_up
            self._outbox.add(left.waiting)
            if left.ambiguous and self._courier.unanswered(left.ambiguous):
                self._outbox.add(left.ambiguous)

    def _failed(self, error: Exception) -> None:
        self._errors += 1
        self._log.warning("the CloudWatch sink failed: %s", type(error).__name__)
