"""What was recorded survives the death of its process, and is sent exactly once."""

from __future__ import annotations

import json
import logging
import os
import random
import signal
import stat
import subprocess
import sys
import textwrap
import threading
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from langchain_modelmgr.metrics import CloudWatchSink
from langchain_modelmgr.metrics import destination as destinations
from langchain_modelmgr.metrics.aggregate import Aggregator
from langchain_modelmgr.metrics.datums import METRICS, Datum, series_of
from langchain_modelmgr.metrics.destination import Destination, in_lambda, state_folder
from langchain_modelmgr.metrics.journal import Journal
from langchain_modelmgr.metrics.recovery import adopt, read

if TYPE_CHECKING:
    from collections.abc import Iterator

    from langchain_modelmgr.local import LocalAWS
    from tests.metrics.conftest import FaultyCloudWatch, MakeUsage

ROOT = Path(__file__).parents[2]
HERE = Destination("x/Models", "us-east-1", "", "scope")


def _sink(server: FaultyCloudWatch, folder: Path, **changes: Any) -> CloudWatchSink:
    settings: dict[str, Any] = {"journal": folder, "destination": HERE, **changes}
    return CloudWatchSink(server.client, "x/Models", **settings)


def _dies(sink: CloudWatchSink) -> None:
    """Let a sink's process be gone: its lock is let go, its file stays."""
    journal = sink._keeper._journal
    assert journal is not None
    journal.let_go_after_fork()
    sink._keeper._journal = None


def _files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.jsonl"))


def _datum(value: float = 1.0, minute: int = 60) -> Datum:
    return Datum(series_of(METRICS[2], "a", "m"), minute, (value,), (1,))


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    made = _journal(tmp_path)
    yield made
    made.close(delete=True)


def _journal(folder: Path) -> Journal:
    return Journal(folder, HERE, threading.RLock())


def _reread(journal: Journal) -> Any:
    with journal.path.open("rb") as file:
        return read(file)


# -- the file


def test_a_record_is_on_disk_when_it_returns_for_its_owners_eyes_only(
    faulty: FaultyCloudWatch, tmp_path: Path, usage: MakeUsage
) -> None:
    sink = _sink(faulty, tmp_path)

    sink.record(usage(tags=("secret",), metadata={"text": "secret"}, run_id="secret"))

    (file,) = _files(tmp_path)
    text = file.read_text()
    head, *lines = [json.loads(line) for line in text.splitlines()]
    assert head["destination"]["namespace"] == "x/Models"
    assert lines[-1][2:] == [0, 1, 2, 812.5, 3, 120, 4, 30, 5, "0.00081"]
    assert "secret" not in text
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    sink.flush()
    sink.close()
    assert _files(tmp_path) == []


def test_nothing_is_opened_before_the_first_record(
    faulty: FaultyCloudWatch, tmp_path: Path
) -> None:
    sink = _sink(faulty, tmp_path)

    sink.flush()
    sink.close()

    assert list(tmp_path.iterdir()) == []


def test_what_a_journal_says_is_read_back_to_the_last_digit(journal: Journal) -> None:
    pairs = [("other", "other"), ("a", "m")]
    journal.keep(pairs, 1, 60, [(0, 1), (2, 0.1 + 0.2), (5, Decimal("0.000000123"))])
    journal.keep(pairs, 1, 60, [(0, 1), (2, 7.5), (3, 4), (4, 5), (5, Decimal(1))])

    left = _reread(journal)

    by_name = {d.series.name: d for d in left.waiting}
    assert by_name["ModelLatency"].values == (0.1 + 0.2, 7.5)
    assert by_name["ModelInvocations"].counts == (2,)
    assert sum(d.samples for d in left.waiting) == 8
    assert left.broken == 0


def test_what_was_sent_is_done_and_what_was_being_sent_is_ambiguous(journal: Journal) -> None:
    one, two, three, four = journal.take([_datum(n) for n in (1.0, 2.0, 3.0, 4.0)])
    journal.mark("sending", [one, two, three])
    journal.mark("done", [one])
    journal.mark("kept", [two])

    left = _reread(journal)

    assert left.waiting == [two, four]
    assert left.ambiguous == [three]


def test_a_line_that_was_cut_short_is_counted_and_costs_no_other(journal: Journal) -> None:
    journal.take([_datum()])
    with journal.path.open("ab") as file:
        file.write(b'{"datums": [[2, "Mo')

    left = _reread(journal)

    assert (len(left.waiting), left.broken) == (1, 1)


def test_a_drain_without_its_datums_loses_and_doubles_nothing(journal: Journal) -> None:
    pairs = [("other", "other"), ("a", "m")]
    journal.keep(pairs, 1, 60, [(2, 1.0)])
    journal.mark_drained()
    journal.keep(pairs, 1, 60, [(2, 2.0)])
    killed_here = _reread(journal)
    journal.take([_datum(1.0)])
    later = _reread(journal)

    for left in (killed_here, later):
        assert sorted(v for d in left.waiting for v in d.values) == [1.0, 2.0]


@settings(
    deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40
)
@given(st.lists(st.tuples(st.floats(0, 1e6), st.decimals(0, 100, places=9)), max_size=60))
def test_a_compaction_changes_nothing(
    tmp_path: Path, usage: MakeUsage, attempts: list[tuple[float, Decimal]]
) -> None:
    lock = threading.RLock()
    journal = Journal(tmp_path, HERE, lock)
    aggregate = Aggregator(keep=journal.keep, lock=lock)
    waiting = journal.take([_datum(9.0)])
    for latency, cost in attempts:
        aggregate.add(usage(latency_ms=latency, cost_usd=cost))
    before = set(_reread(journal).waiting)

    journal.compact(aggregate, waiting)

    assert set(_reread(journal).waiting) == before
    aggregate.add(usage())
    assert sum(d.samples for d in _reread(journal).waiting) == 1 + 5 * (len(attempts) + 1)
    journal.close(delete=True)


# -- what others left


def test_what_a_dead_process_left_is_sent_by_the_next_and_once(
    faulty: FaultyCloudWatch, tmp_path: Path, usage: MakeUsage
) -> None:
    dead = _sink(faulty, tmp_path)
    for _ in range(3):
        dead.record(usage(agent_name="dead"))
    _dies(dead)
    heir, other = _sink(faulty, tmp_path), _sink(faulty, tmp_path)

    heir.record(usage(agent_name="heir"))
    stats = heir.flush()
    other.record(usage(agent_name="other"))
    other.flush()

    assert faulty.sum("ModelInvocations") == 5
    assert (stats.adopted, stats.sent, stats.kept) == (15, 20, 0)
    assert stats.recorded == 20
    heir.close()
    other.close()
    assert _files(tmp_path) == []


def test_a_living_process_keeps_its_own(
    faulty: FaultyCloudWatch, tmp_path: Path, usage: MakeUsage
) -> None:
    living, other = _sink(faulty, tmp_path), _sink(faulty, tmp_path)
    living.record(usage())
    other.record(usage())

    stats = other.flush()

    assert stats.adopted == 0
    assert faulty.sum("ModelInvocations") == 1
    assert living.flush().sent == 5


@pytest.mark.parametrize(
    "there",
    [
        Destination("y/Models", "us-east-1", "", "scope"),
        Destination("x/Models", "eu-west-1", "", "scope"),
        Destination("x/Models", "us-east-1", "http://x", "scope"),
        Destination("x/Models", "us-east-1", "", "another account"),
    ],
)
def test_only_the_same_destination_takes_over(
    faulty: FaultyCloudWatch, tmp_path: Path, usage: MakeUsage, there: Destination
) -> None:
    dead = _sink(faulty, tmp_path)
    dead.record(usage())
    _dies(dead)
    other = _sink(faulty, tmp_path, destination=there)

    other.record(usage())

    assert other.flush().adopted == 0


@pytest.mark.parametrize(("policy", "sent"), [("drop", 0), ("resend", 5)])
def test_what_was_being_sent_when_it_died_follows_the_policy_and_is_counted(
    faulty: FaultyCloudWatch, tmp_path: Path, usage: MakeUsage, policy: str, sent: int
) -> None:
    dead = _sink(faulty, tmp_path)
    dead.record(usage())
    datums = dead._keeper.take(dead._aggregate.drain(dead._keeper.mark_drained))
    dead._keeper.mark("sending", datums)
    _dies(dead)
    heir = _sink(faulty, tmp_path, on_ambiguous=policy)

    heir.record(usage())
    stats = heir.flush()

    assert (stats.ambiguous, stats.resent) == (5 - sent, sent)
    assert faulty.sum("ModelInvocations") == 1 + sent / 5
    assert stats.recorded == stats.sent + stats.kept + stats.dropped + stats.ambiguous


def test_an_heir_that_dies_in_the_middle_of_it_doubles_nothing(
    tmp_path: Path,
) -> None:
    dead, heir, last = (_journal(tmp_path) for _ in range(3))
    dead.take([_datum()])
    left_behind = dead.path.read_bytes()
    name = dead.path
    dead.let_go_after_fork()
    assert len(adopt(tmp_path, heir)) == 1
    name.write_bytes(left_behind)  # it could not delete it any more
    heir.let_go_after_fork()

    found = adopt(tmp_path, last)

    assert [len(left.waiting) for left in found] == [1]
    assert _files(tmp_path) == [last.path]
    last.close(delete=True)


def test_an_outage_outlives_the_process(
    faulty: FaultyCloudWatch, tmp_path: Path, usage: MakeUsage, caplog: pytest.LogCaptureFixture
) -> None:
    faulty.always = "Throttling 400"
    first = _sink(faulty, tmp_path)
    first.record(usage())
    with caplog.at_level(logging.WARNING):
        first.close()
    assert "the journal keeps them for the next process" in caplog.text
    faulty.always = None
    second = _sink(faulty, tmp_path)

    second.record(usage())
    second.close()

    assert faulty.sum("ModelInvocations") == 2


def test_what_is_dropped_for_age_is_gone_from_the_journal_too(
    faulty: FaultyCloudWatch, tmp_path: Path
) -> None:
    dead = _journal(tmp_path / HERE.folder_name)
    dead.take([_datum(minute=60)])
    dead.let_go_after_fork()
    heir = _sink(faulty, tmp_path)
    heir._keeper._opened()

    stats = heir.flush()

    assert (stats.adopted, stats.dropped, stats.kept) == (0, 0, 0)  # nothing was recorded yet
    heir._publish(None)
    stats = heir.stats()
    assert (stats.adopted, stats.dropped, stats.kept) == (1, 1, 0)
    heir.close()
    assert _files(tmp_path) == []


# -- where it can't be


def test_an_unwritable_folder_turns_it_off_with_one_warning(
    faulty: FaultyCloudWatch, tmp_path: Path, usage: MakeUsage, caplog: pytest.LogCaptureFixture
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("no folder")
    sink = _sink(faulty, blocked)

    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            sink.record(usage())

    assert sink.flush().sent == 15
    (told,) = [r.message for r in caplog.records if "journal" in r.message]
    assert "does not survive the death of this process" in told


def test_a_disk_that_is_full_costs_no_record(
    faulty: FaultyCloudWatch, tmp_path: Path, usage: MakeUsage, caplog: pytest.LogCaptureFixture
) -> None:
    sink = _sink(faulty, tmp_path)
    sink.record(usage())
    journal = sink._keeper._journal
    assert journal is not None
    os.close(journal._fd)
    journal._fd = os.open("/dev/full", os.O_WRONLY)

    for _ in range(3):
        sink.record(usage())

    assert sink.flush().sent == 20
    assert caplog.text.count("the metrics journal can't be written") == 1
    assert _files(tmp_path) == []


def test_the_folder_is_the_settings_the_variables_or_the_users(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(destinations.FOLDER_VARIABLE, str(tmp_path / "variable"))
    assert state_folder("off") is None
    assert state_folder(str(tmp_path)) == tmp_path
    assert state_folder("auto") == tmp_path / "variable"
    monkeypatch.delenv(destinations.FOLDER_VARIABLE)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "xdg"))
    assert state_folder("auto") == tmp_path / "xdg" / "langchain-modelmgr"
    assert not in_lambda()
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "f")
    assert state_folder("auto") is None
    assert in_lambda()


def test_a_destination_tells_no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
    first = Destination.of("n", None, None)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAANOTHER7EXAMPLE")
    second = Destination.of("n", None, None)
    monkeypatch.setenv("AWS_SESSION_TOKEN", "t")
    role = Destination.of("n", None, None)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "ASIATHENEXTHOUR")

    assert "AKIA" not in repr(first)
    assert first != second
    assert role == Destination.of("n", None, None)  # a session's key changes, its owner does not
    assert first.region == "us-east-1"


# -- processes

PROGRAM = """
import os, random, sys, threading
from datetime import UTC, datetime
from pathlib import Path

import boto3

from langchain_modelmgr.metrics import CloudWatchSink, cloudwatch_client
from langchain_modelmgr.metrics.destination import Destination
from langchain_modelmgr.records import ModelUsageMetrics

folder, agent = Path(sys.argv[1]), sys.argv[2]
sink = CloudWatchSink(
    lambda: cloudwatch_client(boto3.Session(), "us-east-1"), "x/Models",
    journal=folder, destination=Destination.of("x/Models", "us-east-1", None),
    interval_seconds=float(sys.argv[3]),
)


def record():
    sink.record(ModelUsageMetrics(agent, "m", datetime.now(UTC), 1, 1, 1.0, True))


"""


def _start(aws: LocalAWS, folder: Path, agent: str, program: str) -> Any:
    environment = {**os.environ, "AWS_ENDPOINT_URL": aws.url, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM + textwrap.dedent(program), str(folder), agent, "0.02"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,  # a byte read is a byte taken: the others are counted at the end
    )


def _by_agent(aws: LocalAWS) -> Counter[str]:
    """Return the invocations of each agent, as GetMetricData sums them up."""
    found: Counter[str] = Counter()
    client, now = aws.client("cloudwatch"), datetime.now(UTC)
    listed = client.list_metrics(Namespace="x/Models", MetricName="ModelInvocations")["Metrics"]
    for metric in listed:
        stat = {"Metric": metric, "Period": 86_400, "Stat": "Sum"}
        reply = client.get_metric_data(
            MetricDataQueries=[{"Id": "q", "MetricStat": stat}],
            StartTime=now - timedelta(days=1),
            EndTime=now + timedelta(hours=1),
        )
        agent = {d["Name"]: d["Value"] for d in metric["Dimensions"]}["Agent"]
        found[agent] += round(sum(reply["MetricDataResults"][0]["Values"]))
    return found


HEIR = """
    record()
    stats = sink.flush()
    print(stats.ambiguous, stats.kept)
    sink.close()
"""

VICTIM = """
    # Each byte says that a record was acknowledged.
    while True:
        record()
        os.write(1, b".")
"""


def test_kill_9_at_200_random_moments_loses_and_doubles_nothing_but_what_is_counted(
    local_aws: LocalAWS, tmp_path: Path
) -> None:
    """Eight processes at a time record and publish on one folder, and adopt from each other."""
    dice = random.Random(5)
    acknowledged: dict[str, int] = {}
    for wave in range(25):
        running = {
            f"{wave}-{i}": _start(local_aws, tmp_path, f"{wave}-{i}", VICTIM) for i in range(8)
        }
        for process in running.values():
            process.stdout.read(1)
        for process in running.values():
            time.sleep(dice.uniform(0, 0.04))
            process.kill()
        for agent, process in running.items():
            acknowledged[agent] = 1 + len(process.communicate()[0])

    told, errors = _start(local_aws, tmp_path, "heir", HEIR).communicate(timeout=60)

    ambiguous, kept = map(int, told.split())
    delivered = _by_agent(local_aws)
    assert (errors, kept, _files(tmp_path)) == (b"", 0, [])
    # Never twice: one more at most, which was written down but not acknowledged any more.
    assert {a: (n, delivered[a]) for a, n in acknowledged.items() if delivered[a] > n + 1} == {}
    # Never lost: what is missing is among the ambiguous, four data points a record.
    missing = sum(max(0, n - delivered[agent]) for agent, n in acknowledged.items())
    assert missing <= ambiguous / 4
    assert sum(acknowledged.values()) > 2_000


def test_eight_processes_on_one_folder_that_end_well_leave_nothing(
    local_aws: LocalAWS, tmp_path: Path
) -> None:
    for code in ["Throttling", "InternalServiceFault"] * 3:
        local_aws.metrics.fail(code)
    running = [
        _start(local_aws, tmp_path, f"p{i}", "for _ in range(200): record()") for i in range(8)
    ]

    errors = [process.communicate(timeout=60)[1] for process in running]

    assert all(b"Traceback" not in error for error in errors)
    assert _by_agent(local_aws) == {f"p{i}": 200 for i in range(8)}
    assert _files(tmp_path) == []


FORK = """
    record()
    children = []
    for n in range(4):
        pid = os.fork()
        if not pid:
            for _ in range(n + 1): record()
            os.kill(os.getpid(), 9) if n % 2 else (sink.flush(), os._exit(0))
        children.append(pid)
    for pid in children: os.waitpid(pid, 0)
    record()
"""


def test_forked_children_have_journals_of_their_own(local_aws: LocalAWS, tmp_path: Path) -> None:
    process = _start(local_aws, tmp_path, "family", FORK)
    process.communicate(timeout=60)
    told, _ = _start(local_aws, tmp_path, "heir", HEIR).communicate(timeout=60)

    ambiguous = int(told.split()[0]) // 4
    # The parent's two, and one to four of the children: two of them were killed.
    assert 2 + 10 - ambiguous <= _by_agent(local_aws)["family"] <= 2 + 10
    assert _files(tmp_path) == []


def test_sigterm_delivers_where_the_handler_was_asked_for(
    local_aws: LocalAWS, tmp_path: Path
) -> None:
    program = """
        from langchain_modelmgr.metrics import exit_on_sigterm
        exit_on_sigterm()
        record()
        os.write(1, b".")
        import time
        time.sleep(60)
    """
    process = _start(local_aws, tmp_path, "asked", program)
    process.stdout.read(1)

    process.terminate()
    process.communicate(timeout=60)

    assert process.returncode == 128 + signal.SIGTERM
    assert _by_agent(local_aws) == {"asked": 1}


def test_sigterm_without_it_leaves_the_journal_to_the_next(
    local_aws: LocalAWS, tmp_path: Path
) -> None:
    local_aws.metrics.fail("Throttling", times=1_000)
    program = "record(); os.write(1, b'.'); import time; time.sleep(60)"
    process = _start(local_aws, tmp_path, "killed", program)
    process.stdout.read(1)
    process.terminate()
    process.communicate(timeout=60)
    local_aws.metrics.clear_faults()

    _start(local_aws, tmp_path, "heir", HEIR).communicate(timeout=60)

    assert _by_agent(local_aws) == {"killed": 1, "heir": 1}
