"""manager.usage and usage_sql: what real calls took, of this process and of others, to this moment."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from langchain_modelmgr import LedgerError, ModelManager, UsageTable
from tests.ledger.support import configured_manager, in_another_process
from tests.models import HAIKU, SONNET
from tests.support import ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from langchain_modelmgr import ConfigurationManager
    from langchain_modelmgr.local import LocalAWS
    from tests.agents import Configure

AGENTS = f"""
a: {{model: '{SONNET}', fallbacks: ['{HAIKU}']}}
b: {{model: '{HAIKU}', fallbacks: []}}
"""


@pytest.fixture
def manager(configured: Configure) -> ModelManager:
    return ModelManager(configured(AGENTS, "ledger_metadata: [tenant]"))


def test_usage_is_that_of_the_summary_by_agent_and_model(
    manager: ModelManager, local_aws: LocalAWS
) -> None:
    local_aws.fail(SONNET, "ThrottlingException")
    for agent in ("a", "a", "b"):
        manager.chat_model(agent).invoke("pallets")

    table = manager.usage()

    summary = manager.get_usage_summary()
    assert isinstance(table, UsageTable)
    assert [(r["agent"], r["model"], r["calls"], r["attempts"]) for r in table] == [
        ("a", HAIKU, 0, 1),
        ("a", SONNET, 2, 2),
        ("b", HAIKU, 1, 1),
    ]
    assert isinstance(table.totals["cost_usd"], Decimal)
    assert float(table.totals["cost_usd"]) == pytest.approx(summary["total_cost_usd"])
    assert table.totals["calls"] == summary["total_invocations"]
    assert table.totals["attempts"] == summary["attempts"]
    assert table.totals["total_tokens"] == summary["total_tokens"]


def test_allowed_metadata_distinguishes_rows_and_other_metadata_is_not_kept(
    manager: ModelManager,
) -> None:
    llm = manager.chat_model("b")
    llm.invoke("x", config={"metadata": {"tenant": "acme", "secret": "s3cr3t"}})
    llm.invoke("x")

    table = manager.usage("today", by="metadata.tenant")
    (kept,) = manager.usage_sql("select group_concat(metadata) as m from attempts")

    assert [(r["metadata.tenant"], r["attempts"]) for r in table] == [(None, 1), ("acme", 1)]
    assert "s3cr3t" not in str(kept)


def test_records_of_another_process_are_in_the_table(manager: ModelManager, tmp_path: Path) -> None:
    manager.chat_model("b").invoke("x")
    code = (
        "from langchain_modelmgr import ConfigurationManager, ModelManager\n"
        f"m = ModelManager(ConfigurationManager('test', {str(tmp_path)!r}))\n"
        "m.chat_model('b').invoke('x')\n"
        "import os; os._exit(0)\n"
    )
    subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=True,
    )

    assert manager.usage().totals["attempts"] == 2


def test_without_a_file_the_table_is_that_of_this_manager(
    configured: Configure, tmp_path: Path
) -> None:
    first = ModelManager(configured(AGENTS), ledger="off")
    first.chat_model("b").invoke("x")

    assert first.usage().totals["attempts"] == 1
    assert first.usage_sql("select count(*) as n from attempts") == [{"n": 1}]
    assert ModelManager(configured(AGENTS), ledger="off").usage().totals["attempts"] == 0
    assert not (tmp_path / "state").exists()


def test_a_table_is_of_its_managers_environment_unless_another_is_named(
    manager: ModelManager,
) -> None:
    manager.chat_model("b").invoke("x")

    assert manager.usage(where={"environment": "prod"}).totals["attempts"] == 0
    assert manager.usage(where={"environment": ["prod", "test"]}).totals["attempts"] == 1
    assert manager.usage(by="environment").rows[0]["environment"] == "test"


def test_single_attempts_are_found_by_their_ids(manager: ModelManager) -> None:
    reply = manager.chat_model("b").invoke("x")
    request_id = reply.response_metadata["model_manager"]["attempts"][0]["request_id"]

    table = manager.usage(by=["request_id", "outcome"], since=datetime.now(UTC).date())

    assert [(r["request_id"], r["outcome"]) for r in table] == [(request_id, "answered")]


def test_a_cached_answer_is_not_an_attempt(manager: ModelManager) -> None:
    from langchain_core.caches import InMemoryCache

    llm = manager.chat_model("b", cache=InMemoryCache())
    llm.invoke("x")
    llm.invoke("x")

    assert manager.usage().totals["attempts"] == 1


def test_an_account_id_is_in_no_row(
    configured: Configure, local_aws: LocalAWS, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", local_aws.url)  # of the control plane
    arn = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc"
    local_aws.inference_profile(arn, HAIKU)
    manager = ModelManager(configured(f"a: {{model: '{arn}', fallbacks: []}}"))
    manager.chat_model("a").invoke("x")

    (row,) = manager.usage()

    assert "123456789012" not in row["model"]
    assert row["model"].endswith("application-inference-profile/abc")


@pytest.mark.parametrize(
    "arguments",
    [{"since": "soon"}, {"by": "agents"}, {"where": {"modle": "x"}}, {"timezone": "Mars"}],
)
def test_a_mistake_is_a_value_error(manager: ModelManager, arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"since|unknown"):
        manager.usage(**arguments)


def test_a_ledger_that_cant_be_opened_is_an_error_of_the_question_alone(
    configured: Configure, tmp_path: Path
) -> None:
    config: ConfigurationManager = configured(AGENTS, f"ledger: '{tmp_path / 'ledger'}'")
    (tmp_path / "ledger" / "modelmgr" / "ledger.db").mkdir(parents=True)
    manager = ModelManager(config)

    assert manager.chat_model("b").invoke("x").text
    with pytest.raises(LedgerError, match=r"ledger in .* can't be read"):
        manager.usage()
    with pytest.raises(LedgerError):
        manager.usage_sql("select 1")
    assert manager.get_usage_summary()["attempts"] == 1


def test_a_lost_attempt_is_the_same_in_the_table_and_in_cloudwatch(
    tmp_path: Path, local_aws: LocalAWS, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in local_aws.env().items():
        monkeypatch.setenv(name, value)
    folder = tmp_path / "conf"
    in_another_process(
        tmp_path,
        f"manager = configured_manager(Path({str(folder)!r}), extra='wasted_cost')\n"
        "manager.invoke_model('a', [{'role': 'user', 'content': 'x'}])\n"
        "manager.ledger.attempt_started(attempt_start(manager.ledger))",
    )
    manager = configured_manager(folder, extra="wasted_cost")
    manager.chat_model("a").invoke("x")

    manager.flush_metrics()

    table = manager.usage(by="outcome")
    by_outcome = {row["outcome"]: row for row in table}
    assert {outcome: row["attempts"] for outcome, row in by_outcome.items()} == {
        "answered": 2,
        "lost": 1,
    }
    namespace = "modelmgr/Models"
    assert local_aws.metrics.sum(namespace, "ModelInvocations") == table.totals["attempts"] == 3
    assert local_aws.metrics.sum(namespace, "WastedCost") == pytest.approx(
        float(by_outcome["lost"]["estimated_wasted_cost_usd"])
    )
    assert local_aws.metrics.sum(namespace, "ModelCost") == pytest.approx(
        float(table.totals["cost_usd"])
    )
    manager.close()
