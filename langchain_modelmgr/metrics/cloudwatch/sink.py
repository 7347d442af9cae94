"""CloudWatchSink: publishes what the ledger has stored, from the ledger's thread.

Data points that CloudWatch refuses for a temporary reason are kept and sent again; those that were
sent without an answer are counted as ambiguous and not sent twice.
"""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, Any, Literal

from langchain_modelmgr.ledger import outbox
from langchain_modelmgr.ledger.attempt_rows import AttemptRow, finite
from langchain_modelmgr.ledger.destinations import destination_of, identities_waiting, reachable
from langchain_modelmgr.ledger.ledger import INTERVAL_SECONDS, Ledger
from langchain_modelmgr.metrics.cloudwatch.aggregate import Rules
from langchain_modelmgr.metrics.cloudwatch.batch import Batches
from langchain_modelmgr.metrics.cloudwatch.cardinality import MAX_SERIES
from langchain_modelmgr.metrics.cloudwatch.delivery import Delivery
from langchain_modelmgr.metrics.cloudwatch.old_journals import old_scope, take_over
from langchain_modelmgr.metrics.series import checked_namespace
from langchain_modelmgr.runtime.cloudwatch_client import FixedClient
from langchain_modelmgr.runtime.forks import AFTER_FORK
from langchain_modelmgr.runtime.guard import Guard
from langchain_modelmgr.runtime.interval_worker import Clock
from langchain_modelmgr.runtime.rate_limited_log import RateLimitedLog
from langchain_modelmgr.usage.pricing import pico_of
from langchain_modelmgr.usage.sink_stats import SinkStats

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable, Mapping

    from langchain_modelmgr.runtime.interval_worker import Order
    from langchain_modelmgr.usage.record import ModelUsageMetrics

logger = logging.getLogger(__name__)

_LOOPBACK = ("http://127.0.0.1", "http://localhost", "http://[::1]")


class CloudWatchSink:
    """Publishes usage as the design guide's five metrics.

    A sink that you create has its own ledger, in memory. A sink that a manager creates from its
    configuration publishes from the manager's ledger.

    Args:
        client_factory: Makes the boto3 client, see ``cloudwatch_client``; called in the sink's own
            thread when there is something to send.
        namespace: CloudWatch namespace, as ``{project_prefix}/Models``.
        interval_seconds: Seconds between two publications.
        max_series: Largest number of metrics; further agents and models become ``other``.
        extra: Names of further metrics; see ``docs/metrics.md``.
        agents: Agents that always keep metrics of their own.
        on_ambiguous: For data points that were sent without an answer: ``drop`` counts them,
            ``resend`` sends them again, perhaps twice.
        clock: The clock; tests replace it.

    Raises:
        ValueError: The namespace is not valid.
    """

    def __init__(  # noqa: PLR0913 - limits, keyword-only, each with its default
        self,
        client_factory: Callable[[], Any],
        namespace: str,
        *,
        interval_seconds: float = INTERVAL_SECONDS,
        max_series: int = MAX_SERIES,
        extra: Iterable[str] = (),
        agents: Iterable[str] = (),
        on_ambiguous: Literal["drop", "resend"] = "drop",
        clock: Clock | None = None,
    ) -> None:
        self.namespace = checked_namespace(namespace)
        self._client_factory = client_factory
        self._old_scope = ""
        if isinstance(client_factory, FixedClient):
            client_factory.fix()
            self._old_scope = old_scope(client_factory.profile)
        self._extra, self._agents = tuple(extra), tuple(agents)
        self._max_series = max_series
        self._resend = on_ambiguous == "resend"
        self._guard = Guard(self._failed)
        self._clock = clock or Clock()
        self._ledger = Ledger(
            None, Batches(), relay=self, interval_seconds=interval_seconds, clock=self._clock
        )
        self._has_own_ledger = True
        self._rules = Rules.of(extra=self._extra, agents=self._agents, max_series=max_series)
        self._points = self._ahead = self._errors = 0
        self._has_looked_for_journals = False
        self._log = RateLimitedLog(logger, self._clock.monotonic)
        self._delivery = self._new_delivery()
        AFTER_FORK.watch(self)

    def publish_from(self, ledger: Ledger) -> None:
        """Internal: publish from a manager's ledger instead of the sink's own."""
        self._ledger = ledger
        self._has_own_ledger = False

    def record(self, usage: ModelUsageMetrics) -> None:
        """Count one attempt. Takes microseconds, never blocks and never raises."""
        with self._guard:
            if usage.outcome != "cached":
                self._points += self._points_of(usage)
                if self._has_own_ledger:
                    self._ledger.attempt_ended(None, usage)

    def _failed(self, error: Exception) -> None:
        self._errors += 1
        self._log.warning("the CloudWatch sink failed: %s", type(error).__name__)

    def _points_of(self, usage: ModelUsageMetrics) -> int:
        if self._extra:
            return self._rules.points_of(AttemptRow.of(usage))
        if not usage.has_usage:
            return 1
        priced = pico_of(usage.cost_usd) is not None
        return 3 + (finite(usage.latency_ms) is not None) + priced

    def flush(self, timeout: float | None = None) -> SinkStats:
        """Deliver everything recorded so far, and wait for it.

        Args:
            timeout: Seconds to wait; None means 30. Data points that are not delivered by
                then are kept and sent later.

        Returns:
            Counts of what was delivered and what is kept.
        """
        self._ledger.flush(timeout)
        return self.stats()

    def close(self) -> None:
        """Deliver within 5 seconds, and stop the thread. The next record restarts it."""
        self._ledger.close()

    def stats(self) -> SinkStats:
        """Return the counts of data points so far."""
        counts = self._ledger.counts
        own = counts.recorded - counts.adopted
        if not self._ledger.has_lines:
            self._ahead = (
                self._points - own
            )  # all lines are ingested: the rest were not data points
        recorded = counts.recorded + max(self._points - own - min(self._ahead, 0), 0)
        oldest = counts.oldest
        return SinkStats(
            recorded=recorded,
            sent=counts.sent,
            kept=recorded - counts.sent - counts.dropped - counts.ambiguous,
            dropped=counts.dropped,
            ambiguous=counts.ambiguous,
            requests=self._delivery.requests,
            folded=counts.folded,
            errors=self._errors + self._ledger.failures.count,
            adopted=counts.adopted,
            resent=counts.resent,
            oldest_age_seconds=0.0 if oldest is None else max(0.0, self._clock.wall() - oldest),
        )

    def reset_after_fork(self) -> None:
        """Internal: reset the counts and the client; the parent sends its own records."""
        self._points = self._ahead = self._errors = 0
        self._has_looked_for_journals = False
        self._delivery = self._new_delivery()

    def _new_delivery(self) -> Delivery:
        return Delivery(
            self._client_factory,
            self.namespace,
            clock=self._clock,
            log=self._log,
            resend=self._resend,
        )

    # -- called by the ledger

    def head(self) -> Mapping[str, Any]:
        """Internal: return the destination and the settings, for a segment's first line."""
        region, endpoint = self._place
        fixed = self._client_factory
        return {
            "identity": fixed.known_identity() if isinstance(fixed, FixedClient) else None,
            "destination": {"namespace": self.namespace, "region": region, "endpoint": endpoint},
            "settings": {
                "extra": self._extra,
                "agents": self._agents,
                "max_series": self._max_series,
            },
        }

    def identity(self, *, ask: bool) -> str | None:
        """Internal: return the identity of the account; None while it is unknown."""
        fixed = self._client_factory
        return fixed.identity(ask=ask) if isinstance(fixed, FixedClient) else None

    @property
    def is_gone(self) -> bool:
        """Internal: true if the destination was a local server that has stopped."""
        fixed = self._client_factory
        if not isinstance(fixed, FixedClient):
            return False
        folder = self._ledger.folder
        vanished = folder is not None and not folder.parent.exists()
        return fixed.is_gone or (vanished and fixed.endpoint.startswith(_LOOPBACK))

    @property
    def pause(self) -> float:
        """Internal: seconds until the next attempt to send."""
        return self._delivery.pause if self._delivery.has_failed else math.inf

    def publish(self, ledger: Ledger, connection: sqlite3.Connection, order: Order | None) -> None:
        """Internal: send the batches that wait for this destination."""
        self._delivery.recover(connection, ledger.is_alive)
        self._take_over_journals(ledger, connection)
        self._learn_account(ledger, connection)
        deadline = None if order is None else order.deadline
        self._delivery.deliver(connection, lambda: self._next(ledger, connection), deadline)

    def _next(self, ledger: Ledger, connection: sqlite3.Connection) -> outbox.Batch | None:
        own = frozenset(f"writer:{name}" for name in ledger.names)
        fixed = self._client_factory
        known = fixed.identities if isinstance(fixed, FixedClient) else frozenset()
        places = reachable(connection, self.namespace, *self._place, own | known)
        return outbox.take(connection, places, ledger.names)

    def _learn_account(self, ledger: Ledger, connection: sqlite3.Connection) -> None:
        """Identify the account if batches wait that may belong to it."""
        fixed = self._client_factory
        if isinstance(fixed, FixedClient) and ledger.folder is not None:
            own = {f"writer:{name}" for name in ledger.names}
            waiting = identities_waiting(connection, self.namespace, *self._place)
            if waiting - fixed.identities - own:
                fixed.identity(ask=True)

    def _take_over_journals(self, ledger: Ledger, connection: sqlite3.Connection) -> None:
        fixed = self._client_factory
        if self._has_looked_for_journals or not isinstance(fixed, FixedClient):
            return
        self._has_looked_for_journals = True
        if ledger.folder is None or not fixed.identities:
            return
        identity = min(fixed.identities)
        take_over(
            connection,
            ledger.folder.parent,
            destination=destination_of(connection, self.namespace, *self._place, identity),
            namespace=self.namespace,
            region=fixed.region,
            scope=self._old_scope,
            owner=ledger.names[-1],
        )

    @property
    def _place(self) -> tuple[str, str]:
        fixed = self._client_factory
        return (fixed.region, fixed.endpoint) if isinstance(fixed, FixedClient) else ("", "")
