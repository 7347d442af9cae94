"""The agents' tools, which work on the database."""

from __future__ import annotations

import itertools
import json
import math
import statistics
from typing import TYPE_CHECKING, Any, Literal

import networkx as nx
from langchain_core.tools import BaseTool, tool

from examples.supply_chain.database import DAYS, SCHEMA, RefusedQueryError, ask

if TYPE_CHECKING:
    from pathlib import Path

SERVICE_LEVEL_Z = 1.645
"""Standard deviations for a service level of 95 %."""
ORDER_COST = 60.0
"""USD to place one order."""
HOLDING_RATE = 0.25
"""Cost of keeping a unit in stock for a year, as a share of its cost."""


def sql_tools(path: Path) -> list[BaseTool]:
    """Return the tools of the SQL agent."""

    @tool
    def describe_tables() -> str:
        """Return the SQL that made the tables."""
        return SCHEMA

    @tool
    def run_sql(query: str) -> str:
        """Run one SELECT statement and return its rows as JSON."""
        try:
            return json.dumps(ask(path, query))
        except RefusedQueryError as error:
            return str(error)

    return [describe_tables, run_sql]


def inventory_tools(path: Path) -> list[BaseTool]:
    """Return the tools of the inventory optimizer."""

    @tool
    def plan_reorder(product: str) -> str:
        """Return reorder point and order quantity of a product, from its demand history."""
        return json.dumps(reorder_plan(path, product))

    return [plan_reorder]


def logistics_tools(path: Path) -> list[BaseTool]:
    """Return the tools of the logistics planner."""

    @tool
    def plan_route(origin: str, destination: str, by: Literal["hours", "cost"] = "hours") -> str:
        """Return the best route between two warehouses over the graph of lanes."""
        return json.dumps(best_route(path, origin, destination, by))

    return [plan_route]


def supplier_tools(path: Path) -> list[BaseTool]:
    """Return the tools of the supplier analyzer."""

    @tool
    def score_suppliers() -> str:
        """Return every supplier's share of orders on time and of units without defect."""
        return json.dumps(supplier_scores(path))

    return [score_suppliers]


def reorder_plan(path: Path, product: str) -> dict[str, Any]:
    """Return reorder point (units) and economic order quantity (units) of a product.

    Source: reorder point = demand in the lead time + safety stock at 95 %; order quantity by
    Wilson's formula, sqrt(2 x yearly demand x order cost / holding cost).
    """
    found = ask(
        path, "SELECT id, unit_cost, lead_time_days FROM products WHERE name = ?", (product,)
    )
    if not found:
        return {"error": f"no product {product!r}; names are like P-007"}
    known = found[0]
    rows = ask(
        path,
        "SELECT group_concat(total) AS totals FROM (SELECT -SUM(MIN(quantity, 0)) AS total "
        "FROM stock_movements WHERE product_id = ? GROUP BY day)",
        (known["id"],),
    )
    demand = [float(total) for total in rows[0]["totals"].split(",")]
    mean, spread, lead = statistics.mean(demand), statistics.stdev(demand), known["lead_time_days"]
    holding = HOLDING_RATE * known["unit_cost"]
    return {
        "product": product,
        "daily_demand": round(mean, 2),
        "lead_time_days": lead,
        "reorder_point": math.ceil(mean * lead + SERVICE_LEVEL_Z * spread * math.sqrt(lead)),
        "order_quantity": math.ceil(math.sqrt(2 * 365 * mean * ORDER_COST / holding)),
        "days_of_history": DAYS,
    }


def best_route(path: Path, origin: str, destination: str, by: str = "hours") -> dict[str, Any]:
    """Return the route with the least hours or cost, with its legs."""
    graph: nx.DiGraph[str] = nx.DiGraph()
    lanes = ask(
        path,
        "SELECT o.city AS origin, d.city AS destination, hours, cost FROM lanes "
        "JOIN warehouses o ON o.id = origin_id JOIN warehouses d ON d.id = destination_id",
    )
    for lane in lanes:
        graph.add_edge(lane["origin"], lane["destination"], hours=lane["hours"], cost=lane["cost"])
    try:
        stops = nx.shortest_path(graph, origin, destination, weight=by)
    except (nx.NodeNotFound, nx.NetworkXNoPath) as error:
        return {"error": f"{error}; warehouses: {', '.join(sorted(graph))}"}
    legs = [graph.edges[leg] for leg in itertools.pairwise(stops)]
    total = {key: round(sum(leg[key] for leg in legs), 1) for key in ("hours", "cost")}
    return {"stops": stops, **total}


def supplier_scores(path: Path) -> list[dict[str, Any]]:
    """Return a scorecard per supplier, the best first."""
    return ask(
        path,
        "SELECT name, COUNT(*) AS orders, ROUND(AVG(delivered <= promised), 3) AS on_time, "
        "ROUND(1 - 1.0 * SUM(defects) / SUM(quantity), 4) AS without_defect FROM purchase_orders "
        "JOIN suppliers ON suppliers.id = supplier_id GROUP BY name ORDER BY on_time DESC",
    )
