"""Brings datums to CloudWatch: retries, pauses, and the search for a datum it refuses."""

from __future__ import annotations

import logging
import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from langchain_modelmgr.metrics.verdict import Verdict, classify, reason

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from langchain_modelmgr.metrics.datums import Datum
    from langchain_modelmgr.metrics.outbox import Outbox
    from langchain_modelmgr.metrics.quiet import QuietLog

logger = logging.getLogger(__name__)

METRIC_USD_A_MONTH = 0.30
"""Of the first 10,000 custom metrics of an account. Source: AWS, CloudWatch pricing, 2026-11-23."""

MAX_BACKOFF_SECONDS = 300.0
FLUSH_RETRIES = 4
"""Further tries of a flush, with pauses that double from 0.2 s: 3 s together at most."""

MAX_REQUESTS_A_SEARCH = 64
"""Requests to find bad datums among those of one batch; two of a thousand take about forty."""

_FIRST_BACKOFF_SECONDS = 2.0
_FIRST_FLUSH_PAUSE_SECONDS = 0.2


@dataclass(frozen=True)
class Clock:
    """Time, to be replaced in tests."""

    monotonic: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time
    sleep: Callable[[float], None] = time.sleep


class Courier:
    """Sends what is in an outbox. For one thread at a time.

    Args:
        client_factory: Makes a boto3 CloudWatch client; called on first use, and again after
            credentials were missing or refused.
        namespace: Where the metrics go.
        outbox: What is to be sent; what fails for a passing reason goes back to it.
        clock: Time.
        log: For warnings.
        mark: Told that datums are ``sending``, ``kept``, ``done`` or ``ambiguous``.
        resend: Send again what was sent without an answer; else it is given up, and counted.

    Attributes:
        requests: Requests made.
        sent: Data points that CloudWatch took.
        invalid: Data points it refused as invalid; they are dropped.
        ambiguous: Data points that were sent without an answer, and not sent again.
        resent: Data points that were sent without an answer, and again: perhaps counted twice.
    """

    def __init__(  # noqa: PLR0913 - what a delivery needs, keyword-only
        self,
        client_factory: Callable[[], Any],
        namespace: str,
        outbox: Outbox,
        *,
        clock: Clock,
        log: QuietLog,
        mark: Callable[[str, Sequence[Datum]], None] = lambda _state, _datums: None,
        resend: bool = False,
    ) -> None:
        self.resent = 0
        self._mark = mark
        self._resend = resend
        self._part: Sequence[Datum] = ()
        self._told_of_first = False
        self.requests = 0
        self.sent = 0
        self.invalid = 0
        self.ambiguous = 0
        self._client_factory = client_factory
        self._namespace = namespace
        self._outbox = outbox
        self._clock = clock
        self._log = log
        self._client: Any = None
        self._is_sending = False
        self._failures = 0
        self._not_before = -float("inf")
        self._told_of_credentials = False

    @property
    def wait_seconds(self) -> float:
        """Seconds until the next regular delivery makes sense."""
        return max(self._not_before - self._clock.monotonic(), 0.0)

    def deliver(self) -> None:
        """Send all that waits, unless a pause after a failure is still running."""
        self._outbox.expire(self._clock.wall())
        while len(self._outbox) and not self.wait_seconds:
            self._send(self._outbox.take())

    def deliver_now(self, deadline: float) -> None:
        """Send all that waits without regard to pauses, with a few quick retries.

        Args:
            deadline: Monotonic time after which no further request is started.
        """
        self._outbox.expire(self._clock.wall())
        tries = 0
        while len(self._outbox) and self._clock.monotonic() < deadline:
            verdict = self._send(self._outbox.take())
            if verdict is Verdict.SENT:
                tries = 0
                continue
            if verdict is not Verdict.RETRY:
                return
            pause = random.uniform(0, _FIRST_FLUSH_PAUSE_SECONDS * 2**tries)
            tries += 1
            if tries > FLUSH_RETRIES or self._clock.monotonic() + pause >= deadline:
                return
            self._clock.sleep(pause)

    def back_off(self) -> None:
        """Pause before the next regular delivery, longer each time (full jitter)."""
        longest = min(_FIRST_BACKOFF_SECONDS * 2**self._failures, MAX_BACKOFF_SECONDS)
        self._failures = min(self._failures + 1, 10)
        self._not_before = self._clock.monotonic() + random.uniform(0, longest)

    def _send(self, batch: Sequence[Datum]) -> Verdict:
        """Send one batch; halve what is refused as invalid until the bad datum stands alone."""
        todo: list[Sequence[Datum]] = [batch]
        searched = 0
        while todo:
            part = todo.pop()
            verdict = self._put(part) if searched < MAX_REQUESTS_A_SEARCH else Verdict.RETRY
            searched += 1
            if verdict is Verdict.INVALID and len(part) > 1:
                self._mark("kept", part)
                middle = len(part) // 2
                todo += (part[middle:], part[:middle])
                continue
            self._settle(part, verdict)
            if verdict not in (Verdict.SENT, Verdict.INVALID):
                given_up = verdict is Verdict.AMBIGUOUS and not self._resend
                left = todo if given_up else [*todo, part]
                self._outbox.put_back([datum for rest in reversed(left) for datum in rest])
                self.back_off()
                return verdict
        return Verdict.SENT

    def unanswered(self, datums: Sequence[Datum]) -> bool:
        """Count datums that were sent without an answer; tell whether they are sent again."""
        if self._resend:
            self.resent += samples_in(datums)
        else:
            self.ambiguous += samples_in(datums)
        self._mark("kept" if self._resend else "ambiguous", datums)
        return self._resend

    def _settle(self, part: Sequence[Datum], verdict: Verdict) -> None:
        if verdict in (Verdict.SENT, Verdict.INVALID):
            self._mark("done", part)
        elif verdict is not Verdict.AMBIGUOUS and self._is_sending:
            self._mark("kept", part)
        if verdict is Verdict.SENT:
            self.sent += samples_in(part)
            self._told_of_first = self._told_of_first or self._tell_of_first(part)
            self._failures = 0
            self._told_of_credentials = False
        elif verdict is Verdict.AMBIGUOUS:
            self.unanswered(part)
        elif verdict is Verdict.INVALID:
            self.invalid += samples_in(part)

    def _tell_of_first(self, part: Sequence[Datum]) -> bool:
        series = len({datum.series for datum in part})
        region = self._client.meta.region_name if self._client is not None else "unknown"
        logger.info(
            "metrics go to namespace %s in %s: %d custom metrics so far, about %.2f USD a month",
            self._namespace,
            region,
            series,
            series * METRIC_USD_A_MONTH,
        )
        return True

    def _put(self, part: Sequence[Datum]) -> Verdict:
        self._is_sending = False
        self._part = part
        try:
            data = [datum.to_request() for datum in part]
            self._connect().put_metric_data(Namespace=self._namespace, MetricData=data)
        except Exception as error:  # noqa: BLE001 - metrics boundary: whatever boto3 raises is named, counted and kept from the caller
            # Before the first byte it is about credentials, region or endpoint: our data is valid.
            verdict = classify(error) if self._is_sending else Verdict.UNUSABLE
            self._report(part, verdict, error)
            return verdict
        return Verdict.SENT

    def _connect(self) -> Any:
        if self._client is None:
            client = self._client_factory()
            # Credentials may come over the network too: what fails there was not sent. The event
            # is botocore's last before the first byte; the id lets sinks share a client.
            client.meta.events.register_last(
                "before-send.cloudwatch.PutMetricData", self._on_send, unique_id=f"sink-{id(self)}"
            )
            self._client = client
        return self._client

    def _on_send(self, **_: Any) -> None:
        self._mark("sending", self._part)
        self._is_sending = True
        self.requests += 1

    def _report(self, part: Sequence[Datum], verdict: Verdict, error: Exception) -> None:
        if verdict is Verdict.RETRY:
            self._warn("took no metrics (%s): they are kept and sent again later", error)
        elif verdict is Verdict.AMBIGUOUS:
            what = "are sent again" if self._resend else "may be lost and are not sent twice"
            self._warn("did not answer (%s): %d data points " + what, error, samples_in(part))
        elif verdict is Verdict.INVALID and len(part) == 1:
            self._warn("refused a datum (%s) of %s: dropped", error, part[0].series.name)
        elif verdict is Verdict.UNUSABLE:
            # A session without credentials remembers that in its client.
            self._client = None
            if not self._told_of_credentials:
                self._told_of_credentials = self._warn(
                    "can't be used (%s): metrics are kept and sent once it can", error
                )

    def _warn(self, message: str, error: Exception, *args: object) -> bool:
        # The text of an error can hold account ids: its name has to do.
        return self._log.warning("CloudWatch " + message, reason(error), *args)


def samples_in(datums: Sequence[Datum]) -> int:
    """Return the number of data points in ``datums``."""
    return sum(datum.samples for datum in datums)
