"""The chart of a report as SVG, without a script: it prints, and has the page's text colour."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from langchain_modelmgr.report.month import MonthReport

OTHERS = "other agents"

_COLOURS = ("#4c78a8", "#d2701a", "#54a24b", "#b0699f", "#d9534f", "#3a958d", "#9d755d")
"""Each has a contrast of at least 3:1 with the page, light and dark (WCAG 2.2, 1.4.11)."""

_SCHEMA = "https://vega.github.io/schema/vega-lite/v5.json"
"""Names the language; nothing is read from there."""

_GREY = "#8a8a8a"
_TEXT = "currentColor"
_GRID = "#8884"
_WIDTH, _HEIGHT = 640, 220


def colours_of(report: MonthReport) -> dict[str, str]:
    """Return the colour of each agent in the chart; those that spent least share one."""
    named = [row["agent"] for row in report.agents[: len(_COLOURS)]]
    found = dict(zip(named, _COLOURS, strict=False))
    return found if len(report.agents) == len(named) else {**found, OTHERS: _GREY}


def spend_by_day(report: MonthReport) -> str:
    """Return the spend by day, stacked by agent. The page has the legend."""
    colours = colours_of(report)
    spent: dict[tuple[str, str], float] = {}
    for row in report.spend:
        name = row["agent"] if row["agent"] in colours else OTHERS
        spent[row["day"], name] = spent.get((row["day"], name), 0.0) + float(row["cost_usd"])
    values = [
        {"day": day, "agent": name, "usd": spent.get((day, name), 0.0), "order": order}
        for day in report.days
        for order, name in enumerate(colours)
    ]
    scale = {"domain": list(colours), "range": list(colours.values())}
    return _svg(
        {
            "data": {"values": values},
            "mark": "bar",
            "width": _WIDTH,
            "height": _HEIGHT,
            "encoding": {
                "x": {
                    "field": "day",
                    "type": "ordinal",
                    "title": "day",
                    "axis": {"labelExpr": "slice(datum.value, 8)", "labelAngle": 0},
                },
                "y": {"aggregate": "sum", "field": "usd", "type": "quantitative", "title": "USD"},
                "color": {"field": "agent", "type": "nominal", "scale": scale, "legend": None},
                "order": {"field": "order", "type": "quantitative"},
            },
        }
    )


def _svg(chart: dict[str, Any]) -> str:
    """Return a chart as SVG; vl-convert draws it in this process, without a network."""
    import vl_convert

    axis = {
        "labelColor": _TEXT,
        "titleColor": _TEXT,
        "domainColor": _GREY,
        "tickColor": _GREY,
        "gridColor": _GRID,
        "labelFontSize": 11,
        "titleFontSize": 12,
    }
    config = {
        "background": "transparent",
        "view": {"stroke": None},
        "axis": axis,
    }
    svg: str = vl_convert.vegalite_to_svg({**chart, "$schema": _SCHEMA, "config": config})
    return svg
