"""What a job takes is estimated before it is run, with what was assumed."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from langchain_core.messages import HumanMessage

from langchain_modelmgr import ModelManager
from langchain_modelmgr.batch.worker import Worker
from tests.batch.conftest import AGENT, PROMPT, tickets

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from langchain_modelmgr.local import LocalAWS
    from tests.agents import Configure


def test_tokens_are_counted_on_a_sample_and_priced_low_to_high(
    manager: ModelManager, tmp_path: Path, local_aws: LocalAWS
) -> None:
    job = manager.batch(
        "labeler", tickets(1_000), into=tmp_path / "job", key="id", prompt=PROMPT, system="Label."
    )

    found = job.estimate()["local"]

    assert local_aws.requests() == 0  # counting is no call
    status = job.run()
    spent = manager.get_usage_summary()
    assert found.rows == 1_000
    assert abs(found.input_tokens - spent["input_tokens"]) < 0.05 * spent["input_tokens"]
    assert found.output_tokens == 1_000 * 100
    assert found.usd_low is not None
    assert found.usd_high is not None
    assert found.usd_low < status.cost_usd < found.usd_high
    assert any("1 token at least" in text for text in found.assumed)
    assert any("3 s" in text for text in found.assumed)
    assert job.estimate()["local"].rows == 0


def test_rows_that_are_answered_say_how_long_answers_are(
    manager: ModelManager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = manager.batch("labeler", tickets(1_000), into=tmp_path / "job", key="id", prompt=PROMPT)
    before = job.estimate()["local"]
    feed = Worker.feed

    def once(self: Worker, chunk: object) -> None:
        feed(self, chunk)  # type: ignore[arg-type]
        self.stop("enough")

    monkeypatch.setattr(Worker, "feed", once)
    half = job.run()
    monkeypatch.undo()

    after = job.estimate()["local"]

    assert after.rows == half.pending == 500
    assert not any("1 token at least" in text for text in after.assumed)
    assert before.usd_low is not None
    assert after.usd_low is not None
    assert after.usd_low > before.usd_low / 2
    assert abs(after.usd_low - half.cost_usd) < Decimal("0.1") * half.cost_usd


def test_a_model_that_cannot_count_is_estimated_by_bytes(
    configured: Configure, tmp_path: Path
) -> None:
    model = "meta.llama3-70b-instruct-v1:0"
    with ModelManager(configured(f"labeler: {{model: '{model}', fallbacks: []}}")) as manager:
        rows = [HumanMessage("x" * 400)] * 3
        found = manager.batch("labeler", rows, into=tmp_path / "job").estimate()["local"]

    assert any("4 bytes" in text for text in found.assumed)
    assert 300 <= found.input_tokens < 1_000


def test_an_estimate_is_json(configured: Configure, tmp_path: Path) -> None:
    with ModelManager(configured(AGENT)) as manager:
        job = manager.batch("labeler", ["x"], into=tmp_path / "job")
        found = {engine: each.to_dict() for engine, each in job.estimate().items()}

    assert set(found) >= {"local"}
    assert isinstance(found["local"]["usd_high"], str)
    assert isinstance(found["local"]["assumed"], list)
