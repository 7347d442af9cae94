"""Delivery: sends batches to CloudWatch, pauses after failures, finds datums that are refused."""

from __future__ import annotations

import logging
import math
import sqlite3
from typing import TYPE_CHECKING, Any, NamedTuple

from langchain_modelmgr.ledger import outbox
from langchain_modelmgr.metrics.cloudwatch.outcome import (
    Outcome,
    code_of,
    of_answer,
    of_error,
    reason,
)
from langchain_modelmgr.metrics.series import METRIC_USD_A_MONTH, Datum
from langchain_modelmgr.runtime.aws_codes import DENIED
from langchain_modelmgr.runtime.guard import Guard
from langchain_modelmgr.runtime.jitter import uniform

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from langchain_modelmgr.ledger.outbox import Batch
    from langchain_modelmgr.runtime.interval_worker import Clock
    from langchain_modelmgr.runtime.rate_limited_log import RateLimitedLog

logger = logging.getLogger(__name__)

MAX_BACKOFF_SECONDS = 300.0
FLUSH_RETRIES = 4
"""Retries of a flush, with pauses that double from 0.2 s: 3 s in total at most."""

MAX_REQUESTS_A_SEARCH = 64
"""Requests to find invalid datums in a batch; two in a thousand take about forty."""

_BATCH_AND_HALVES = 3
_FIRST_BACKOFF_SECONDS = 2.0
_FIRST_FLUSH_PAUSE_SECONDS = 0.2
_LOOPBACK = ("http://127.0.0.1", "http://localhost", "http://[::1]")

Datums = list[list[Any]]


class Delivery:
    """Sends batches. For one thread at a time.

    Args:
        client_factory: Makes a boto3 CloudWatch client; called on first use, and again after
            credentials were missing or refused.
        namespace: CloudWatch namespace.
        clock: The clock; tests replace it.
        log: Logs warnings.
        resend: Send data points without an answer again; else they are counted as ambiguous.

    Attributes:
        requests: The number of requests.
    """

    def __init__(
        self,
        client_factory: Callable[[], Any],
        namespace: str,
        *,
        clock: Clock,
        log: RateLimitedLog,
        resend: bool = False,
    ) -> None:
        self.requests = 0
        self._client_factory = client_factory
        self._namespace = namespace
        self._clock = clock
        self._log = log
        self._resend = resend
        self._client: Any = None
        self._is_sending = False
        self._answer: tuple[int, dict[str, str]] | None = None
        self._failures = 0
        self._not_before = -math.inf
        self._has_logged_first = False
        self._has_logged_unusable = False
        self._unsettled: list[tuple[Batch, dict[str, Any]]] = []

    @property
    def pause(self) -> float:
        """Seconds until refused data points are sent again."""
        return max(self._not_before - self._clock.monotonic(), 0.0)

    @property
    def has_failed(self) -> bool:
        """True if data points wait because a request failed."""
        return self._not_before > -math.inf

    def recover(self, connection: sqlite3.Connection, is_alive: Callable[[str], bool]) -> None:
        """Settle batches that were sent before, by this process or by dead ones."""
        while self._unsettled:
            batch, settled = self._unsettled[0]
            outbox.settle(connection, batch, **settled)
            self._unsettled.pop(0)
        outbox.release_of_the_dead(connection, is_alive, resend=self._resend)

    def deliver(
        self,
        connection: sqlite3.Connection,
        take: Callable[[], Batch | None],
        deadline: float | None,
    ) -> None:
        """Send the batches that wait.

        Args:
            connection: The database.
            take: Marks and returns the next batch.
            deadline: Monotonic time after which no request is started. Running pauses are ignored,
                and a few quick retries are made. None: send everything, unless a pause is running.
        """
        tries = 0
        while not self.pause if deadline is None else self._clock.monotonic() < deadline:
            batch = take()
            if batch is None:
                self._not_before = -math.inf
                return
            outcome = self._send(connection, batch)
            if outcome is Outcome.SENT:
                tries = 0
                continue
            if deadline is None or outcome is not Outcome.RETRY or self._is_dead_end():
                return
            pause = uniform(0, _FIRST_FLUSH_PAUSE_SECONDS * 2**tries)
            tries += 1
            if tries > FLUSH_RETRIES or self._clock.monotonic() + pause >= deadline:
                return
            self._clock.sleep(pause)

    def back_off(self) -> None:
        """Pause before the next regular delivery, longer each time (full jitter)."""
        longest = min(_FIRST_BACKOFF_SECONDS * 2**self._failures, MAX_BACKOFF_SECONDS)
        self._failures = min(self._failures + 1, 10)
        self._not_before = self._clock.monotonic() + uniform(0, longest)

    def _is_dead_end(self) -> bool:
        """Return whether a quick retry is useless: no server listens on the loopback endpoint."""
        url = "" if self._client is None else str(self._client.meta.endpoint_url)
        return self._answer is None and url.startswith(_LOOPBACK)

    def _send(self, connection: sqlite3.Connection, batch: Batch) -> Outcome:
        """Send one batch; halve refused parts until the invalid datum is found."""
        search = _Search([batch.datums], [], [])
        searched = 0
        while search.todo:
            part = search.todo.pop(0)
            outcome, why = (
                self._put(part) if searched < MAX_REQUESTS_A_SEARCH else (Outcome.RETRY, "")
            )
            searched += 1
            if outcome is Outcome.REFUSED:
                search.reasons.append(why)
                if searched == _BATCH_AND_HALVES and search.is_useless():
                    outcome = Outcome.UNUSABLE
            if outcome in (Outcome.INVALID, Outcome.REFUSED) and len(part) > 1:
                middle = len(part) // 2
                search.todo.extend((part[:middle], part[middle:]))
            elif outcome is Outcome.REFUSED:
                search.aside.append(part)  # only CloudWatch's codes for invalid data drop a datum
            elif outcome in (Outcome.SENT, Outcome.INVALID):
                what = "sent" if outcome is Outcome.SENT else "dropped"
                self._settle(connection, batch, search.rest(), bool(search.todo), **{what: part})
            else:
                self._stop(connection, batch, part, search, outcome)
                return outcome
        if search.aside:
            self._settle(connection, batch, search.rest(), still_sending=False)
            self.back_off()
            return Outcome.UNUSABLE
        return Outcome.SENT

    def _stop(
        self,
        connection: sqlite3.Connection,
        batch: Batch,
        part: Datums,
        search: _Search,
        outcome: Outcome,
    ) -> None:
        if outcome is Outcome.AMBIGUOUS and not self._resend:
            self._settle(connection, batch, search.rest(), still_sending=False, ambiguous=part)
        elif outcome is Outcome.AMBIGUOUS:
            self._settle(
                connection, batch, [*part, *search.rest()], still_sending=False, resent=part
            )
        else:
            self._settle(connection, batch, [*part, *search.rest()], still_sending=False)
        self.back_off()

    def _settle(
        self,
        connection: sqlite3.Connection,
        batch: Batch,
        rest: Datums,
        still_sending: bool,  # noqa: FBT001 - private
        **settled: Datums,
    ) -> None:
        try:
            outbox.settle(connection, batch, rest=rest, still_sending=still_sending, **settled)
        except sqlite3.Error:  # the result is known: it is stored when the database can be written
            self._unsettled.append((batch, {"rest": rest, **settled}))
            raise

    def _put(self, part: Datums) -> tuple[Outcome, str]:
        self._is_sending = False
        self._answer = None
        errors: list[Exception] = []
        datums = [Datum(*datum) for datum in part]
        with Guard(errors.append):  # boto3 may raise any error: it is named and counted
            client = self._connect()
            data = [datum.to_request() for datum in datums]
            client.put_metric_data(Namespace=self._namespace, MetricData=data)
        error = errors[0] if errors else None
        outcome = self._outcome(error)
        why = "not CloudWatch's answer" if error is None else reason(error)
        if outcome is Outcome.SENT:
            self._took(datums)
        else:
            self._report(datums, outcome, why)
        return outcome, why

    def _outcome(self, error: Exception | None) -> Outcome:
        if self._answer is not None:
            return of_answer(*self._answer, "" if error is None else code_of(error))
        # Before the first byte the cause is credentials, region or endpoint, not the data.
        if error is None or not self._is_sending:
            return Outcome.UNUSABLE
        return of_error(error)

    def _connect(self) -> Any:
        if self._client is None:
            client = self._client_factory()
            events = client.meta.events
            # Fetching credentials may fail before anything is sent. The event is botocore's last
            # before the first byte; the ids let sinks share a client.
            events.register_last(
                "before-send.cloudwatch.PutMetricData", self._on_send, unique_id=f"send-{id(self)}"
            )
            events.register(
                "before-parse.cloudwatch.PutMetricData",
                self._on_answer,
                unique_id=f"answer-{id(self)}",
            )
            self._client = client
        return self._client

    def _on_send(self, **_: Any) -> None:
        self._is_sending = True
        self.requests += 1

    def _on_answer(self, response_dict: dict[str, Any], **_: Any) -> None:
        self._answer = response_dict["status_code"], dict(response_dict["headers"])

    def _took(self, datums: Sequence[Datum]) -> None:
        self._failures = 0
        self._not_before = -math.inf
        self._has_logged_unusable = False
        if self._has_logged_first:
            return
        self._has_logged_first = True
        series = len({datum.series for datum in datums})
        logger.info(
            "metrics go to namespace %s in %s: %d custom metrics so far, about %.2f USD a month",
            self._namespace,
            self._client.meta.region_name,
            series,
            series * METRIC_USD_A_MONTH,
        )

    def _report(self, datums: Sequence[Datum], outcome: Outcome, why: str) -> None:
        # The text of an error can contain account ids: only its name is logged.
        if outcome is Outcome.RETRY:
            self._warn("took no metrics (%s): they are kept and sent again later", why)
        elif outcome is Outcome.AMBIGUOUS:
            what = "are sent again" if self._resend else "may be lost and are not sent twice"
            points = sum(sum(datum.counts) for datum in datums)
            self._warn("did not answer (%s): %d data points " + what, why, points)
        elif outcome is Outcome.INVALID and len(datums) == 1:
            self._warn("refused a datum (%s) of %s: dropped", why, datums[0].name)
        elif outcome in (Outcome.UNUSABLE, Outcome.REFUSED):
            region = "an unknown region" if self._client is None else self._client.meta.region_name
            # A session without credentials remembers that in its client.
            self._client = None if outcome is Outcome.UNUSABLE else self._client
            if not self._has_logged_unusable:
                self._has_logged_unusable = self._warn(
                    "can't be used for namespace %s in %s (%s): "
                    "metrics are kept and sent once it can",
                    self._namespace,
                    region,
                    f"{why}: the role lacks cloudwatch:PutMetricData" if why in DENIED else why,
                )

    def _warn(self, message: str, *args: object) -> bool:
        return self._log.warning("CloudWatch " + message, *args)


class _Search(NamedTuple):
    """The search for invalid datums of a batch: parts to send, parts set aside, reasons."""

    todo: list[Datums]
    aside: list[Datums]
    reasons: list[str]

    def rest(self) -> Datums:
        """Return the datums that are not settled."""
        return [datum for part in (*self.todo, *self.aside) for datum in part]

    def is_useless(self) -> bool:
        """Return whether a batch and both of its halves were refused for one unknown reason."""
        return len(self.reasons) == _BATCH_AND_HALVES and len(set(self.reasons)) == 1
