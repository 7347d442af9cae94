"""The four agents of the guide's selection guidelines, by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from examples.supply_chain import tools
from examples.supply_chain.agents.base_agent import BaseAgent

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from langchain_core.tools import BaseTool

    from langchain_modelmgr import ModelManager


class SqlAgent(BaseAgent):
    """Answers from the database, in SQL."""

    name: ClassVar[str] = "sql_agent"
    purpose: ClassVar[str] = "You answer questions about stock and inventory levels in SQL."


class InventoryOptimizer(BaseAgent):
    """Says when and how much to reorder."""

    name: ClassVar[str] = "inventory_optimizer"
    purpose: ClassVar[str] = "You plan when to reorder a product, and how much."


class LogisticsPlanner(BaseAgent):
    """Finds routes."""

    name: ClassVar[str] = "logistics_planner"
    purpose: ClassVar[str] = "You plan the route of a shipment between warehouses."


class SupplierAnalyzer(BaseAgent):
    """Judges suppliers."""

    name: ClassVar[str] = "supplier_analyzer"
    purpose: ClassVar[str] = "You judge suppliers by punctuality and defects."


REGISTRY: dict[str, tuple[type[BaseAgent], Callable[[Path], list[BaseTool]]]] = {
    SqlAgent.name: (SqlAgent, tools.sql_tools),
    InventoryOptimizer.name: (InventoryOptimizer, tools.inventory_tools),
    LogisticsPlanner.name: (LogisticsPlanner, tools.logistics_tools),
    SupplierAnalyzer.name: (SupplierAnalyzer, tools.supplier_tools),
}


def build_agents(manager: ModelManager, database: Path) -> dict[str, BaseAgent]:
    """Return every agent that the configuration enables."""
    return {
        name: agent(manager, make_tools(database))
        for name, (agent, make_tools) in REGISTRY.items()
        if name in manager.config.enabled_agents
    }
