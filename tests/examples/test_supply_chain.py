"""The guide's application: data, tools, agents, orchestrator."""

from __future__ import annotations

import sqlite3
import statistics
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage

from examples.supply_chain.__main__ import QUESTIONS
from examples.supply_chain.agents.registry import REGISTRY, build_agents
from examples.supply_chain.database import RefusedQueryError, ask, generate
from examples.supply_chain.orchestrator import (
    PERSONAS,
    SupplyChainOrchestrator,
    UnknownPersonaError,
)
from examples.supply_chain.script import supply_chain_model
from examples.supply_chain.tools import best_route, reorder_plan, sql_tools, supplier_scores
from tests.models import HAIKU, SONNET

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from langchain_modelmgr.local import LocalAWS


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "supply_chain.db"
    generate(path)
    return path


@pytest.fixture
def app(
    database: Path, local_aws: LocalAWS, monkeypatch: pytest.MonkeyPatch
) -> Iterator[SupplyChainOrchestrator]:
    for name, value in local_aws.env().items():
        monkeypatch.setenv(name, value)
    local_aws.script(supply_chain_model)
    with SupplyChainOrchestrator("dev", database) as application:
        yield application


def counts(path: Path) -> dict[str, int]:
    names = [r["name"] for r in ask(path, "SELECT name FROM sqlite_master WHERE type = 'table'")]
    return {n: ask(path, f"SELECT COUNT(*) AS n FROM {n}")[0]["n"] for n in names}  # noqa: S608


def test_the_data_are_the_same_for_the_same_seed(database: Path, tmp_path: Path) -> None:
    generate(tmp_path / "again.db")
    generate(tmp_path / "other.db", seed=8)

    total = "SELECT SUM(quantity * id) AS total FROM stock_movements"
    assert ask(tmp_path / "again.db", total) == ask(database, total)
    assert ask(tmp_path / "other.db", total) != ask(database, total)
    assert sum(counts(database).values()) > 40_000
    assert counts(database)["products"] == 60


@pytest.mark.parametrize(
    "query",
    [
        "DELETE FROM products",
        "INSERT INTO warehouses VALUES (9, 'X')",
        "DROP TABLE lanes",
        "ATTACH DATABASE '/tmp/x.db' AS x",
        "PRAGMA journal_mode = DELETE",
        "SELECT 1; SELECT 2",
        "SELEC 1",
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT COUNT(*) FROM n",
        "SELECT * FROM products",
    ],
)
def test_a_query_that_is_not_a_small_read_is_refused_with_its_reason(
    database: Path, query: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("examples.supply_chain.database.MAX_SECONDS", 0.2)
    before = counts(database)

    with pytest.raises(RefusedQueryError, match="refused: "):
        ask(database, query)

    text = next(t for t in sql_tools(database) if t.name == "run_sql").invoke({"query": query})
    assert text.startswith("refused: ")
    assert counts(database) == before


def test_a_reorder_plan_follows_from_the_demand(database: Path) -> None:
    plan = reorder_plan(database, "P-007")

    with sqlite3.connect(database) as db:
        rows = db.execute(
            "SELECT day, quantity FROM stock_movements WHERE product_id = 7"
        ).fetchall()
        (cost, lead) = db.execute(
            "SELECT unit_cost, lead_time_days FROM products WHERE id = 7"
        ).fetchone()
    db.close()
    by_day: dict[str, float] = {}
    for day, quantity in rows:
        by_day[day] = by_day.get(day, 0.0) - min(quantity, 0)
    mean, spread = statistics.mean(by_day.values()), statistics.stdev(by_day.values())
    assert plan["reorder_point"] == -(-(mean * lead + 1.645 * spread * lead**0.5) // 1)
    assert plan["order_quantity"] == -(-((2 * 365 * mean * 60 / (0.25 * cost)) ** 0.5) // 1)
    assert "error" in reorder_plan(database, "P-999")


def test_a_route_is_the_best_for_the_question(database: Path) -> None:
    fastest = best_route(database, "Hamburg", "Lyon", "hours")
    cheapest = best_route(database, "Hamburg", "Lyon", "cost")

    assert fastest["stops"][0] == "Hamburg"
    assert fastest["stops"][-1] == "Lyon"
    assert fastest["hours"] <= cheapest["hours"]
    assert cheapest["cost"] <= fastest["cost"]
    assert "warehouses: Gdansk" in best_route(database, "Hamburg", "Atlantis")["error"]


def test_suppliers_are_scored_best_first(database: Path) -> None:
    scores = supplier_scores(database)

    assert len(scores) == 8
    assert [s["on_time"] for s in scores] == sorted((s["on_time"] for s in scores), reverse=True)
    assert all(0 < s["without_defect"] <= 1 for s in scores)


def test_the_guides_question_is_answered_and_paid_for(app: SupplyChainOrchestrator) -> None:
    result = app.process_query(
        query="Show me inventory levels", persona="warehouse_manager", session_id="session-123"
    )

    assert "Hamburg" in result["answer"]
    assert result["agents"] == ["sql_agent"]
    assert (result["models"], result["fallbacks"]) == ([SONNET], 0)
    assert result["session_id"] == "session-123"
    summary = app.manager.get_usage_summary()
    assert result["cost_usd"] == pytest.approx(summary["total_cost_usd"])
    assert result["tokens"] == summary["total_tokens"] > 0
    assert set(summary["by_agent"]) == {"orchestrator", "sql_agent"}


def test_a_question_may_need_several_agents_and_a_fallback(
    app: SupplyChainOrchestrator, local_aws: LocalAWS
) -> None:
    local_aws.fail(HAIKU, "ThrottlingException", times=1)

    result = app.process_query(QUESTIONS[2][1], "procurement_manager", "s")

    assert result["agents"] == ["inventory_optimizer", "supplier_analyzer"]
    assert len(result["answer"].splitlines()) == 2
    assert result["fallbacks"] == 1


def test_a_persona_reaches_only_its_agents(app: SupplyChainOrchestrator) -> None:
    result = app.process_query("Which supplier is punctual?", "warehouse_manager", "s")

    assert set(result["agents"]) <= set(PERSONAS["warehouse_manager"])
    with pytest.raises(UnknownPersonaError, match="known: warehouse_manager"):
        app.process_query("x", "intern", "s")


def test_a_session_remembers_whole_turns_and_no_more(
    app: SupplyChainOrchestrator, local_aws: LocalAWS
) -> None:
    for i in range(8):
        app.process_query(f"Show me inventory levels, time {i}", "warehouse_manager", "long")
    app.process_query("Show me inventory levels", "warehouse_manager", "other")

    sent = [c.body["messages"] for c in local_aws.calls(SONNET)]
    turns = [sum("text" in m["content"][0] for m in ms if m["role"] == "user") for ms in sent]
    assert max(turns) == app.manager.config.context_window_size == 5
    assert turns[-1] == 1


def test_a_tool_call_and_its_result_stay_together(
    app: SupplyChainOrchestrator, database: Path
) -> None:
    agent = build_agents(app.manager, database)["sql_agent"]
    call = {"name": "run_sql", "args": {}, "id": "1"}
    turn: list[Any] = [
        HumanMessage("q"),
        AIMessage("", tool_calls=[call]),
        ToolMessage("r", tool_call_id="1"),
        AIMessage("a"),
    ]
    agent._sessions["s"] = turn * 7

    assert len(agent._remembered("s")) == 4 * (agent._turns - 1)


def test_every_agent_of_the_registry_is_built(app: SupplyChainOrchestrator, database: Path) -> None:
    assert set(build_agents(app.manager, database)) == set(REGISTRY)
