"""Makes the dashboard's graphs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_modelmgr.dashboard.queries import Query, by_model, calls, of_budget, total

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from langchain_modelmgr.dashboard.chains import Chain

MAX_WIDGETS, MAX_METRICS_A_WIDGET, MAX_METRICS = 500, 500, 2_500
"""Limits of a dashboard. Source: AWS, "CloudWatch service quotas", read 2026-11-23."""

_WIDTH, _HEIGHT, _COLUMNS = 8, 6, 24
_FIVE_MINUTES, _DAY = 300, 86_400


def widgets_of(
    chains: Sequence[Chain], namespace: str, budgets: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """Return the widgets, in rows of three, and below them a row of the budgets.

    Args:
        chains: The agents.
        namespace: The namespace of their metrics.
        budgets: The budgets whose use is published.
    """
    bare = [*_overall(chains, namespace), *(w for c in chains for w in _of_agent(c, namespace))]
    placed = []
    for number, widget in enumerate(bare):
        row, column = divmod(number, _COLUMNS // _WIDTH)
        place = {"x": column * _WIDTH, "y": row * _HEIGHT, "width": _WIDTH, "height": _HEIGHT}
        placed.append({"type": "metric", **place, "properties": widget})
    if budgets:
        rows = [
            of_budget(name, f"b{number}").for_graph(namespace, label=name)
            for number, name in enumerate(budgets)
        ]
        place = {"x": 0, "y": _HEIGHT * -(-len(bare) // 3), "width": _COLUMNS, "height": _HEIGHT}
        graph = _graph("Budgets: spent, of the highest key", rows, label="Per cent")
        placed.append({"type": "metric", **place, "properties": graph})
    return placed


def metrics_in(widgets: Sequence[dict[str, Any]]) -> int:
    """Return the number of metrics in all widgets."""
    return sum(len(widget["properties"]["metrics"]) for widget in widgets)


def _overall(chains: Sequence[Chain], namespace: str) -> Iterator[dict[str, Any]]:
    rows: list[list[Any]] = []
    for number, chain in enumerate(chains):
        cost = by_model(chain, "ModelCost", prefix=f"c{number}x", models=chain.models)
        rows += _summed(cost, f"e{number}", chain.agent, namespace)
    yield _graph("Cost by agent, USD a day", rows, period=_DAY, stacked=True)
    models = list(dict.fromkeys(model for chain in chains for model in chain.models))
    rows = []
    for number, model in enumerate(models):
        using = [chain for chain in chains if model in chain.models]
        cost = [
            Query(f"m{number}x{i}", "ModelCost", (("Agent", chain.agent), ("Model", model)))
            for i, chain in enumerate(using)
        ]
        rows += _summed(cost, f"e{number}", model, namespace)
    yield _graph("Cost by model, USD a day", rows, period=_DAY, stacked=True)
    rows = []
    for number, chain in enumerate(chains):
        answered = calls(chain, "true", prefix=f"a{number}x", models=chain.models)
        rows += _summed(answered, f"e{number}", chain.agent, namespace)
    yield _graph("Answers by agent", rows, period=_FIVE_MINUTES, stacked=True)


def _of_agent(chain: Chain, namespace: str) -> Iterator[dict[str, Any]]:
    name, models = chain.agent, chain.models
    rows = [
        Query(f"l{i}x{stat[1:]}", "ModelLatency", (("Agent", name), ("Model", model)), stat)
        .for_graph(namespace, label=f"{stat} {model}")
        for i, model in enumerate(models)
        for stat in ("p50", "p90", "p99")
    ]  # fmt: skip
    yield _graph(f"{name}: latency", rows, label="Milliseconds")
    tokens = [
        query.for_graph(namespace, label=f"{kind} {model}")
        for kind, prefix in (("InputTokens", "i"), ("OutputTokens", "o"))
        for query, model in zip(
            by_model(chain, kind, prefix=prefix, models=models), models, strict=True
        )
    ]
    yield _graph(f"{name}: tokens", tokens, stacked=True)
    failed = calls(chain, "false", prefix="f", models=models)
    answered = calls(chain, "true", prefix="a", models=models)
    invisible = [q.for_graph(namespace, visible=False) for q in (*failed, *answered)]
    every = f"({total(failed)}+{total(answered)})"
    rates = [[{"expression": f"100*{total(failed)}/{every}", "label": "errors", "id": "errors"}]]
    if len(models) > 1:
        share = f"100*{total(answered[1:])}/{total(answered)}"
        rates.append([{"expression": share, "label": "fallbacks", "id": "fallbacks"}])
    yield _graph(f"{name}: errors and fallbacks", [*rates, *invisible], label="Per cent")


def _summed(
    queries: Sequence[Query], expression_id: str, label: str, namespace: str
) -> list[list[Any]]:
    row = {"expression": total(queries), "label": label, "id": expression_id}
    return [[row], *(query.for_graph(namespace, visible=False) for query in queries)]


def _graph(
    title: str,
    rows: list[list[Any]],
    *,
    period: int = _FIVE_MINUTES,
    stacked: bool = False,
    label: str = "",
) -> dict[str, Any]:
    axis = {"left": {"min": 0, **({"label": label, "showUnits": False} if label else {})}}
    return {
        "title": title,
        "view": "timeSeries",
        "stacked": stacked,
        "region": "${AWS::Region}",
        "period": period,
        "metrics": rows,
        "yAxis": axis,
    }
