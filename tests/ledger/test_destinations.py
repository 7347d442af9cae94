"""Usage is published to the account that it was recorded for, and to no other."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from langchain_modelmgr.ledger import outbox
from langchain_modelmgr.ledger.database import Database
from langchain_modelmgr.ledger.database_file import open_store
from langchain_modelmgr.ledger.destinations import destination_of, identify
from tests.ledger.support import (
    configured_manager,
    in_another_process,
    invocations,
    opened,
    query,
    session,
    write,
)

if TYPE_CHECKING:
    from pathlib import Path

    from langchain_modelmgr.local import LocalAWS

MODELS = "modelmgr/Models"


@pytest.mark.parametrize("token", [None, "session-token"])
def test_a_session_of_another_account_publishes_its_own_usage_alone(
    folder: Path, local_aws: LocalAWS, token: str | None
) -> None:
    local_aws.account("OTHER", "222222222222")
    in_another_process(
        folder,
        f"manager = configured_manager(Path({str(folder)!r}), session=session('FIRST', {token!r}))\n"
        "[manager.invoke_model('a', [{'role': 'user', 'content': 'x'}]) for _ in range(3)]\n"
        "manager.ledger.ingest()",
    )
    manager = configured_manager(folder, session=session("OTHER", token))

    manager.chat_model("a").invoke("x")
    manager.flush_metrics()

    assert local_aws.metrics.sum(MODELS, "ModelInvocations") == 1
    assert manager.usage().totals["attempts"] == 4
    manager.close()


def test_a_default_profile_that_changes_leaves_what_was_recorded_with_its_account(
    folder: Path, local_aws: LocalAWS, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    local_aws.account("SECOND", "222222222222")
    file = tmp_path / "credentials"
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))

    def become(key: str) -> None:
        file.write_text(f"[default]\naws_access_key_id = {key}\naws_secret_access_key = s\n")

    become("FIRST")
    first = configured_manager(folder)
    first.chat_model("a").invoke("x")
    first.ledger.ingest()
    become("SECOND")
    second = configured_manager(folder)
    second.chat_model("a").invoke("x")

    second.flush_metrics()

    assert local_aws.metrics.sum(MODELS, "ModelInvocations") == 1
    first.flush_metrics()
    assert local_aws.metrics.sum(MODELS, "ModelInvocations") == 2
    second.close()
    first.close()


def test_a_key_and_a_role_of_one_account_deliver_each_others_usage_once_it_is_known(
    folder: Path, local_aws: LocalAWS, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "STATIC")
    in_another_process(folder, "write(ledger, sink, 7); ledger.ingest()")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "ROLE")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "token")
    role, role_sink = opened(folder)
    write(role, role_sink)
    role.flush()
    assert invocations(local_aws) == 1  # the account of the key is unknown

    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "STATIC")
    monkeypatch.delenv("AWS_SESSION_TOKEN")
    local_aws.metrics.throttle(1.0)
    key, key_sink = opened(folder)
    write(key, key_sink, 2)
    key._work(None)  # what its thread does each minute
    local_aws.metrics.clear_faults()
    role.flush()

    assert invocations(local_aws) == 10
    key.close()
    role.close()


def test_a_key_delivers_what_was_noted_under_its_account(
    folder: Path, local_aws: LocalAWS, monkeypatch: pytest.MonkeyPatch
) -> None:
    local_aws.metrics.throttle(1.0)
    in_another_process(folder, "write(ledger, sink, 7); ledger._work(None)")
    local_aws.metrics.clear_faults()
    ledger, sink = opened(folder)

    write(ledger, sink)
    ledger.flush()

    assert invocations(local_aws) == 8
    ledger.close()


def test_a_role_that_names_its_account_is_known_before_its_first_minute(
    folder: Path, local_aws: LocalAWS, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SESSION_TOKEN", "token")
    monkeypatch.setenv("AWS_ACCOUNT_ID", "333333333333")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "ROLE1")
    in_another_process(
        folder,
        f"manager = configured_manager(Path({str(folder)!r}))\n"
        "manager.invoke_model('a', [{'role': 'user', 'content': 'x'}])",
    )
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "ROLE2")
    manager = configured_manager(folder)

    manager.chat_model("a").invoke("x")
    manager.flush_metrics()

    assert local_aws.metrics.sum(MODELS, "ModelInvocations") == 2
    manager.close()


def test_the_account_is_not_requested_again_and_again(
    folder: Path, local_aws: LocalAWS, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SESSION_TOKEN", "token")
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", "http://127.0.0.1:9")
    ledger, sink = opened(folder)

    for _ in range(3):
        write(ledger, sink)
        ledger.flush()

    assert invocations(local_aws) == 3
    ledger.close()


def test_two_projects_that_name_one_folder_have_tables_of_their_own(
    folder: Path, local_aws: LocalAWS, tmp_path: Path
) -> None:
    first = configured_manager(folder)
    first.chat_model("a").invoke("x")
    other = tmp_path / "other"
    other.mkdir()
    text = (folder / "dev.yaml").read_text()
    (other / "dev.yaml").write_text("project_prefix: other\n" + text)
    from langchain_modelmgr import ConfigurationManager, ModelManager

    second = ModelManager(ConfigurationManager("dev", other))

    assert (first.usage().totals["attempts"], second.usage().totals["attempts"]) == (1, 0)
    assert (folder / "modelmgr" / "ledger.db").exists()
    assert local_aws.requests() == 1
    first.close()
    second.close()


def test_an_ingest_is_skipped_only_within_a_minute_of_another_process(folder: Path) -> None:
    folder.mkdir(parents=True)
    database = Database(folder)
    infinity = float("inf")
    assert database.seconds_since_others_ingest("a", 1_000.0) == infinity

    database.note_ingest("a", 1_000.0)

    assert database.seconds_since_others_ingest("a", 1_059.0) == infinity
    assert database.seconds_since_others_ingest("b", 1_059.0) == 59.0
    database.release()


def test_two_processes_that_publish_each_minute_make_one_set_of_batches(
    folder: Path, local_aws: LocalAWS
) -> None:
    first, sink = opened(folder)
    second, other = opened(folder)
    write(first, sink, 3)
    first._work(None)
    write(second, other, 4)

    second._work(None)  # within a minute

    assert invocations(local_aws) == 3
    assert query(second, "select count(*) from attempts") == [(7,)]
    first.close()
    second.close()


def test_a_batch_counts_for_its_account_though_that_is_learned_while_it_is_sent(
    tmp_path: Path,
) -> None:
    with closing(open_store(tmp_path)) as connection:
        before = destination_of(connection, "x/Models", "r", "e", "writer:a")
        outbox.put(connection, before, "a", [["ModelCost", {"1": 7}]], 0)
        batch = outbox.take(connection, [before], ["a"])
        assert batch is not None

        identify(connection, before, "account:b")  # another process learns it
        outbox.settle(connection, batch, sent=batch.datums)

        sent = connection.execute("SELECT identity, sent FROM destinations").fetchall()
    assert sent == [("account:b", 7)]


def test_writers_of_one_slice_follow_when_their_account_is_learned(
    folder: Path, local_aws: LocalAWS
) -> None:
    in_another_process(folder, "write(ledger, sink, 3)")
    in_another_process(
        folder, "write(ledger, sink, 4); ledger._writer.identify(sink.identity(ask=True))"
    )
    ledger, sink = opened(folder)

    write(ledger, sink)
    ledger.flush()

    assert invocations(local_aws) == 8
    assert query(ledger, "select count(*) from batches") == [(0,)]
    assert query(ledger, "select sum(recorded), sum(sent) from destinations") == [(40, 40)]
    ledger.close()
