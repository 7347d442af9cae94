"""What version 0.1.0 left in its journals is delivered by the first process of this one, once."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import boto3
import pytest

from langchain_modelmgr.metrics import CloudWatchSink, ledger_for
from langchain_modelmgr.metrics.cloudwatch.old_journals import old_scope
from langchain_modelmgr.runtime.cloudwatch_client import FixedClient
from tests.usage_records import make

if TYPE_CHECKING:
    from pathlib import Path

    from langchain_modelmgr.local import LocalAWS

MINUTE = int(time.time()) // 60 * 60


def leave(root: Path, **place: str) -> Path:
    """Leave two attempts that were not sent, one datum that waits, and one that was being sent."""
    dimensions = [["Agent", "old"], ["Model", "m"], ["Success", "true"]]
    one = ["ModelInvocations", "Count", dimensions, MINUTE, [1], [3]]
    lines: list[Any] = [
        {"journal": 1, "name": "abc", "destination": {
            "namespace": "x/Models", "region": "us-east-1", "scope": old_scope(None), **place}},
        {"pair": 1, "agent": "old", "model": "m"},
        {"datums": [[1, *one], [2, *one], [3, *one]]},
        {"sending": [2, 3]},
        {"done": [3]},
        [1, MINUTE, 0, 1, 2, 812.5, 3, 10, 4, 20, 5, "0.25"],
        [1, MINUTE, 0, 1, 2, 700.0, 3, 10, 4, 20, 5, "0.25"],
    ]  # fmt: skip
    path = root / ("0" * 16) / "abc.jsonl"
    path.parent.mkdir(parents=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines) + '[1, "cut')
    return path


def publish(root: Path) -> CloudWatchSink:
    sink = CloudWatchSink(FixedClient(boto3.Session, None), "x/Models")
    ledger = ledger_for([sink], root / "x")
    usage = make()
    ledger.attempt_ended(None, usage)
    sink.record(usage)
    ledger.flush()
    ledger.close()
    return sink


def test_an_old_journal_is_delivered_once(
    tmp_path: Path, local_aws: LocalAWS, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", local_aws.url)
    path = leave(tmp_path)

    stats = publish(tmp_path).stats()
    publish(tmp_path)

    metrics = local_aws.metrics
    assert metrics.sum("x/Models", "ModelInvocations", Agent="old") == 5
    assert metrics.sum("x/Models", "ModelCost", Agent="old") == 0.5
    assert (stats.ambiguous, stats.sent, stats.recorded) == (3, 18, 21)
    assert not path.exists()


@pytest.mark.parametrize("place", [{"scope": "other"}, {"namespace": "y"}, {"region": "eu-west-1"}])
def test_a_journal_of_another_destination_stays(
    tmp_path: Path, local_aws: LocalAWS, monkeypatch: pytest.MonkeyPatch, place: dict[str, str]
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", local_aws.url)
    path = leave(tmp_path, **place)

    publish(tmp_path)

    assert local_aws.metrics.sum("x/Models", "ModelInvocations", Agent="old") == 0
    assert path.exists()
