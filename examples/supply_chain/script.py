"""The local model's script for this application, which covers every path through it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from langchain_modelmgr.local import ScriptedReply

if TYPE_CHECKING:
    from langchain_modelmgr.local import ScriptedRequest

_TOPICS = {
    "sql_agent": ("inventory", "stock", "level"),
    "inventory_optimizer": ("reorder", "order point", "how much"),
    "logistics_planner": ("route", "ship", "fastest", "cheapest"),
    "supplier_analyzer": ("supplier", "punctual", "defect"),
}
LEVELS = (
    "SELECT city, SUM(quantity) AS units FROM stock_movements "
    "JOIN warehouses ON warehouses.id = warehouse_id GROUP BY city ORDER BY city"
)


def supply_chain_model(request: ScriptedRequest) -> ScriptedReply | None:
    """Route by keywords, call the agent's tool, and answer with its result."""
    names = [tool["name"] for tool in request.tools]
    prompt = request.prompt.lower()
    if names == ["Routing"]:
        agents = [name for name, words in _TOPICS.items() if any(w in prompt for w in words)]
        return ScriptedReply(tool_calls=[("Routing", {"agents": agents or ["sql_agent"]})])
    if request.tool_results:
        return ScriptedReply(text=f"From the data: {request.tool_results[-1]}")
    for name, arguments in _calls(request.prompt):
        if name in names:
            return ScriptedReply(tool_calls=[(name, arguments)])
    return None


def _calls(prompt: str) -> list[tuple[str, dict[str, Any]]]:
    product = re.search(r"P-\d{3}", prompt)
    cities = re.findall(r"\b(Hamburg|Rotterdam|Trieste|Lyon|Gdansk|Porto)\b", prompt)
    by = "cost" if "cheapest" in prompt.lower() else "hours"
    route = {"origin": cities[0], "destination": cities[-1], "by": by} if cities else {}
    return [
        ("run_sql", {"query": LEVELS}),
        ("plan_reorder", {"product": product[0] if product else "P-001"}),
        ("plan_route", route),
        ("score_suppliers", {}),
    ]
