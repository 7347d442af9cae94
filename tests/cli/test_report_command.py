"""``modelmgr report``: a month as one HTML file, with the figures of the ledger and CloudWatch."""

from __future__ import annotations

import json
import re
import sys
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import pytest

from langchain_modelmgr import ConfigurationManager, ModelManager
from langchain_modelmgr.report import month_report
from langchain_modelmgr.report.page import page_of
from tests.cli.command import run
from tests.usage_records import make

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from langchain_modelmgr.local import LocalAWS

SONNET, HAIKU = "us.anthropic.claude-sonnet-5-5", "us.anthropic.claude-haiku-5-5"
HELLO = [{"role": "user", "content": [{"text": "How many pallets?"}]}]
NOW = datetime.now(UTC)
MONTH = f"{NOW:%Y-%m}"
CONFIG = f"""
project_prefix: report-test
metrics: {{extra: [wasted_cost, fallbacks, unpriced]}}
budgets: {{daily: {{usd: 20, per: day}}}}
agents:
  sql: {{model: {SONNET}, fallbacks: [{HAIKU}]}}
  planner: {{model: {HAIKU}}}
"""


@pytest.fixture
def folder(local_aws: LocalAWS, tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "dev.yaml").write_text(CONFIG)
    with local_aws.environment():
        yield tmp_path


@pytest.fixture
def manager(folder: Path) -> Iterator[ModelManager]:
    with ModelManager(ConfigurationManager("dev", folder)) as made:
        yield made


class Outline(HTMLParser):
    """The headings of a page in order, and every attribute that could load something."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.levels: list[int] = []
        self.loads: list[str] = []
        self.tags: set[str] = set()
        self.unnamed = 0
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.tags.add(tag)
        if re.fullmatch(r"h[1-6]", tag):
            self.levels.append(int(tag[1]))
        names = ("src", "href", "xlink:href", "srcset", "data", "action")
        self.loads += [str(given[name]) for name in names if name in given]
        self.unnamed += given.get("role") in {"img", "region"} and not given.get("aria-label")


def _record(manager: ModelManager, **changes: Any) -> None:
    manager.ledger.attempt_ended(None, make(**changes))


def test_the_figures_are_those_of_the_ledger_and_of_cloudwatch(
    manager: ModelManager, local_aws: LocalAWS
) -> None:
    local_aws.fail(SONNET, "ThrottlingException", times=1)
    for agent in ("sql", "sql", "planner"):
        manager.invoke_model(agent, HELLO)
    manager.flush_metrics()

    report = month_report(manager, MONTH)

    usage = manager.usage(MONTH, by="agent")
    assert report.totals == {**usage.totals, "unpriced_waste": 0}
    assert {row["agent"]: row["cost_usd"] for row in report.agents} == {
        row["agent"]: row["cost_usd"] for row in usage
    }
    assert sum(row["cost_usd"] for row in report.spend) == usage.totals["cost_usd"] > 0
    published = local_aws.metrics.sum("report-test/Models", "ModelCost")
    assert float(report.totals["cost_usd"]) == pytest.approx(published, rel=1e-12)
    assert report.totals["attempts"] == local_aws.requests() == 4
    (fallback,) = report.fallbacks
    assert (fallback["agent"], fallback["model"], fallback["answers"]) == ("sql", HAIKU, 1)
    assert report.answers == 3
    assert [budget["name"] for budget in report.budgets] == ["daily"]
    assert report.days[-1] == f"{report.made:%Y-%m-%d}"


def test_the_cache_saves_what_its_tokens_would_have_cost(manager: ModelManager) -> None:
    model = manager.catalog.resolve(SONNET)
    _record(
        manager,
        agent_name="sql",
        model_id=SONNET,
        input_tokens=1_000,
        cache_read_tokens=8_000,
        cache_write_5m_tokens=1_000,
    )

    (row,) = month_report(manager, MONTH).cache

    prices = [
        Decimal(str(price))
        for price in (
            model.cost_per_1k_input_tokens,
            model.cost_per_1k_cache_read_tokens,
            model.cost_per_1k_cache_write_5m_tokens,
        )
    ]
    assert row["hit_rate"] == 0.8
    assert row["saved_usd"] == 8 * (prices[0] - prices[1]) + (prices[0] - prices[2]) > 0


def test_an_unknown_price_is_unknown_and_counted(manager: ModelManager) -> None:
    arn = "arn:aws:bedrock:us-east-1:************:imported-model/x"
    for _ in range(2):
        _record(manager, agent_name="sql", model_id=arn, cost_usd=None, cache_read_tokens=5)

    report = month_report(manager, MONTH)

    assert report.cache[0]["saved_usd"] is None
    assert report.prices == (
        {"model": arn, "reason": "unknown for 2 answers, which the cost leaves out"},
    )
    assert "unknown: 2 without a price" in page_of(report)
    assert "$0.0000</strong>" not in page_of(report).partition("wasted")[0]


def test_models_that_end_soon_are_listed_with_their_agents(
    folder: Path, local_aws: LocalAWS
) -> None:
    soon, later = (f"{NOW + timedelta(days=days):%Y-%m-%d}" for days in (80, 100))
    (folder / "dev.yaml").write_text(
        f"{CONFIG}\nmodels:\n  {SONNET}: {{retirement_date: {soon}}}\n"
        f"  {HAIKU}: {{retirement_date: {later}}}\n"
    )

    with ModelManager(ConfigurationManager("dev", folder)) as manager:
        report = month_report(manager, MONTH)

    assert report.retiring[0]["model"] == SONNET
    assert report.retiring[0]["date"] == soon
    assert "sql" in report.retiring[0]["agents"]
    assert HAIKU not in [row["model"] for row in report.retiring]


def test_more_agents_than_colours_are_all_in_the_tables(manager: ModelManager) -> None:
    for number in range(12):
        cost = Decimal(number + 1) / 100
        _record(manager, agent_name=f"agent{number}", model_id=HAIKU, cost_usd=cost)

    report = month_report(manager, MONTH)
    page = page_of(report)

    assert all(f">agent{number}<" in page for number in range(12))
    assert "other agents" in page
    assert sum(row["cost_usd"] for row in report.spend) == Decimal("0.78")


def test_the_page_loads_nothing_and_can_be_read_aloud(manager: ModelManager) -> None:
    _record(manager, agent_name="<script>alert(1)</script>", model_id=HAIKU, is_fallback=True)

    page = page_of(month_report(manager, MONTH))

    outline = Outline(page)
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert outline.loads == []
    assert outline.tags.isdisjoint({"script", "link", "iframe", "img", "object"})
    assert "default-src 'none'" in page
    assert not re.search(r"url\(|@import", page)
    assert outline.levels == [1, *[2] * (len(outline.levels) - 1)]
    assert outline.unnamed == 0
    assert '<html lang="en">' in page
    assert "prefers-color-scheme: dark" in page
    assert "@media print" in page


def test_the_command_writes_one_file_and_prints_its_name(folder: Path) -> None:
    with ModelManager(ConfigurationManager("dev", folder)) as manager:
        manager.invoke_model("planner", HELLO)
    target = folder / "month.html"
    target.write_text("the one of yesterday")

    found = run("report", "--month", MONTH, "-o", str(target), "--config-dir", str(folder))

    assert (found.exit_code, found.stdout) == (0, f"{target}\n")
    assert ">planner<" in target.read_text("utf-8")
    assert [path.name for path in folder.glob("*.html")] == ["month.html"]
    assert not list(folder.glob("tmp*"))


def test_json_has_the_figures_with_money_as_text(folder: Path) -> None:
    with ModelManager(ConfigurationManager("dev", folder)) as manager:
        manager.invoke_model("planner", HELLO)
        cost = manager.usage(MONTH).totals["cost_usd"]

    found = json.loads(run("report", "--json", "--config-dir", str(folder)).stdout)

    assert Decimal(found["totals"]["cost_usd"]) == cost
    assert isinstance(found["totals"]["cost_usd"], str)
    assert found["month"] == MONTH


def test_an_empty_month_says_so(folder: Path) -> None:
    before = f"{NOW.replace(day=1) - timedelta(days=1):%Y-%m}"
    target = folder / "before.html"

    found = run("report", "--month", before, "-o", str(target), "--config-dir", str(folder))

    assert found.exit_code == 0
    page = target.read_text("utf-8")
    assert "Nothing was recorded in this month" in page
    assert "Budgets now" not in page


def test_the_file_has_the_permissions_of_any_new_file_and_a_link_stays_one(folder: Path) -> None:
    plain, target, link = folder / "plain", folder / "target.html", folder / "link.html"
    plain.touch()
    try:
        link.symlink_to(target)
    except OSError:  # Windows, without the privilege
        link = target

    found = run("report", "-o", str(link), "--config-dir", str(folder))

    assert found.exit_code == 0
    assert target.stat().st_mode == plain.stat().st_mode
    assert link == target or link.is_symlink()


def test_a_folder_in_place_of_the_file_is_a_mistake_and_nothing_stays(folder: Path) -> None:
    (folder / "reports").mkdir()
    before = sorted(folder.iterdir())

    found = run("report", "-o", str(folder / "reports"), "--config-dir", str(folder))

    assert found.exit_code == 2
    assert "reports can't be written" in found.stderr
    assert sorted(folder.iterdir()) == before


def test_without_a_ledger_there_is_no_empty_report(folder: Path) -> None:
    (folder / "dev.yaml").write_text(f"ledger: off\n{CONFIG}")

    found = run("report", "-o", str(folder / "x.html"), "--config-dir", str(folder))

    assert found.exit_code == 2
    assert "the ledger is off, or in memory" in found.stderr
    assert not (folder / "x.html").exists()


@pytest.mark.parametrize("month", ["2026-13", "november", "2999-01", "2026-1"])
def test_a_month_that_is_not_one_is_a_mistake(folder: Path, month: str) -> None:
    found = run("report", "--month", month, "--config-dir", str(folder))

    assert (found.exit_code, found.stdout) == (2, "")
    assert f"month {month!r} is not valid" in found.stderr


def test_a_file_that_cant_be_written_is_a_mistake(folder: Path) -> None:
    found = run("report", "-o", str(folder / "none" / "x.html"), "--config-dir", str(folder))

    assert (found.exit_code, found.stdout) == (2, "")
    assert "x.html can't be written" in found.stderr


def test_without_the_extra_the_report_says_what_to_install(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "vl_convert", None)

    found = run("report", "-o", str(folder / "x.html"), "--config-dir", str(folder))
    figures = run("report", "--json", "--config-dir", str(folder))

    assert found.exit_code == 1
    assert "pip install 'langchain-modelmgr[report]'" in found.stderr
    assert not (folder / "x.html").exists()
    assert figures.exit_code == 0
