"""ModelCalls: the design guide's methods that call a model, for code without LangChain."""

from __future__ import annotations

from contextlib import aclosing, closing
from typing import TYPE_CHECKING, Any

from langchain_modelmgr.chain.builder import NO_OVERRIDES, Overrides
from langchain_modelmgr.converse import StreamEvent, events_of, request_of, result_of, run_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator, Sequence

    from langchain_modelmgr.agent import Agent
    from langchain_modelmgr.chain.call_input import ChainInput
    from langchain_modelmgr.chain.fallback import CandidateChain
    from langchain_modelmgr.converse import InvokeResult


class ModelCalls:
    """Calls agents' models with Bedrock's own shapes. The base class of ``ModelManager``."""

    def agent(self, agent_name: str, overrides: Overrides = NO_OVERRIDES) -> Agent:
        """Return an agent."""
        raise NotImplementedError

    def invoke_model(  # noqa: PLR0913, PLR0917 - the guide's signature
        self,
        agent_name: str,
        messages: Sequence[Any],
        system_prompt: str = "",
        tools: Sequence[Any] | None = None,
        max_tokens: int | None = None,
        temperature: float | None = None,
        use_fallback: bool = True,  # noqa: FBT001, FBT002
        **kwargs: Any,
    ) -> InvokeResult:
        """Call an agent's model, and its fallbacks if it fails.

        Args:
            agent_name: The key under ``agents:``.
            messages: Converse messages (sent unchanged) or LangChain's.
            system_prompt: The system prompt; may be empty.
            tools: Converse tools or LangChain's.
            max_tokens: Largest number of output tokens; overrides the YAML.
            temperature: Sampling temperature; overrides the YAML.
            use_fallback: Whether to try fallbacks; False uses only the agent's own model.
            **kwargs: Request fields of ChatBedrockConverse (``tool_choice``, ``guardrail_config``,
                ...), ``timeout`` in seconds, ``model`` in place of the agent's own, and
                ``metadata`` and ``tags``, as a RunnableConfig has them.

        Returns:
            The answer, its usage and cost, and the attempts.

        Raises:
            ConfigurationError: The agent or a keyword is unknown.
            ModelManagerError: No model can serve the request, or all models failed; its
                ``attempts`` list them.
        """
        kwargs |= {"max_tokens": max_tokens, "temperature": temperature}
        request = messages, system_prompt, tools, kwargs
        chain, given = self._open(agent_name, *request, use_fallback=use_fallback)
        chain.invoke(given)
        return result_of(given.outcome)

    async def ainvoke_model(  # noqa: PLR0913, PLR0917 - the guide's signature
        self,
        agent_name: str,
        messages: Sequence[Any],
        system_prompt: str = "",
        tools: Sequence[Any] | None = None,
        max_tokens: int | None = None,
        temperature: float | None = None,
        use_fallback: bool = True,  # noqa: FBT001, FBT002
        **kwargs: Any,
    ) -> InvokeResult:
        """Asynchronous version of ``invoke_model``."""
        kwargs |= {"max_tokens": max_tokens, "temperature": temperature}
        request = messages, system_prompt, tools, kwargs
        chain, given = self._open(agent_name, *request, use_fallback=use_fallback)
        await chain.ainvoke(given)
        return result_of(given.outcome)

    def stream_model(  # noqa: PLR0913, PLR0917 - as invoke_model
        self,
        agent_name: str,
        messages: Sequence[Any],
        system_prompt: str = "",
        tools: Sequence[Any] | None = None,
        max_tokens: int | None = None,
        temperature: float | None = None,
        use_fallback: bool = True,  # noqa: FBT001, FBT002
        **kwargs: Any,
    ) -> Generator[StreamEvent, None, None]:
        """Call an agent's model as ``invoke_model`` does, and yield the answer as it arrives.

        Yields:
            ``{"text": ...}`` and ``{"reasoning": ...}``, then ``{"result": ...}`` as the last item.
        """
        kwargs |= {"max_tokens": max_tokens, "temperature": temperature}
        request = messages, system_prompt, tools, kwargs
        chain, given = self._open(agent_name, *request, use_fallback=use_fallback)
        with closing(chain.stream(given)) as chunks:
            for chunk in chunks:
                yield from events_of(chunk)
        yield StreamEvent(result=result_of(given.outcome))

    async def astream_model(  # noqa: PLR0913, PLR0917 - as invoke_model
        self,
        agent_name: str,
        messages: Sequence[Any],
        system_prompt: str = "",
        tools: Sequence[Any] | None = None,
        max_tokens: int | None = None,
        temperature: float | None = None,
        use_fallback: bool = True,  # noqa: FBT001, FBT002
        **kwargs: Any,
    ) -> AsyncGenerator[StreamEvent, None]:
        """Asynchronous version of ``stream_model``."""
        kwargs |= {"max_tokens": max_tokens, "temperature": temperature}
        request = messages, system_prompt, tools, kwargs
        chain, given = self._open(agent_name, *request, use_fallback=use_fallback)
        async with aclosing(chain.astream(given)) as chunks:
            async for chunk in chunks:
                for event in events_of(chunk):
                    yield event
        yield StreamEvent(result=result_of(given.outcome))

    def _open(  # noqa: PLR0913 - the arguments of invoke_model
        self,
        agent_name: str,
        messages: Sequence[Any],
        system_prompt: str,
        tools: Sequence[Any] | None,
        kwargs: dict[str, Any],
        *,
        use_fallback: bool,
    ) -> tuple[CandidateChain, ChainInput]:
        run = run_of(kwargs.pop("metadata", None), kwargs.pop("tags", None))
        request = request_of(messages, system_prompt, tools, kwargs)
        agent = self.agent(agent_name, Overrides(use_fallback=use_fallback))
        return agent.open(request, run)
