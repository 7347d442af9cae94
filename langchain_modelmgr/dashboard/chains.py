"""The chains of a configuration's agents, as metrics and policies name them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from langchain_modelmgr.errors import ConfigurationError
from langchain_modelmgr.metrics.series import dimension_value
from langchain_modelmgr.runtime.masking import mask_account_ids

if TYPE_CHECKING:
    from langchain_modelmgr.config import AgentConfig, ConfigurationManager


@dataclass(frozen=True, slots=True)
class DashboardModel:
    """One model of a chain.

    Attributes:
        model_id: The model id as it is called.
        region: Its region; None: the region of all models.
        base_model: The model of an ARN, if the configuration names it.
    """

    model_id: str
    region: str | None = None
    base_model: str | None = None


@dataclass(frozen=True, slots=True)
class Chain:
    """One enabled agent and its models, the agent's own first.

    Attributes:
        agent_name: The agent.
        candidates: Its models.
        request_fields: The agent's request fields.
    """

    agent_name: str
    candidates: tuple[DashboardModel, ...]
    request_fields: dict[str, Any]

    @property
    def agent(self) -> str:
        """The value of the dimension ``Agent``."""
        return dimension_value(self.agent_name)

    @property
    def models(self) -> tuple[str, ...]:
        """The values of the dimension ``Model``, each once."""
        return tuple(
            dict.fromkeys(dimension_value(mask_account_ids(m.model_id)) for m in self.candidates)
        )


def chains_of(config: ConfigurationManager) -> list[Chain]:
    """Return the chains of all enabled agents.

    Raises:
        ConfigurationError: No agent is enabled.
    """
    names = config.enabled_agents
    if not names:
        raise ConfigurationError(f"{config}: no agent is enabled")
    return [_chain(config, name, config.agent(name)) for name in names]


def _chain(config: ConfigurationManager, name: str, agent: AgentConfig) -> Chain:
    own = DashboardModel(agent.chosen_model)
    fallbacks = config.fallbacks_of(agent, primary=own.model_id, region=config.aws.region)
    rest = [DashboardModel(f.model, f.region, f.base_model) for f in fallbacks]
    return Chain(name, (own, *rest), agent.request_fields())
