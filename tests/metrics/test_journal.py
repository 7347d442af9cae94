"""What was recorded survives the death of its process, and is sent exactly once."""

from __future__ import annotations

import json
import logging
import os
import stat
import threading
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


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
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


@pytest.mark.parametrize("setting", ["auto", "~/journal"])
def test_without_a_home_there_is_no_journal_but_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, setting: str
) -> None:
    pwd = pytest.importorskip("pwd")

    def unknown(number: int) -> None:
        raise KeyError(number)

    for name in (destinations.FOLDER_VARIABLE, "XDG_STATE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)

    assert state_folder(setting) is None
    assert "MODELMGR_STATE_DIR or metrics.journal names a folder" in caplog.text


def test_a_folder_stays_where_it_was_when_the_program_goes_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    assert state_folder("here") == tmp_path / "here"


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
