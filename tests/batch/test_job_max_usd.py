"""``max_usd`` of jobs: never exceeded, and earlier runs count."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from langchain_modelmgr import ModelManager
from langchain_modelmgr.batch import plan
from langchain_modelmgr.batch.worker import Worker, task_name
from langchain_modelmgr.local.scripted import ScriptedReply
from tests.batch.bedrock_support import rows_of
from tests.batch.local_support import USAGE, job_of

if TYPE_CHECKING:
    from pathlib import Path

    from langchain_modelmgr.local import LocalAWS
    from tests.agents import Configure


@pytest.mark.usefixtures("small_chunks")
def test_max_usd_ends_the_run_before_it_is_exceeded_and_more_money_goes_on(
    manager: ModelManager, into: str, local_aws: LocalAWS
) -> None:
    local_aws.script(lambda _: ScriptedReply(text="label", usage=USAGE))
    cost = Decimal("0.00033")
    job = job_of(manager, into)

    status = job.run(max_usd=Decimal("0.003"), concurrency=3)

    assert 0 < status.done < 12
    assert status.cost_usd == cost * status.done <= Decimal("0.003")
    assert status.reason is not None
    assert status.reason.startswith(f"max_usd: {status.cost_usd} of 0.003 USD are spent, and a row")
    assert local_aws.requests() == status.done
    assert job.run(max_usd=Decimal("0.003")).done == status.done
    assert job.run(max_usd="1").done == 12
    assert local_aws.requests() == 12


def test_max_usd_counts_what_runs_without_it_spent(
    manager: ModelManager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "CHUNK_ROWS", 5)
    job = job_of(manager, str(tmp_path / "job"))
    feed = Worker.feed

    def once(self: Worker, chunk: Any) -> None:
        feed(self, chunk)
        self.stop("enough")

    monkeypatch.setattr(Worker, "feed", once)
    spent = job.run().cost_usd
    assert job.status().done == 5
    monkeypatch.undo()

    status = job.run(max_usd=spent * 6 / 5)

    assert status.done == 5  # the worst case of one more row does not fit
    budget = manager.budget(task_name(job.plan), usd=1)
    assert budget.spent == spent


def test_an_unknown_price_is_no_row_for_free(
    configured: Configure, tmp_path: Path, local_aws: LocalAWS
) -> None:
    model = "amazon.nova-unheard-of-v1:0"
    local_aws.facts(model, provider="amazon")
    config = configured(
        f"labeler: {{model: '{model}', fallbacks: [], max_tokens: 9}}\nallow_unknown: true"
    )
    with ModelManager(config) as manager:
        job = job_of(manager, str(tmp_path / "job"), 3)
        assert {e.usd_low for e in job.estimate().values()} == {None}
        limited = job.run(max_usd=40)
        status = job.run()

    assert (limited.done, status.done, status.unpriced) == (0, 3, 3)
    assert limited.reason is not None
    assert "price" in limited.reason
    assert status.cost_usd == 0
    assert {row["cost_usd"] for row in rows_of(job)} == {None}
