"""Attempts that are recorded once, in one transaction with a mark."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from langchain_modelmgr import ConfigurationManager, ModelManager
from tests.models import SONNET
from tests.usage_records import make

if TYPE_CHECKING:
    from pathlib import Path

    from langchain_modelmgr.usage.record import ModelUsageMetrics


def managed(folder: Path, ledger: str) -> ModelManager:
    text = f"metrics: {{sink: memory}}\nledger: {ledger}\nagents: {{a: {{model: '{SONNET}'}}}}\n"
    (folder / "test.yaml").write_text(text)
    return ModelManager(ConfigurationManager("test", folder))


def records(count: int) -> list[ModelUsageMetrics]:
    return [make(latency_ms=None, service_tier="batch") for _ in range(count)]


@pytest.mark.parametrize("place", ["folder", "off"])
def test_the_second_time_with_a_mark_records_nothing(tmp_path: Path, place: str) -> None:
    with managed(tmp_path, str(tmp_path / "ledger") if place == "folder" else "off") as manager:
        first = manager.totals.add_once("batch/one", records(3))
        again = manager.totals.add_once("batch/one", records(3))
        other = manager.totals.add_once("batch/two", records(2))

        (row,) = manager.usage_sql(
            "SELECT count(*) AS n, count(latency_ms) AS timed, count(DISTINCT call_id) AS calls"
            " FROM attempts"
        )
        summary = manager.get_usage_summary()
    assert (first, again, other) == (True, False, True)
    assert row == {"n": 5, "timed": 0, "calls": 5}
    assert (summary["attempts"], summary["average_latency_ms"]) == (5, 0.0)


def test_another_process_of_the_ledger_finds_the_mark(tmp_path: Path) -> None:
    with managed(tmp_path, str(tmp_path / "ledger")) as manager:
        assert manager.totals.add_once("batch/one", records(3))
    with managed(tmp_path, str(tmp_path / "ledger")) as manager:
        assert not manager.totals.add_once("batch/one", records(3))

        (row,) = manager.usage_sql("SELECT sum(attempts) AS n FROM totals")
    assert row == {"n": 3}


def test_a_batch_record_does_not_change_the_average_latency_of_calls(tmp_path: Path) -> None:
    with managed(tmp_path, "off") as manager:
        manager.totals.add(make(latency_ms=80.0))
        manager.totals.add_once("batch/one", records(3))

        summary = manager.get_usage_summary()
        (model,) = summary["by_model"].values()
    assert model["average_latency_ms"] == 80.0
    assert model["attempts"] == 4
    assert summary["calls"] == 3
