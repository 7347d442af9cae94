"""What changes for an agent when one model takes the place of another."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from langchain_modelmgr.chain.builder import NO_OVERRIDES
from langchain_modelmgr.chain.check import check_chain
from langchain_modelmgr.cli.model_facts import ABILITIES
from langchain_modelmgr.cli.values import UNKNOWN, per_million

if TYPE_CHECKING:
    from collections.abc import Iterator

    from langchain_modelmgr.catalog import ModelConfig
    from langchain_modelmgr.manager import ModelManager


def changes(
    manager: ModelManager, agent: str, old: ModelConfig, successor: str
) -> Iterator[tuple[str, list[str]]]:
    """Yield what breaks or changes, by kind: ``problem``, ``warning``, ``parameters``, ...

    Args:
        manager: A manager of the agent's configuration.
        agent: The agent.
        old: The model.
        successor: The id of the model that takes its place.
    """
    new = manager.catalog.look_up(successor)
    candidates = manager.chains.chain(agent, NO_OVERRIDES, successor).candidates
    config, serves_retired = manager.config, manager.chains.serves_retired
    check = check_chain(agent, config, candidates, serves_retired, None)[0]
    found = {
        "problem": list(check.problems),
        "warning": list(check.warnings),
        "parameters": list(_parameters(old, new)),
        "tool choices": list(_tool_choices(old, new)),
        "abilities": list(_abilities(old, new)),
        "window": list(_window(manager, agent, old, new)),
        "price": list(_prices(old, new)),
    }
    yield from ((kind, texts) for kind, texts in found.items() if texts)


def _parameters(old: ModelConfig, new: ModelConfig) -> Iterator[str]:
    if refused := [p for p in new.refused_parameters if p not in old.refused_parameters]:
        yield f"no longer takes {', '.join(refused)}"
    if new.exclusive_parameters and new.exclusive_parameters != old.exclusive_parameters:
        yield f"takes only one of {', '.join(new.exclusive_parameters)}"
    if old.supports_prefill is not False and new.supports_prefill is False:
        yield "no longer takes a conversation that ends with the beginning of its answer"


def _tool_choices(old: ModelConfig, new: ModelConfig) -> Iterator[str]:
    if old.tool_choices is None or new.tool_choices is None:
        return
    if lost := [choice for choice in old.tool_choices if choice not in new.tool_choices]:
        yield f"no longer takes {', '.join(lost)}"


def _abilities(old: ModelConfig, new: ModelConfig) -> Iterator[str]:
    able = (
        name
        for name in ABILITIES
        if getattr(old, f"supports_{name}") and getattr(new, f"supports_{name}") is False
    )
    if lost := [name.replace("_", " ") for name in able]:
        yield f"no longer takes {', '.join(lost)}"


def _window(manager: ModelManager, agent: str, old: ModelConfig, new: ModelConfig) -> Iterator[str]:
    for name, before, after in (
        ("context window", old.context_window, new.context_window),
        ("output limit", old.max_tokens, new.max_tokens),
    ):
        if before and after and before != after:
            yield f"{name} of {after:,} tokens, was {before:,}"
    wanted = manager.config.agent(agent).max_tokens
    if wanted and new.max_tokens and wanted > new.max_tokens:
        yield f"max_tokens {wanted:,} is capped at {new.max_tokens:,}"


def _prices(old: ModelConfig, new: ModelConfig) -> Iterator[str]:
    for name, before, after in (
        ("input", old.cost_per_1k_input_tokens, new.cost_per_1k_input_tokens),
        ("output", old.cost_per_1k_output_tokens, new.cost_per_1k_output_tokens),
    ):
        if before != after:
            yield (
                f"{name} ${per_million(after)} per million tokens, was ${per_million(before)}"
                f"{_percent(before, after)}"
            ).replace(f"${UNKNOWN}", UNKNOWN)


def _percent(before: float | None, after: float | None) -> str:
    if not before or after is None:
        return ""
    change = (Decimal(str(after)) / Decimal(str(before)) - 1) * 100
    return f" ({change:+.0f} %)"
