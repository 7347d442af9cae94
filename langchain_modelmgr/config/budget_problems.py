"""Checks the budgets against the agents and the models."""

from __future__ import annotations

from typing import TYPE_CHECKING

from langchain_modelmgr.config.problems import nearest
from langchain_modelmgr.config.yaml_tree import Located, Problem

if TYPE_CHECKING:
    from collections.abc import Iterator

    from langchain_modelmgr.catalog import ModelCatalog
    from langchain_modelmgr.config.schema import ConfigFile


def problems_of_budgets(
    file: ConfigFile, tree: Located, catalog: ModelCatalog
) -> Iterator[Problem]:
    """Yield what is wrong between budgets, agents and models.

    Args:
        file: The configuration.
        tree: Its tree, for files and lines.
        catalog: The models, with the configuration's own facts.
    """
    for name, budget in file.budgets.items():
        at: Located = tree.value["budgets"].value[name]
        unknown = () if file.allow_unknown else budget.agent
        for agent in unknown:
            if agent not in file.agents:
                text = f"budgets.{name}.agent: unknown agent {agent!r}{nearest(agent, file.agents)}"
                yield Problem(at.file, at.value["agent"].line, text)
        target = budget.degrade_to
        if target is None or target.service_tier in (None, "default"):
            continue
        model = catalog.get(target.model)
        tiers = None if model is None else model.accepted_service_tiers
        if tiers is not None and target.service_tier not in tiers:
            text = (
                f"budgets.{name}.degrade_to: service_tier: the model accepts "
                f"{', '.join(tiers) or 'none'}"
            )
            yield Problem(at.file, at.value["degrade_to"].line, text)
