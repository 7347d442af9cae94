"""BaseAgent: one agent over its managed model, with tools and a memory of its sessions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from langchain.agents import create_agent
from langchain_core.messages import AnyMessage, BaseMessage, HumanMessage, trim_messages

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from langchain_core.tools import BaseTool

    from langchain_modelmgr import ModelManager

DEFAULT_TURNS = 5
"""Turns that a session remembers if the YAML gives no ``context_window_size``."""


class BaseAgent:
    """An agent of the application.

    Args:
        manager: The shared model manager.
        tools: What the agent can do.
    """

    name: ClassVar[str]
    """The key under ``agents:`` in the YAML."""

    purpose: ClassVar[str]
    """What the agent is for: the orchestrator routes by it."""

    def __init__(self, manager: ModelManager, tools: Sequence[BaseTool]) -> None:
        self.manager = manager
        self._turns = manager.config.context_window_size or DEFAULT_TURNS
        self._sessions: dict[str, list[AnyMessage]] = {}
        self._agent: Any = create_agent(
            manager.chat_model(self.name), tools=list(tools), system_prompt=self.purpose
        )

    def invoke_bedrock_model(self, prompt: str, system_prompt: str = "", **kwargs: Any) -> str:
        """Return the answer of the agent's model to one prompt, without tools or memory."""
        messages = [{"role": "user", "content": [{"text": prompt}]}]
        result = self.manager.invoke_model(self.name, messages, system_prompt, **kwargs)
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
