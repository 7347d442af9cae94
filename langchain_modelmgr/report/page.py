"""The page of a report: one HTML file that loads nothing."""

from __future__ import annotations

from importlib import resources
from typing import TYPE_CHECKING, Any

from langchain_modelmgr.errors import ModelManagerError
from langchain_modelmgr.report import charts
from langchain_modelmgr.runtime.money_text import usd

if TYPE_CHECKING:
    from collections.abc import Mapping
    from decimal import Decimal

    from langchain_modelmgr.report.month import MonthReport

_MISSING = "modelmgr report needs jinja2 and vl-convert-python: {}"
_INSTALL = "pip install 'langchain-modelmgr[report]'"


def page_of(report: MonthReport) -> str:
    """Return the page.

    Raises:
        ModelManagerError: The extra ``report`` is not installed.
    """
    try:
        import jinja2
        import vl_convert as _vl_convert  # noqa: F401 - only to say what is missing
    except ImportError:
        raise ModelManagerError(_MISSING.format(_INSTALL)) from None
    text = resources.files(__package__).joinpath("page.html.j2").read_text("utf-8")
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(usd=_usd, percent=_percent, count=_count)
    slowest = sorted(
        (row for row in report.agents if row["average_latency_ms"] is not None),
        key=lambda row: row["average_latency_ms"],
        reverse=True,
    )
    by_day = {
        day: {row["agent"]: row for row in report.spend if row["day"] == day} for day in report.days
    }
    return environment.from_string(text).render(
        report=report,
        chart=charts.spend_by_day(report) if report.agents else "",
        colours=charts.colours_of(report),
        slowest=slowest,
        by_day=by_day,
        share=_share,
        cost=_cost,
        known_cost=_known_cost,
        wasted=_wasted,
    )


def _usd(amount: Decimal | None) -> str:
    if amount is None:
        return "unknown"
    return usd(amount) if amount >= 0 else f"-{usd(amount.copy_abs())}"


def _known_cost(row: Mapping[str, Any]) -> str:
    """Return the cost of the answers of a row that have a price; ``unknown`` if none has one."""
    return "unknown" if row["unpriced"] and not row["cost_usd"] else _usd(row["cost_usd"])


def _cost(row: Mapping[str, Any]) -> str:
    """Return the cost of a row, and how many of its answers it leaves out."""
    if not row["unpriced"]:
        return _usd(row["cost_usd"])
    left_out = f"{row['unpriced']:,} without a price"
    return f"{_usd(row['cost_usd'])}, {left_out}" if row["cost_usd"] else f"unknown: {left_out}"


def _wasted(row: Mapping[str, Any]) -> str:
    """Return the estimated waste of a row, and how many of its requests it leaves out."""
    amount, left_out = row["estimated_wasted_cost_usd"], row["unpriced_waste"]
    if not left_out:
        return _usd(amount)
    text = f"{left_out:,} without a price"
    return f"{_usd(amount)}, {text}" if amount else f"unknown: {text}"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"


def _count(number: float | None) -> str:
    return "-" if number is None else f"{number:,.0f}"


def _share(part: Decimal | float, whole: Decimal | float) -> float | None:
    return float(part) / float(whole) if whole else None
