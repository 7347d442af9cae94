"""Checks each agent's chain: parameters, guardrails, geography, capabilities and duplicates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_modelmgr.catalog.geography import Place, place_of, why_outside
from langchain_modelmgr.config.parameters import misfits
from langchain_modelmgr.config.schema import FallbackConfig
from langchain_modelmgr.config.yaml_tree import Located, Problem
from langchain_modelmgr.runtime.masking import mask_account_ids

if TYPE_CHECKING:
    from collections.abc import Iterator

    from langchain_modelmgr.catalog import ModelCatalog, ModelConfig
    from langchain_modelmgr.config.schema import AgentConfig, ConfigFile


def problems_of_chains(file: ConfigFile, tree: Located, catalog: ModelCatalog) -> Iterator[Problem]:
    """Yield what is wrong between an agent's model and its fallbacks.

    Args:
        file: The configuration.
        tree: Its tree, for files and lines.
        catalog: The models, with the configuration's own facts.
    """
    for name, agent in file.agents.items():
        at = tree.value["agents"].value[name]
        primary = agent.model or file.default_model
        if primary is None:
            text = f"agents.{name}: no model: set model, or agents.default_model"
            yield Problem(at.file, at.line, text)
            continue
        for parameter, text in misfits(agent.parameters, agent.parameters, catalog.get(primary)):
            yield _at_parameter(at, f"agents.{name}", parameter, text)
        earlier = [agent.candidate_key(FallbackConfig(model=primary), file.aws.region)]
        home = place_of(catalog.look_up(primary), file.aws.region)
        for i, fallback in enumerate(agent.fallbacks or ()):
            request = agent.candidate_key(fallback, file.aws.region)
            place = at.value["fallbacks"].value[i]
            path = f"agents.{name}.fallbacks[{i}]"
            if request in earlier:
                text = f"{path}: this model is already in the chain with the same parameters"
                yield Problem(place.file, place.line, text)
            earlier.append(request)
            everything = {**agent.parameters, **fallback.parameters}
            model = catalog.get(fallback.model)
            for parameter, text in misfits(fallback.parameters, everything, model):
                yield _at_parameter(place, path, parameter, text)
            if "guardrail_config" in fallback.parameters and _guarded(agent) != _guarded(fallback):
                text = f"{path}.parameters: guardrail_config: must be the agent's guardrail"
                yield Problem(place.file, place.line, text)
            there = _place(file, catalog, fallback)
            if wrong := why_outside(home, there):
                yield Problem(place.file, place.line, f"{path}: {wrong}")
            for wrong in _falls_short(agent, catalog.get(fallback.model)):
                yield Problem(place.file, place.line, f"{path}: {wrong}")


def _at_parameter(candidate: Located, path: str, key: str, text: str) -> Problem:
    at = candidate.value["parameters"].value[key]
    return Problem(at.file, at.line, f"{path}.parameters.{key}: {text}")


def _falls_short(agent: AgentConfig, model: ModelConfig | None) -> Iterator[str]:
    """Yield a text for each capability that the agent requires and the model lacks."""
    for needed in agent.requires:
        if model is not None and getattr(model, f"supports_{needed}") is False:
            text = f"does not support {needed.replace('_', ' ')}, which the agent requires"
            yield f"{mask_account_ids(model.model_id)} {text}"


def _guarded(agent: AgentConfig | FallbackConfig) -> Any:
    return agent.parameters.get("guardrail_config")


def _place(file: ConfigFile, catalog: ModelCatalog, fallback: FallbackConfig) -> Place:
    model = catalog.look_up(fallback.model, fallback.base_model)
    return place_of(model, fallback.region or file.aws.region)
