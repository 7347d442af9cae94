"""MonthReport: what the agents of one environment used and cost in a month, from the ledger."""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import asdict, dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from langchain_modelmgr.errors import BudgetStoreError, ConfigurationError
from langchain_modelmgr.ledger.query import usages_of
from langchain_modelmgr.report.cache_savings import cache_rows
from langchain_modelmgr.usage.pricing import TokenCounts, cost_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from langchain_modelmgr.catalog import ModelConfig
    from langchain_modelmgr.manager import ModelManager

    _Facts = dict[str, ModelConfig]

RETIRING_DAYS = 90
"""Models whose end is at most so many days away are listed."""

_QUERIES: tuple[dict[str, Any], ...] = (
    {"by": ("day", "agent")},
    {"by": "agent"},
    {"by": "model"},
    {"by": ("agent", "model"), "where": {"outcome": "answered", "is_fallback": 1}},
    {"by": (), "where": {"outcome": "answered"}},
    {"by": ("agent", "model"), "where": {"outcome": ("failed", "aborted", "lost")}},
)

_MONTH = re.compile(r"\d{4}-(0[1-9]|1[0-2])")


@dataclass(frozen=True, slots=True)
class MonthReport:
    """The figures of a month. Money is Decimal, in USD; None is unknown.

    Attributes:
        month: ``2026-11``.
        environment: The configuration's environment.
        days: The days of the month up to now.
        spend: ``day``, ``agent``, ``cost_usd``, ``unpriced``, for days with usage.
        agents: By agent, the most expensive first: the figures of ``ModelManager.usage``, and
            ``unpriced_waste``: attempts without an answer, of models without a known price, which
            ``estimated_wasted_cost_usd`` leaves out. Bedrock bills some of them.
        models: The same by model.
        fallbacks: ``agent``, ``model``, ``answers`` of fallback models, their ``cost_usd``, and
            ``unpriced``, the answers that it leaves out.
        answers: Attempts that were answered.
        cache: By model with a prompt cache in use: ``hit_rate`` and ``saved_usd``.
        budgets: The budgets now; only for the current month.
        budgets_unknown: Why they are not known; empty: they are.
        prices: ``model`` and ``reason``: prices that are disputed or unknown.
        retiring: ``model``, ``date`` and ``agents``: models that end within 90 days, or have ended.
        totals: The figures over all agents.
    """

    month: str
    environment: str
    days: tuple[str, ...]
    spend: tuple[dict[str, Any], ...]
    agents: tuple[dict[str, Any], ...]
    models: tuple[dict[str, Any], ...]
    fallbacks: tuple[dict[str, Any], ...]
    answers: int
    cache: tuple[dict[str, Any], ...]
    prices: tuple[dict[str, Any], ...]
    retiring: tuple[dict[str, Any], ...]
    totals: dict[str, Any]
    budgets: tuple[dict[str, Any], ...] = ()
    budgets_unknown: str = ""
    made: dt.datetime = field(default_factory=lambda: dt.datetime.now(dt.UTC))

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON; money is text with all its digits."""
        plain: dict[str, Any] = _texts(asdict(self))
        return plain


def month_report(manager: ModelManager, month: str) -> MonthReport:
    """Return the report of a month.

    Args:
        manager: The manager of the configuration.
        month: ``2026-11``, in UTC.

    Raises:
        ConfigurationError: The month is not valid, or is in the future.
        LedgerError: The ledger can't be read.
    """
    now = dt.datetime.now(dt.UTC)
    if not _MONTH.fullmatch(month) or month > f"{now:%Y-%m}":
        raise ConfigurationError(
            f"month {month!r} is not valid: use a month up to the current one, such as {now:%Y-%m}"
        )
    try:
        by_day, agents, models, fallbacks, answered, broken = usages_of(
            manager.ledger, month, _QUERIES
        )
    except ValueError as error:
        raise ConfigurationError(str(error)) from error
    chains = _chains(manager)
    facts = {name: model for _, name, model in chains}
    unpriced = [row for row in broken if not _has_price(_model(manager, facts, row["model"]))]
    budgets, unknown = _budgets(manager) if month == f"{now:%Y-%m}" else ((), "")
    return MonthReport(
        month=month,
        environment=manager.config.environment,
        days=tuple(_days(month, now)),
        spend=tuple(_picked(row, "day", "agent", "cost_usd", "unpriced") for row in by_day),
        agents=_dearest(_with_unpriced_waste(agents.rows, unpriced, "agent")),
        models=_dearest(_with_unpriced_waste(models.rows, unpriced, "model")),
        fallbacks=tuple(
            {
                **_picked(row, "agent", "model", "cost_usd", "unpriced"),
                "answers": row["attempts"],
            }
            for row in _dearest(fallbacks.rows)
        ),
        answers=answered.totals["attempts"],
        cache=cache_rows(models.rows, lambda name: _model(manager, facts, name)),
        prices=tuple(_prices(manager, facts, models.rows)),
        retiring=tuple(_retiring(manager, chains, models.rows, now.date())),
        totals={**agents.totals, "unpriced_waste": sum(row["attempts"] for row in unpriced)},
        budgets=budgets,
        budgets_unknown=unknown,
        made=now,
    )


def _days(month: str, now: dt.datetime) -> Iterator[str]:
    day = dt.date.fromisoformat(f"{month}-01")
    while f"{day:%Y-%m}" == month and day <= now.date():
        yield day.isoformat()
        day += dt.timedelta(days=1)


def _dearest(rows: Iterable[dict[str, Any]]) -> tuple[dict[str, Any], ...]:
    return tuple(sorted(rows, key=lambda row: row["cost_usd"], reverse=True))


def _has_price(model: ModelConfig | None) -> bool:
    return model is not None and cost_of(TokenCounts(1, 1, 0, 0), model) is not None


def _with_unpriced_waste(
    rows: Iterable[dict[str, Any]], unpriced: Iterable[dict[str, Any]], key: str
) -> Iterator[dict[str, Any]]:
    counts: dict[str, int] = {}
    for row in unpriced:
        counts[row[key]] = counts.get(row[key], 0) + row["attempts"]
    for row in rows:
        yield {**row, "unpriced_waste": counts.get(row[key], 0)}


def _picked(row: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: row[name] for name in names}


def _chains(manager: ModelManager) -> list[tuple[str, str, ModelConfig]]:
    """Return agent, model id as the ledger has it, and facts, of each model of each chain."""
    return [
        (name, candidate.public_id, candidate.settings.model)
        for name in manager.config.enabled_agents
        for candidate in manager.agent(name).chain().candidates
    ]


def _model(manager: ModelManager, facts: _Facts, model_id: str) -> ModelConfig | None:
    """Return the facts of a recorded model; None: they are unknown.

    The ledger masks the account id of an ARN, so that only the chains have the facts of an ARN.
    """
    model = facts.get(model_id)
    return model if model is not None and model.in_catalog else manager.catalog.get(model_id)


def _prices(
    manager: ModelManager, facts: _Facts, rows: Iterable[dict[str, Any]]
) -> Iterator[dict[str, Any]]:
    for row in rows:
        model = _model(manager, facts, row["model"])
        if row["unpriced"]:
            reason = f"unknown for {row['unpriced']:,} answers, which the cost leaves out"
            yield {"model": row["model"], "reason": reason}
        if model is not None and model.price_disputed:
            yield {"model": row["model"], "reason": f"disputed: {model.price_disputed}"}


def _retiring(
    manager: ModelManager,
    chains: list[tuple[str, str, ModelConfig]],
    rows: Iterable[dict[str, Any]],
    today: dt.date,
) -> Iterator[dict[str, Any]]:
    agents: dict[str, list[str]] = {row["model"]: [] for row in rows}
    for agent, model_id, _ in chains:
        agents.setdefault(model_id, []).append(agent)
    facts = {model_id: model for _, model_id, model in chains}
    for model_id, names in sorted(agents.items()):
        model = _model(manager, facts, model_id)
        end = None if model is None else model.retirement_date
        if end is None or dt.date.fromisoformat(end) - today > dt.timedelta(days=RETIRING_DAYS):
            continue
        yield {"model": model_id, "date": end, "agents": names}


def _budgets(manager: ModelManager) -> tuple[tuple[dict[str, Any], ...], str]:
    try:
        return tuple(asdict(status) for status in manager.budget_status()), ""
    except BudgetStoreError as error:
        return (), str(error)


def _texts(value: Any) -> Any:
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, dt.datetime):
        return value.isoformat()
    if isinstance(value, dict):
        return {key: _texts(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_texts(entry) for entry in value]
    return value
