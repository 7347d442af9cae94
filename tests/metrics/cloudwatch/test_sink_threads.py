"""Threads, finalisers and a server of any mood: the CloudWatch sink accounts for everything."""

from __future__ import annotations

import gc
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from langchain_modelmgr.metrics import CloudWatchSink
from langchain_modelmgr.runtime.interval_worker import Clock

if TYPE_CHECKING:
    from tests.metrics_fixtures import FaultyCloudWatch, MakeServer
    from tests.usage_records import MakeUsage


@pytest.mark.parametrize(
    ("reason", "errors"),
    [
        ("can't start new thread", 1),
        ("can't create new thread at interpreter shutdown", 0),  # not actionable
    ],
)
def test_where_no_thread_can_be_started_a_flush_delivers_in_the_callers(
    faulty: FaultyCloudWatch,
    usage: MakeUsage,
    monkeypatch: pytest.MonkeyPatch,
    reason: str,
    errors: int,
) -> None:
    def start() -> None:
        raise RuntimeError(reason)

    sink = CloudWatchSink(faulty.client, "x/Models")
    monkeypatch.setattr(sink._ledger._worker, "start", start)
    sink.record(usage())

    stats = sink.flush()

    assert (stats.sent, stats.errors) == (5, errors)
    assert faulty.samples() == 5


def test_a_record_from_a_finaliser_in_the_middle_of_another_neither_hangs_nor_gets_lost(
    faulty: FaultyCloudWatch, sink: CloudWatchSink, usage: MakeUsage
) -> None:
    finalised: list[bool] = []

    class Abandoned:
        """As a stream that is collected while its thread does something else."""

        def __init__(self) -> None:
            self.itself = self

        def __del__(self) -> None:
            sink.record(usage(outcome="aborted", has_usage=False))
            finalised.append(True)

    before = gc.get_threshold()
    gc.set_threshold(1, 1, 1)
    try:
        for _ in range(300):
            Abandoned()
            sink.record(usage())
    finally:
        gc.set_threshold(*before)
    while len(finalised) < 300:
        gc.collect()  # collects nothing while another thread collects
        time.sleep(0.001)

    sink.flush()

    assert faulty.sum("ModelInvocations") == 600


def test_sixteen_threads_and_half_of_the_requests_throttled_lose_and_double_nothing(
    faulty: FaultyCloudWatch, usage: MakeUsage
) -> None:
    sink = CloudWatchSink(faulty.client, "x/Models", interval_seconds=0.001)
    faulty.faults += ["Throttling 400", "InternalServiceFault 500"] * 2
    switch = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)

    def work() -> None:
        for _ in range(200):
            sink.record(usage())

    threads = [threading.Thread(target=work) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sys.setswitchinterval(switch)
    faulty.faults.clear()
    stats = sink.flush()
    sink.close()

    assert (stats.recorded, stats.sent, stats.kept) == (16_000, 16_000, 0)
    assert faulty.sum("ModelInvocations") == 3_200


@settings(max_examples=15)
@given(
    faults=st.lists(
        st.sampled_from(
            [
                "ok",
                "Throttling 400",
                "InternalServiceFault 500",
                "reset",
                "InvalidParameterValue 400",
            ]
        ),
        max_size=8,
    )
)
def test_whatever_the_server_does_every_data_point_is_accounted_for(
    usage: MakeUsage, faulty_server: MakeServer, faults: list[str]
) -> None:
    with faulty_server() as server:
        sink = CloudWatchSink(server.client, "x/Models", clock=Clock(sleep=lambda _: None))
        server.faults += faults

        for number in range(3):
            sink.record(usage(agent_name=str(number)))
            sink.flush()
        sink.close()

        stats = sink.stats()
        assert stats.recorded == 15 == stats.sent + stats.kept + stats.dropped + stats.ambiguous
        # The server took what it then reset.
        assert server.samples() == stats.sent + stats.ambiguous
