"""ManagedBedrockChat: one agent's model, as a true LangChain chat model."""

from __future__ import annotations

from contextlib import aclosing, closing
from typing import TYPE_CHECKING, Any, Literal

from langchain_core.language_models.base import LangSmithParams
from langchain_core.messages.utils import count_tokens_approximately

from langchain_modelmgr.bedrock.token_count import count_tokens
from langchain_modelmgr.bedrock.tool_schemas import check_tools
from langchain_modelmgr.chain.compatibility import Needs, forced_choice
from langchain_modelmgr.configured import ConfiguredModel
from langchain_modelmgr.structured_output import parsed, schema_from_call, schema_from_text
from langchain_modelmgr.tools import (
    NO_TOOL,
    asks_for_structure,
    check_choice,
    json_schema_format,
    named_schema,
    neutral_choice,
    neutral_tools,
)
from langchain_modelmgr.totals import CURRENT_RUN

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator, Sequence

    from langchain_core.callbacks import (
        AsyncCallbackManagerForLLMRun,
        CallbackManagerForLLMRun,
    )
    from langchain_core.language_models import LanguageModelInput
    from langchain_core.messages import AIMessage, BaseMessage
    from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult, Generation
    from langchain_core.runnables import Runnable
    from langchain_core.tools import BaseTool


class ManagedBedrockChat(ConfiguredModel):
    """An agent's chat model on Amazon Bedrock: configured, with fallbacks, and accounted for.

    Example:
        ``ManagedBedrockChat(agent_name="sql_agent", environment="dev").invoke("...")``

    Raises:
        ConfigurationError: The configuration is wrong, or has no such agent.
        ModelCompatibilityError: The agent's model can't do what the agent ``requires``.
    """

    # -- LangChain's chat model

    @property
    def _llm_type(self) -> str:
        return "managed_bedrock_chat"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        """What tells two models apart in LangChain's response cache and in traces."""
        chain = self._chain(None)
        return {
            "agent_name": self.agent_name,
            "model": chain.candidates[0].public_id,
            "models": [
                {"model": c.public_id, "region": c.spec.region, **c.spec.parameters}
                for c in chain.candidates
            ],
        }

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        primary = self._chain(kwargs.get("model")).candidates[0]
        given = {**primary.spec.parameters, **kwargs}
        params = LangSmithParams(
            ls_provider="amazon_bedrock", ls_model_name=primary.public_id, ls_model_type="chat"
        )
        if given.get("temperature") is not None:
            params["ls_temperature"] = given["temperature"]
        if given.get("max_tokens") is not None:
            params["ls_max_tokens"] = given["max_tokens"]
        if stop := stop or given.get("stop_sequences"):
            params["ls_stop"] = stop
        return params

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        chain, given = self._open(messages, stop, run_manager, kwargs)
        return chain.invoke(given)

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        chain, given = self._open(messages, stop, run_manager, kwargs)
        return await chain.ainvoke(given)

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Generator[ChatGenerationChunk, None, None]:
        chain, given = self._open(messages, stop, run_manager, kwargs)
        with closing(chain.stream(given)) as chunks:
            for chunk in chunks:
                if run_manager:  # only stream_events(version="v3") gives one
                    run_manager.on_llm_new_token(chunk.text, chunk=chunk)
                yield chunk

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncGenerator[ChatGenerationChunk, None]:
        chain, given = self._open(messages, stop, run_manager, kwargs)
        async with aclosing(chain.astream(given)) as chunks:
            async for chunk in chunks:
                if run_manager:
                    await run_manager.on_llm_new_token(chunk.text, chunk=chunk)
                yield chunk

    def _convert_cached_generations(self, cache_val: list[Generation]) -> list[ChatGeneration]:
        """Mark an answer of the response cache: it was no call and costs nothing."""
        generations = super()._convert_cached_generations(cache_val)
        for generation in generations:
            metadata = generation.message.response_metadata
            told = {**metadata.get("model_manager", {}), "cached": True, "cost_usd": "0"}
            generation.message = generation.message.model_copy(
                update={"response_metadata": {**metadata, "model_manager": told}}
            )
            self._account(CURRENT_RUN.get()).cached(str(told.get("model_id")))
        return generations

    # -- tools and schemas: kept as given, formed for each model when it is asked

    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: str | bool | dict[str, Any] | None = None,
        strict: bool | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Bind tools to the model.

        Args:
            tools: Functions, pydantic classes, LangChain tools, OpenAI or Bedrock tool dicts.
            tool_choice: ``auto``, ``any``, ``none``, or a tool's name. A forced choice is never
                lowered: a fallback that can't take it drops out. The one that LangChain's agents
                make for a ``ToolStrategy`` is for the structure's sake: see
                ``with_structured_output``.
            strict: Ask for arguments that hold to the schema, where the model can.
            **kwargs: Further keywords of the call.

        Raises:
            ModelCompatibilityError: The agent's model can't use tools, or can't be forced to.
            ConfigurationError: By its schema, the arguments of a tool are no object.
            ValueError: ``tool_choice`` names no tool that is bound.
        """
        choice = neutral_choice(tool_choice)
        bound: dict[str, Any] = {"tools": neutral_tools(tools, strict=strict)}
        check_choice(choice, bound["tools"])
        if asks_for_structure(choice, tools):
            kwargs["for_structured_output"] = True
        is_forced = not kwargs.get("for_structured_output")
        needs = Needs(
            tools=bool(tools) and choice != NO_TOOL,
            tool_choice=forced_choice(choice) if is_forced else None,
        )
        self._require(needs, kwargs.get("model"), tool_count=len(tools))
        check_tools(bound["tools"])
        bound |= kwargs
        if choice is not None:
            bound["tool_choice"] = choice
        return self.bind(**bound)

    def with_structured_output(
        self,
        schema: dict[str, Any] | type,
        *,
        include_raw: bool = False,
        method: Literal["function_calling", "json_schema", "json_mode"] = "function_calling",
        strict: bool | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, Any]:
        """Return a model whose answers are parsed by ``schema``.

        Args:
            schema: A pydantic class, TypedDict, or JSON schema.
            include_raw: Return a dict of ``raw``, ``parsed`` and ``parsing_error``.
            method: ``function_calling`` forces a tool call where the model takes that, and asks
                unforced where it does not, as Claude while it thinks: ``adapted`` says so, and an
                answer without the call is an ``OutputParserException``. ``json_schema`` asks for
                Bedrock's native structured output; ``json_mode``, which the Converse API lacks,
                is served by ``function_calling``: it promises more.
            strict: As in ``bind_tools``.
            **kwargs: Further keywords of the call.

        Raises:
            ModelCompatibilityError: The agent's model can't do it.
            ValueError: Another method.
        """
        schema = named_schema(schema)
        if method in ("function_calling", "json_mode"):
            model = self.bind_tools(
                [schema],
                tool_choice="any",
                strict=strict,
                for_structured_output=True,
                ls_structured_output_format={"kwargs": {"method": method}, "schema": schema},
                **kwargs,
            )
            return parsed(model, schema_from_call(schema), include_raw=include_raw)
        if method != "json_schema":
            raise ValueError(
                f"method={method!r} is not known; use 'function_calling' or 'json_schema'"
            )
        self._require(Needs(structured_output=True), kwargs.get("model"))
        bound = self.bind(
            response_format=json_schema_format(schema),
            ls_structured_output_format={"kwargs": {"method": method}, "schema": schema},
            **kwargs,
        )
        return parsed(bound, schema_from_text(schema), include_raw=include_raw)

    # -- counting, without a call to AWS

    def get_num_tokens(self, text: str) -> int:
        """Return about how many tokens a text has; nothing is sent to AWS."""
        return count_tokens_approximately([("user", text)], extra_tokens_per_message=0)

    def get_num_tokens_from_messages(
        self,
        messages: list[BaseMessage],
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool] | None = None,
        *,
        exact: bool = False,
    ) -> int:
        """Return about how many tokens messages have.

        Text counts as LangChain counts it. A document, an image and a video count as such, not as
        their bytes: a PDF by its pages, 2,000 tokens each.

        Args:
            messages: The messages.
            tools: Tools that are sent along.
            exact: Ask Bedrock's CountTokens, for the models that have it.
        """
        if exact:
            model = self._chain(None).candidates[0].model
            return int(model.get_num_tokens_from_messages(messages, tools))
        return count_tokens(messages, neutral_tools(tools) if tools else None)
