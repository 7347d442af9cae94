"""The page of a report: amounts, unknown costs, and models that are named by an ARN."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from decimal import Context, Decimal, Inexact, localcontext
from typing import TYPE_CHECKING, Any

import pytest

from langchain_modelmgr import ConfigurationManager, ModelManager
from langchain_modelmgr.ledger import query
from langchain_modelmgr.report import charts, month_report
from langchain_modelmgr.report.page import page_of
from tests.usage_records import make

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from langchain_modelmgr.local import LocalAWS

SONNET, HAIKU = "us.anthropic.claude-sonnet-5-5", "us.anthropic.claude-haiku-5-5"
ARN = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc123"
NOW = datetime.now(UTC)
MONTH = f"{NOW:%Y-%m}"
LIGHT, DARK = "#ffffff", "#16181c"


@pytest.fixture
def folder(local_aws: LocalAWS, tmp_path: Path) -> Iterator[Path]:
    with local_aws.environment():
        yield tmp_path


def _manager(folder: Path, text: str = "") -> ModelManager:
    agents = text or f"agents: {{sql: {{model: {SONNET}, fallbacks: [{HAIKU}]}}}}\n"
    (folder / "dev.yaml").write_text(agents)
    return ModelManager(ConfigurationManager("dev", folder))


def _record(manager: ModelManager, **changes: Any) -> None:
    manager.ledger.attempt_ended(None, make(agent_name="sql", **changes))


def _total_cost(page: str) -> str:
    found = re.search(r"<li>cost <strong>(.*?)</strong>", page)
    assert found is not None
    return found[1]


def test_a_total_of_more_than_a_thousand_dollars_is_shown_whole(folder: Path) -> None:
    with _manager(folder) as manager:
        _record(manager, model_id=SONNET, cost_usd=Decimal("1234567.5"))
        assert _total_cost(page_of(month_report(manager, MONTH))) == "$1,234,567.5000"
        _record(manager, model_id=SONNET, cost_usd=None)
        assert _total_cost(page_of(month_report(manager, MONTH))) == "$1,234,567.5000"


def test_an_unknown_cost_is_unknown_in_every_table(folder: Path) -> None:
    with _manager(folder) as manager:
        _record(manager, model_id=HAIKU, cost_usd=None, is_fallback=True)
        report = month_report(manager, MONTH)
    page = page_of(report)

    assert _total_cost(page) == "unknown"
    assert page.count("unknown: 1 without a price") == 4  # by day, agent, model, fallback
    assert report.spend[0]["unpriced"] == report.fallbacks[0]["unpriced"] == 1


def test_waste_without_a_price_is_unknown_and_counted(folder: Path) -> None:
    with _manager(folder) as manager:
        for cost in (Decimal("0.25"), None):
            _record(manager, model_id=SONNET, cost_usd=cost)
        broken: dict[str, Any] = {"outcome": "failed", "has_usage": False, "cost_usd": None}
        _record(manager, model_id=SONNET, estimated_wasted_cost_usd=Decimal("0.5"), **broken)
        _record(manager, model_id="acme.unknown-v1", **broken)
        _record(manager, model_id="acme.unknown-v1", **{**broken, "outcome": "aborted"})
        report = month_report(manager, MONTH)
    page = page_of(report)

    assert {row["model"]: row["unpriced_waste"] for row in report.models} == {
        SONNET: 0, "acme.unknown-v1": 2,
    }  # fmt: skip
    assert report.agents[0]["unpriced_waste"] == report.totals["unpriced_waste"] == 2
    assert "<strong>$0.5000, 2 without a price</strong>" in page
    assert '<td class="number">unknown: 2 without a price</td>' in page


def test_the_saving_is_exact_whatever_the_applications_decimal_context(folder: Path) -> None:
    tokens = {"cache_read_tokens": 123_457, "cache_write_5m_tokens": 7_919}
    with _manager(folder) as manager:
        _record(manager, model_id=SONNET, **tokens)
        exact = month_report(manager, MONTH).cache[0]["saved_usd"]
        with localcontext(Context(prec=3, traps=[Inexact])):
            report = month_report(manager, MONTH)
            page_of(report)

    assert report.cache[0]["saved_usd"] == exact


def test_the_figures_of_a_report_are_of_one_moment(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with _manager(folder) as manager, _manager(folder) as other:
        _record(manager, model_id=SONNET)
        read = query.usage_table

        def while_another_process_records(*given: Any) -> Any:
            table = read(*given)
            _record(other, model_id=SONNET)
            other.ledger.ingest()
            return table

        monkeypatch.setattr(query, "usage_table", while_another_process_records)
        report = month_report(manager, MONTH)

    assert report.answers == report.totals["attempts"] == report.models[0]["attempts"] == 1


def test_models_that_have_retired_are_told_from_those_that_will(folder: Path) -> None:
    past, soon = (f"{NOW + timedelta(days=days):%Y-%m-%d}" for days in (-3, 20))
    agents = (
        f"agents: {{sql: {{model: {SONNET}, fallbacks: [{HAIKU}]}}}}\n"
        f"models:\n  {SONNET}: {{retirement_date: {past}}}\n"
        f"  {HAIKU}: {{retirement_date: {soon}}}\n"
    )
    with _manager(folder, agents) as manager:
        page = page_of(month_report(manager, MONTH))

    assert "Models that have retired, or retire within 90 days" in page
    assert f"{SONNET}: retired on {past}" in page
    assert f"{HAIKU}: retires on {soon}" in page


def test_models_that_are_named_by_an_arn_have_their_facts(folder: Path) -> None:
    soon = f"{NOW + timedelta(days=20):%Y-%m-%d}"
    agents = (
        f"agents: {{sql: {{model: '{ARN}'}}}}\n"
        f"models: {{'{ARN}': {{base_model: {SONNET}, retirement_date: {soon}}}}}\n"
    )
    with _manager(folder, agents) as manager:
        _record(manager, model_id=ARN, cache_read_tokens=1_000)
        report = month_report(manager, MONTH)

    masked = ARN.replace("123456789012", "*" * 12)
    assert report.retiring == ({"model": masked, "date": soon, "agents": ["sql"]},)
    assert report.cache[0]["saved_usd"] > 0
    assert "123456789012" not in page_of(report)


def test_models_outside_the_catalog_are_reported_without_a_warning(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with _manager(folder) as manager:
        caplog.clear()
        for model in ("other", "us.", "acme.unknown-v1"):
            _record(manager, model_id=model, cache_read_tokens=5, cost_usd=None)
        report = month_report(manager, MONTH)

    assert [row["saved_usd"] for row in report.cache] == [None] * 3
    assert not [entry for entry in caplog.records if "catalog" in entry.getMessage()]


@pytest.mark.parametrize("back", [LIGHT, DARK])
def test_the_colours_of_the_chart_stand_out_from_the_page(back: str) -> None:
    for colour in (*charts._COLOURS, charts._GREY):
        assert _contrast(colour, back) >= 3, colour


def _contrast(one: str, other: str) -> float:
    darker, lighter = sorted((_luminance(one), _luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(colour: str) -> float:
    """Return the relative luminance of WCAG 2.2."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
