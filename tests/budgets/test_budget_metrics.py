"""BudgetUsed: published by budget, with a dashboard row and an alarm."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from langchain_modelmgr import ConfigurationManager, ModelManager
from langchain_modelmgr.dashboard import template_of
from tests.models import SONNET

if TYPE_CHECKING:
    from pathlib import Path

    from langchain_modelmgr.local import LocalAWS
    from tests.budgets.conftest import Bills

TEXT = f"""
metrics: {{{{sink: cloudwatch, extra: [{{extra}}]}}}}
budgets:
  daily: {{{{tokens: 1000, per: day}}}}
  tenants: {{{{by: metadata.tenant, tokens: 300, per: total}}}}
  unused: {{{{agent: b, usd: 1, per: month}}}}
agents:
  a: {{{{model: "{SONNET}", fallbacks: [], max_tokens: 100}}}}
  b: {{{{model: "{SONNET}", fallbacks: []}}}}
"""


def manager(folder: Path, extra: str = "budgets") -> ModelManager:
    (folder / "t.yaml").write_text(TEXT.format(extra=extra), "utf-8")
    return ModelManager(ConfigurationManager("t", folder))


def published(aws: LocalAWS, namespace: str = "modelmgr/Models") -> dict[str, float]:
    client = aws.client("cloudwatch")
    metrics = client.list_metrics(Namespace=namespace, MetricName="BudgetUsed")["Metrics"]
    queries: Any = [
        {
            "Id": f"m{i}",
            "MetricStat": {"Metric": metric, "Period": 86_400, "Stat": "Maximum"},
        }
        for i, metric in enumerate(metrics)
    ]
    now = datetime.now(UTC)
    day = timedelta(days=1)
    found = client.get_metric_data(
        MetricDataQueries=queries, StartTime=now - day, EndTime=now + day
    )["MetricDataResults"]
    names = [metric["Dimensions"][0]["Value"] for metric in metrics]
    return dict(zip(names, (max(result["Values"]) for result in found), strict=True))


@pytest.fixture(autouse=True)
def environment(local_aws: LocalAWS, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in local_aws.env().items():
        monkeypatch.setenv(name, value)


def test_each_budget_is_published_once_with_its_highest_key(
    bills: Bills, local_aws: LocalAWS, tmp_path: Path
) -> None:
    made = manager(tmp_path)
    llm = made.chat_model("a")
    for tenant in ("acme", "acme", "umbra"):
        llm.invoke("x", {"metadata": {"tenant": tenant}})

    stats = made.flush_metrics()

    assert published(local_aws) == {"daily": 9.0, "tenants": 20.0}
    assert stats.sent == stats.recorded > 0
    assert stats.kept == 0


def test_without_the_extra_nothing_is_published(
    bills: Bills, local_aws: LocalAWS, tmp_path: Path
) -> None:
    made = manager(tmp_path, "")
    made.chat_model("a").invoke("x")

    made.flush_metrics()

    found = local_aws.client("cloudwatch").list_metrics(MetricName="BudgetUsed")
    assert found["Metrics"] == []


def test_the_template_has_a_row_and_an_alarm_for_each_budget(bills: Bills, tmp_path: Path) -> None:
    template = template_of(manager(tmp_path).config)

    board = json.loads(template["Resources"]["Dashboard"]["Properties"]["DashboardBody"]["Fn::Sub"])
    last = board["widgets"][-1]
    assert last["width"] == 24
    assert [row[3] for row in last["properties"]["metrics"]] == ["daily", "tenants", "unused"]
    alarm = template["Resources"]["BudgetTenants"]["Properties"]
    assert alarm["Threshold"] == {"Ref": "BudgetUsedPercent"}
    assert template["Parameters"]["BudgetUsedPercent"]["Default"] == 80
    plain = template_of(manager(tmp_path, "").config)
    assert "BudgetTenants" not in plain["Resources"]
    assert "BudgetUsedPercent" not in plain["Parameters"]
