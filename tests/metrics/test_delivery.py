"""What CloudWatch does not take is kept, searched or counted, over real HTTP."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.exceptions import NoRegionError

from langchain_modelmgr.metrics.datums import METRICS, Datum, Series, series_of
from langchain_modelmgr.metrics.delivery import (
    FLUSH_RETRIES,
    MAX_BACKOFF_SECONDS,
    MAX_REQUESTS_A_SEARCH,
    Courier,
)
from langchain_modelmgr.metrics.outbox import MAX_AGE_SECONDS, Outbox
from langchain_modelmgr.metrics.quiet import QuietLog


def latency_series(agent: str, model: str) -> Series:
    return series_of(METRICS[2], agent, model)


if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.metrics.conftest import FakeClock, FaultyCloudWatch

MINUTE = int(time.time()) // 60 * 60
THROTTLED = "Throttling 400"


def datum(agent: str = "a", *, minute: int = MINUTE) -> Datum:
    return Datum(latency_series(agent, "m"), minute, (1.0,), (1,))


class Delivery:
    """A courier with its outbox and its clock."""

    def __init__(
        self, server: FaultyCloudWatch, clock: FakeClock, factory: Callable[[], Any] | None = None
    ) -> None:
        self.clock = clock
        self.outbox = Outbox()
        log = QuietLog(logging.getLogger("test"), clock.clock().monotonic)
        self.courier = Courier(
            factory or (lambda: server.client(read_timeout=2)),
            "x/Models",
            self.outbox,
            clock=clock.clock(),
            log=log,
        )

    def flush(self, seconds: float = 30) -> None:
        self.courier.deliver_now(self.clock.now + seconds)


@pytest.fixture
def delivery(faulty: FaultyCloudWatch, fake_clock: FakeClock) -> Delivery:
    return Delivery(faulty, fake_clock)


def test_what_waits_is_sent_in_one_request(faulty: FaultyCloudWatch, delivery: Delivery) -> None:
    delivery.outbox.add([datum("a"), datum("b")])

    delivery.courier.deliver()

    assert faulty.requests == 1
    assert faulty.bodies[0]["Namespace"] == "x/Models"
    assert faulty.data[0] == {
        "MetricName": "ModelLatency",
        "Dimensions": [{"Name": "Agent", "Value": "a"}, {"Name": "Model", "Value": "m"}],
        "Timestamp": MINUTE,
        "Values": [1.0],
        "Counts": [1.0],
        "Unit": "Milliseconds",
    }
    assert (delivery.courier.sent, len(delivery.outbox)) == (2, 0)


@pytest.mark.parametrize("send", [lambda d: d.courier.deliver(), lambda d: d.flush()])
def test_what_grew_too_old_while_it_waited_is_dropped_and_the_rest_sent(
    faulty: FaultyCloudWatch, delivery: Delivery, send: Callable[[Delivery], None]
) -> None:
    delivery.outbox.add([datum("old"), datum("new", minute=MINUTE + 3_600)])
    delivery.clock.pass_time(MAX_AGE_SECONDS + 600)

    send(delivery)

    assert [d["Dimensions"][0]["Value"] for d in faulty.data] == ["new"]
    assert (delivery.courier.sent, delivery.outbox.dropped) == (1, 1)


@pytest.mark.parametrize(
    "fault",
    [
        THROTTLED,
        "InternalServiceFault 500",
        "ServiceUnavailable 503",
        "ExpiredTokenException 403",
    ],
)
def test_what_is_refused_for_a_passing_reason_is_sent_later(
    faulty: FaultyCloudWatch, delivery: Delivery, fault: str
) -> None:
    faulty.faults.append(fault)
    delivery.outbox.add([datum()])

    delivery.courier.deliver()
    kept = len(delivery.outbox)
    delivery.clock.pass_time(MAX_BACKOFF_SECONDS)
    delivery.courier.deliver()

    assert (kept, len(delivery.outbox)) == (1, 0)
    assert (delivery.courier.sent, len(faulty.data)) == (1, 1)


def test_no_server_at_all_keeps_everything(faulty: FaultyCloudWatch, delivery: Delivery) -> None:
    faulty.stop()
    delivery.outbox.add([datum(), datum("b")])

    delivery.courier.deliver()

    assert (len(delivery.outbox), delivery.courier.ambiguous) == (2, 0)


def test_during_a_pause_nothing_is_sent(faulty: FaultyCloudWatch, delivery: Delivery) -> None:
    faulty.always = THROTTLED
    delivery.outbox.add([datum()])
    while not delivery.courier.wait_seconds:  # full jitter: a pause may be as good as none
        delivery.courier.deliver()
    before = faulty.requests

    delivery.courier.deliver()

    assert faulty.requests == before


def test_pauses_grow_to_five_minutes_and_no_further(
    faulty: FaultyCloudWatch, delivery: Delivery
) -> None:
    faulty.always = THROTTLED
    delivery.outbox.add([datum()])
    waits = []

    for _ in range(40):
        delivery.courier.deliver()
        waits.append(delivery.courier.wait_seconds)
        delivery.clock.pass_time(waits[-1])

    assert max(waits[:1]) <= 2
    assert 60 < max(waits) <= MAX_BACKOFF_SECONDS


def test_an_outage_of_ten_minutes_loses_nothing(
    faulty: FaultyCloudWatch, delivery: Delivery
) -> None:
    faulty.always = "ServiceUnavailable 503"
    for minute in range(10):
        delivery.outbox.add([datum(minute=MINUTE + 60 * minute)])
        delivery.courier.deliver()
        delivery.clock.pass_time(60)
    faulty.always = None

    delivery.clock.pass_time(MAX_BACKOFF_SECONDS)
    delivery.courier.deliver()

    assert [d["Timestamp"] for d in faulty.data] == [MINUTE + 60 * n for n in range(10)]
    assert delivery.courier.sent == 10


@pytest.mark.parametrize("kind", ["hang", "reset"])
def test_what_was_sent_without_an_answer_is_counted_and_not_sent_twice(
    faulty: FaultyCloudWatch, delivery: Delivery, kind: str
) -> None:
    faulty.faults.append(kind)
    delivery.outbox.add([datum()])

    delivery.flush()
    delivery.flush()

    assert (delivery.courier.ambiguous, delivery.courier.sent) == (1, 0)
    assert (faulty.requests, len(delivery.outbox)) == (1, 0)


def test_after_no_answer_the_rest_is_kept_back(
    faulty: FaultyCloudWatch, delivery: Delivery
) -> None:
    faulty.always = "reset"
    delivery.outbox.add(datum(f"a{n}") for n in range(1_500))

    delivery.flush()

    assert delivery.courier.ambiguous == 1_000
    assert len(delivery.outbox) == 500


def test_a_bad_datum_is_found_and_dropped_and_all_others_arrive(
    faulty: FaultyCloudWatch, delivery: Delivery, caplog: pytest.LogCaptureFixture
) -> None:
    faulty.poisoned_agent = "a617"
    delivery.outbox.add(datum(f"a{n}") for n in range(1_000))

    delivery.courier.deliver()

    assert (delivery.courier.sent, delivery.courier.invalid) == (999, 1)
    assert len(faulty.data) == 999
    assert faulty.requests < 25
    assert [r.getMessage() for r in caplog.records] == [
        "CloudWatch refused a datum (InvalidParameterValue) of ModelLatency: dropped"
    ]


def test_a_search_for_bad_datums_does_not_flood_cloudwatch(
    faulty: FaultyCloudWatch, delivery: Delivery
) -> None:
    faulty.always = "InvalidParameterValue 400"
    delivery.outbox.add(datum(f"a{n}") for n in range(200))

    while not delivery.courier.wait_seconds:
        faulty.bodies.clear()
        delivery.courier.deliver()

    assert faulty.requests <= MAX_REQUESTS_A_SEARCH
    assert 0 < delivery.courier.invalid < 200
    assert delivery.courier.invalid + len(delivery.outbox) == 200


def test_a_throttle_in_the_middle_of_a_search_keeps_the_order_of_the_rest(
    faulty: FaultyCloudWatch, delivery: Delivery
) -> None:
    faulty.faults += ["InvalidParameterValue 400", THROTTLED]
    batch = [datum(f"a{n}") for n in range(4)]
    delivery.outbox.add(batch)

    delivery.courier.deliver()
    faulty.faults.clear()

    assert delivery.outbox.take() == batch


def test_no_answer_in_the_middle_of_a_search_keeps_what_was_not_tried(
    faulty: FaultyCloudWatch, delivery: Delivery
) -> None:
    faulty.faults += ["InvalidParameterValue 400", "reset"]
    batch = [datum(f"a{n}") for n in range(4)]
    delivery.outbox.add(batch)

    delivery.flush()

    assert delivery.courier.ambiguous == 2
    assert delivery.outbox.take() == batch[2:]


def test_a_flush_tries_again_at_once(faulty: FaultyCloudWatch, delivery: Delivery) -> None:
    faulty.faults += [THROTTLED] * FLUSH_RETRIES
    delivery.outbox.add([datum()])

    delivery.flush()

    assert (delivery.courier.sent, len(delivery.clock.pauses)) == (1, FLUSH_RETRIES)
    assert sum(delivery.clock.pauses) <= 3


def test_a_flush_gives_up_after_a_few_tries_and_keeps_the_rest(
    faulty: FaultyCloudWatch, delivery: Delivery
) -> None:
    faulty.always = THROTTLED
    delivery.outbox.add([datum()])

    delivery.flush()

    assert (faulty.requests, len(delivery.outbox)) == (1 + FLUSH_RETRIES, 1)


def test_a_flush_starts_no_request_after_its_deadline(
    faulty: FaultyCloudWatch, delivery: Delivery
) -> None:
    faulty.always = THROTTLED
    delivery.outbox.add([datum()])

    delivery.flush(1e-6)
    delivery.clock.pass_time(1)
    delivery.flush(0)

    assert (faulty.requests, delivery.clock.pauses) == (1, [])
    assert len(delivery.outbox) == 1


def test_without_credentials_metrics_are_kept_and_it_is_told_once(
    faulty: FaultyCloudWatch,
    delivery: Delivery,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    delivery.outbox.add([datum()])

    for _ in range(3):
        delivery.flush()
        delivery.clock.pass_time(120)
    told = [r.getMessage() for r in caplog.records]
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
    delivery.flush()

    assert told == [
        "CloudWatch can't be used (NoCredentialsError): metrics are kept and sent once it can"
    ]
    assert (delivery.courier.sent, delivery.courier.ambiguous, faulty.requests) == (1, 0, 1)


def test_a_client_that_cant_be_made_keeps_metrics(
    faulty: FaultyCloudWatch, fake_clock: FakeClock
) -> None:
    made: list[Any] = []

    def factory() -> Any:
        if not made:
            made.append(None)
            raise NoRegionError
        return faulty.client()

    delivery = Delivery(faulty, fake_clock, factory)
    delivery.outbox.add([datum()])

    delivery.flush()
    kept = len(delivery.outbox)
    delivery.flush()

    assert (kept, delivery.courier.sent) == (1, 1)


def test_a_failure_to_fetch_credentials_over_the_network_keeps_metrics(
    faulty: FaultyCloudWatch, fake_clock: FakeClock
) -> None:
    # An assumed role: AWS STS refuses with a 400, before anything went to CloudWatch.
    sts = boto3.Session(region_name="us-east-1").client("sts", endpoint_url=faulty.url)

    def refuse(**_: Any) -> None:
        sts.assume_role(RoleArn="arn:aws:iam::123456789012:role/x", RoleSessionName="xx")

    def factory() -> Any:
        client = faulty.client()
        client.meta.events.register("before-sign.cloudwatch", refuse)
        return client

    delivery = Delivery(faulty, fake_clock, factory)
    delivery.outbox.add([datum(), datum("b")])

    delivery.flush()

    assert (len(delivery.outbox), delivery.courier.invalid, faulty.requests) == (2, 0, 0)


def test_two_sinks_may_share_a_client(faulty: FaultyCloudWatch, fake_clock: FakeClock) -> None:
    client = faulty.client()
    one, other = (Delivery(faulty, fake_clock, lambda: client) for _ in range(2))
    faulty.faults += ["ok", "reset"]
    one.outbox.add([datum()])
    other.outbox.add([datum()])

    one.flush()
    other.flush()

    assert (one.courier.sent, one.courier.ambiguous) == (1, 0)
    assert (other.courier.sent, other.courier.ambiguous) == (0, 1)


def test_a_warning_names_no_account(
    faulty: FaultyCloudWatch, delivery: Delivery, caplog: pytest.LogCaptureFixture
) -> None:
    faulty.always = "AccessDenied 403"
    delivery.outbox.add([datum()])

    delivery.flush()

    assert "AccessDenied" in caplog.text
    assert "123456789012" not in caplog.text
