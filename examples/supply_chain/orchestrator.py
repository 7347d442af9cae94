"""SupplyChainOrchestrator: routes a question to the agents that its persona may use."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, Field

from examples.supply_chain.agents.base_agent import CONFIG
from examples.supply_chain.agents.registry import REGISTRY, build_agents
from examples.supply_chain.database import generate
from langchain_modelmgr import ConfigurationManager, ModelManager

ROUTER = "orchestrator"
"""The agent in the YAML that routes questions."""

PERSONAS: dict[str, tuple[str, ...]] = {
    "warehouse_manager": ("sql_agent", "inventory_optimizer"),
    "logistics_manager": ("sql_agent", "logistics_planner"),
    "procurement_manager": ("sql_agent", "inventory_optimizer", "supplier_analyzer"),
    "analyst": tuple(REGISTRY),
}


class Routing(BaseModel):
    """The agents that a question needs."""

    agents: list[str] = Field(min_length=1, description="Names of agents, in the order to ask")


class UnknownPersonaError(ValueError):
    """Raised if a persona is unknown."""


class SupplyChainOrchestrator:
    """The application: one manager and four agents that answer questions.

    Args:
        environment: ``config/<environment>.yaml``; None: ``MODELMGR_ENV``, else ``dev``.
        database: The SQLite database; None makes one.
    """

    def __init__(self, environment: str | None = None, database: Path | None = None) -> None:
        folder = os.environ.get("MODELMGR_CONFIG_DIR") or CONFIG
        self.manager = ModelManager(ConfigurationManager(environment, folder))
        self._folder = None if database else tempfile.TemporaryDirectory()
        if database is None:
            database = Path(self._folder.name if self._folder else ".") / "supply_chain.db"
            generate(database)
        self._agents = build_agents(self.manager, database)
        self._router = self.manager.chat_model(ROUTER).with_structured_output(Routing)

    def process_query(self, query: str, persona: str, session_id: str) -> dict[str, Any]:
        """Answer a question for a persona within its session.

        Returns:
            ``answer``; ``agents`` called; ``models`` that answered them; ``fallbacks``, calls that
            another than the primary answered; ``tokens`` and ``cost_usd`` of the whole question.

        Raises:
            UnknownPersonaError: The persona is unknown.
            ModelManagerError: No model could answer.
        """
        if persona not in PERSONAS:
            raise UnknownPersonaError(f"unknown persona {persona!r}; known: {', '.join(PERSONAS)}")
        with self.manager.track() as usage:
            routed = self._route(query, persona)
            context = {"persona": persona}
            answers = {n: self._agents[n].process_query(query, session_id, context) for n in routed}
        totals = usage.as_dict()
        return {
            "answer": "\n".join(a["response"] for a in answers.values()),
            "agents": list(answers),
            "models": list(dict.fromkeys(m for a in answers.values() for m in a["models"])),
            "fallbacks": totals["fallbacks"],
            "tokens": usage.total_tokens,
            "cost_usd": usage.total_cost_usd,
            "session_id": session_id,
        }

    def close(self) -> None:
        """Deliver metrics and remove the database that was made."""
        self.manager.close()
        if self._folder is not None:
            self._folder.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _route(self, query: str, persona: str) -> list[str]:
        """Return the agents to ask: the model's choice among those that the persona may use."""
        seen = [name for name in PERSONAS[persona] if name in self._agents]
        offered = "\n".join(f"{name}: {REGISTRY[name][0].purpose}" for name in seen)
        routing = self._router.invoke(
            [("system", f"Choose the agents that the question needs.\n{offered}"), ("user", query)]
        )
        chosen = [name for name in dict.fromkeys(routing.agents) if name in seen]
        return chosen or seen[:1]
