"""BaseAgent: one agent over its managed model, with tools and a memory of its sessions."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from langchain.agents import create_agent
from langchain_core.messages import AnyMessage, BaseMessage, HumanMessage, trim_messages

from langchain_modelmgr import ConfigurationManager, ModelManager

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from langchain_core.tools import BaseTool

CONFIG = Path(__file__).resolve().parents[3] / "config"
DEFAULT_TURNS = 5
"""Turns that a session remembers if the YAML gives no ``context_window_size``."""


class BaseAgent:
    """An agent of the application; a subclass needs to write nothing but what it does otherwise.

    Args:
        manager: The shared model manager; None: one of its own, for ``config/dev.yaml`` or what
            ``MODELMGR_ENV`` and ``MODELMGR_CONFIG_DIR`` name.
        tools: What the agent can do.
    """

    name: ClassVar[str] = ""
    """The key under ``agents:`` in the YAML. Without one it is the class's name as a key is written
    (``MyAgent``: ``my_agent``), or where the YAML has no such agent, the first one that it has."""

    purpose: ClassVar[str] = "You are a helpful assistant"
    """What the agent is for: the orchestrator routes by it."""

    def __init__(self, manager: ModelManager | None = None, tools: Sequence[BaseTool] = ()) -> None:
        folder = os.environ.get("MODELMGR_CONFIG_DIR") or CONFIG
        self.manager = manager or ModelManager(ConfigurationManager(config_dir=folder))
        self.agent_name = self.name or _key_of(type(self), self.manager.config)
        self._turns = self.manager.config.context_window_size or DEFAULT_TURNS
        self._sessions: dict[str, list[AnyMessage]] = {}
        self._agent: Any = create_agent(
            self.manager.chat_model(self.agent_name),
            tools=list(tools),
            system_prompt=self.purpose,
        )

    def invoke_bedrock_model(self, prompt: str, system_prompt: str = "", **kwargs: Any) -> str:
        """Return the answer of the agent's model to one prompt, without tools or memory."""
        messages = [{"role": "user", "content": [{"text": prompt}]}]
        result = self.manager.invoke_model(self.agent_name, messages, system_prompt, **kwargs)
        return result["response"]

    def process_query(
        self, query: str, session_id: str, context: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Answer a query within its session.

        Args:
            query: The user's question.
            session_id: Whose turns to remember.
            context: Facts that go along with the question, such as the persona.

        Returns:
            ``response``, the text; ``models``, those that answered, in order, each once.
        """
        facts = "; ".join(f"{key}: {value}" for key, value in (context or {}).items())
        turn = HumanMessage(f"{query}\n({facts})" if facts else query)
        remembered = self._remembered(session_id)
        state = self._agent.invoke({"messages": [*remembered, turn]})
        messages: list[AnyMessage] = state["messages"]
        self._sessions[session_id] = messages
        served = (m.response_metadata.get("model_name") for m in messages[len(remembered) :])
        return {"response": messages[-1].text, "models": list(dict.fromkeys(filter(None, served)))}

    def _remembered(self, session_id: str) -> list[BaseMessage]:
        """Return the session's last turns, whole: a tool call stays with its result."""
        return trim_messages(
            self._sessions.get(session_id, []),
            max_tokens=self._turns - 1,
            token_counter=lambda messages: sum(isinstance(m, HumanMessage) for m in messages),
            strategy="last",
            start_on="human",
        )


def _key_of(agent: type[BaseAgent], config: ConfigurationManager) -> str:
    key = re.sub(r"(?<!^)(?=[A-Z])", "_", agent.__name__).lower()
    return key if key in config.agent_names else config.enabled_agents[0]
