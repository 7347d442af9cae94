"""ManagedBedrockChat: one agent's model as a LangChain chat model."""

from __future__ import annotations

from contextlib import aclosing, closing
from typing import TYPE_CHECKING, Any, Literal, Self, Unpack

from langchain_core.messages.utils import count_tokens_approximately
from pydantic import ConfigDict, Field, PrivateAttr

from langchain_modelmgr.agent import Agent, ChatFields, Resolution, resolve
from langchain_modelmgr.bedrock.token_count import count_tokens
from langchain_modelmgr.bedrock.tool_schemas import check_tools
from langchain_modelmgr.callbacks import mark_cached, open_run
from langchain_modelmgr.catalog.profiles import ChainProfile
from langchain_modelmgr.chain.compatibility import needs_of_blocks
from langchain_modelmgr.chain.request import chat_request
from langchain_modelmgr.chain.structured_output import parsed, schema_from_call, schema_from_text
from langchain_modelmgr.config import ConfigurationManager
from langchain_modelmgr.config.problems import check_field_names
from langchain_modelmgr.heard_model import HeardChatModel
from langchain_modelmgr.manager import ModelManager
from langchain_modelmgr.runtime.signatures import with_signature
from langchain_modelmgr.tools import (
    bound_tools,
    json_schema_format,
    named_schema,
    neutral_tools,
    settled,
)
from langchain_modelmgr.usage.totals import CURRENT_RUN, Run

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator, Mapping, Sequence

    from langchain_core.callbacks import (
        AsyncCallbackManagerForLLMRun,
        BaseRunManager,
        CallbackManagerForLLMRun,
    )
    from langchain_core.language_models import LanguageModelInput
    from langchain_core.language_models.base import LangSmithParams
    from langchain_core.messages import AIMessage, BaseMessage
    from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult, Generation
    from langchain_core.runnables import Runnable
    from langchain_core.tools import BaseTool

    from langchain_modelmgr.chain.call_input import ChainInput
    from langchain_modelmgr.chain.fallback import CandidateChain


class ManagedBedrockChat(HeardChatModel):
    """An agent's chat model on Amazon Bedrock, with configuration, fallbacks and usage records.

    Example:
        ``ManagedBedrockChat("sql_agent", environment="dev").invoke("...")``

    Raises:
        ConfigurationError: The configuration is not valid, or the agent is unknown or disabled.
        ModelCompatibilityError: The model lacks a capability that the agent ``requires``.
    """

    model_config = ConfigDict(
        populate_by_name=True,
        extra="forbid",
        hide_input_in_errors=True,
        use_attribute_docstrings=True,
    )

    agent_name: str
    """The key under ``agents:``; the CloudWatch dimension ``Agent``."""

    environment: str | None = None
    """The configuration file ``<environment>.yaml``; None: ``MODELMGR_ENV``, else ``dev``."""

    config: ConfigurationManager | None = Field(default=None, repr=False)
    """The configuration; takes precedence over ``environment``."""

    manager: ModelManager | None = Field(default=None, repr=False)
    """A shared manager; takes precedence over ``config``."""

    use_fallback: bool = True
    """Whether to try fallbacks; False uses only the agent's own model."""

    max_tokens: int | None = Field(default=None, ge=1)
    """Largest number of output tokens; capped at each model's own limit."""

    temperature: float | None = Field(default=None, ge=0)
    """Sampling temperature."""

    top_p: float | None = Field(default=None, ge=0, le=1)
    """Nucleus sampling."""

    stop_sequences: list[str] | None = Field(default=None, alias="stop")
    """Texts at which the answer ends."""

    timeout: float | None = Field(default=None, gt=0)
    """Seconds that one attempt may wait for bytes; None: the agent's ``timeout_seconds``."""

    max_retries: int | None = Field(default=None, ge=0)
    """How often the last model of the chain is retried after a transient failure; None: the
    agent's ``retries``."""

    streaming: bool | None = None
    """True: ``invoke`` also streams, so that callbacks receive each token. False: never stream."""

    _resolution: Resolution[ModelManager] | None = PrivateAttr(default=None)

    def __init__(self, agent_name: str, **kwargs: Unpack[ChatFields]) -> None:
        if isinstance(kwargs.get("profile"), ChainProfile):
            del kwargs["profile"]  # passed when configurable_fields rebuilds a model
        check_field_names(type(self), kwargs)
        super().__init__(agent_name=agent_name, **kwargs)
        # Not in a validator: pydantic would turn a ConfigurationError into its own.
        self._agent().check()
        if self.profile is None:
            self.profile = self._agent().profile()  # type: ignore[assignment]

    # -- the agent that the fields select

    @property
    def model_manager(self) -> ModelManager:
        """The manager that this model uses: ``manager``, or that of its configuration."""
        return self._resolve().manager

    def _agent(self) -> Agent:
        return self._resolve().agent

    def _resolve(self, *, for_a_call: bool = False) -> Resolution[ModelManager]:
        # Not ``self._resolution``: pydantic looks for a descriptor first, which takes longer than
        # the rest of this method (run in 2.14.3).
        before = (self.__pydantic_private__ or {}).get("_resolution")
        now = resolve(self.__dict__, before, ModelManager, for_a_call=for_a_call)
        if now is not before:
            self._resolution = now
        return now

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Return a copy; a changed agent or configuration is resolved again."""
        copied = super().model_copy(update=update, deep=deep)
        copied._agent().check()
        if isinstance(copied.profile, ChainProfile):
            copied.profile = copied._agent().profile()  # type: ignore[assignment]
        return copied

    def __getstate__(self) -> dict[Any, Any]:
        """Return the fields and the unfilled YAML: no clients, no credentials."""
        state = super().__getstate__()
        values = dict(state["__dict__"])
        if self.manager is None:  # the other process may not have the file
            values["config"] = self.model_manager.config
        return {**state, "__dict__": values, "__pydantic_private__": {"_resolution": None}}

    def _repr_html_(self) -> str:
        return self._agent().html()

    # -- LangChain's chat model

    @property
    def _llm_type(self) -> str:
        return "managed_bedrock_chat"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return self._agent().identifying_params()

    def _get_invocation_params(
        self, stop: list[str] | None = None, **kwargs: Any
    ) -> dict[str, Any]:
        # The base class calls the deprecated dict() and filters its warning, in every call.
        return {**self.asdict(), "stop": stop, **kwargs}

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        return self._agent().langsmith_params(kwargs, stop)

    def _open(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None,
        run_manager: BaseRunManager | None,
        kwargs: dict[str, Any],
    ) -> tuple[CandidateChain, ChainInput]:
        request = chat_request(messages, stop, kwargs, of=f"agent {self.agent_name!r}")
        return self._resolve(for_a_call=True).agent.open(request, open_run(run_manager))

    @with_signature
    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        chain, given = self._open(messages, stop, run_manager, kwargs)
        return chain.invoke(given)

    @with_signature
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
        """Mark answers of the response cache, which cost nothing, and record them as cached."""
        generations = super()._convert_cached_generations(cache_val)
        for generation in generations:
            self._agent().usage(CURRENT_RUN.get() or Run()).cached(mark_cached(generation))
        return generations

    # -- tools and schemas: kept as passed, and fitted to each model when it is called

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
                weakened: fallbacks that don't support it are skipped.
            strict: Whether arguments must follow the schema, if the model supports that.
            **kwargs: Further keywords of the call.

        Raises:
            ModelCompatibilityError: The agent's model doesn't support tools or a forced choice.
            ConfigurationError: The schema of a tool's arguments is not an object.
            ValueError: ``tool_choice`` is not the name of a bound tool.
        """
        bound = bound_tools(tools, tool_choice, strict=strict) | kwargs
        self._require(bound)
        check_tools(bound["tools"])
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
            method: ``function_calling`` forces a tool call; for a model that doesn't support a
                forced choice the tool is optional, and an answer without the call raises
                ``OutputParserException``. ``json_schema`` is Bedrock's native structured output.
                ``json_mode``, which the Converse API lacks, uses ``function_calling``.
            strict: As in ``bind_tools``.
            **kwargs: Further keywords of the call.

        Raises:
            ModelCompatibilityError: The agent's model doesn't support the method.
            ValueError: The method is unknown.
        """
        schema = named_schema(schema)
        traced = {"ls_structured_output_format": {"kwargs": {"method": method}, "schema": schema}}
        if method in ("function_calling", "json_mode"):
            keywords = {**traced, "for_structured_output": True, **kwargs}
            model = self.bind_tools([schema], tool_choice="any", strict=strict, **keywords)
            return parsed(model, schema_from_call(schema), include_raw=include_raw)
        if method != "json_schema":
            raise ValueError(f"unknown method {method!r}: use 'function_calling' or 'json_schema'")
        bound = {"response_format": json_schema_format(schema), **traced, **kwargs}
        self._require(bound)
        return parsed(self.bind(**bound), schema_from_text(schema), include_raw=include_raw)

    def _require(self, bound: dict[str, Any]) -> None:
        needs, count = needs_of_blocks([], settled(bound)), len(bound.get("tools", ()))
        self._agent().require(needs, model=bound.get("model"), tool_count=count)

    def get_num_tokens(self, text: str) -> int:
        """Return the approximate number of tokens of a text, without a call to AWS."""
        return count_tokens_approximately([("user", text)], extra_tokens_per_message=0)

    def get_num_tokens_from_messages(
        self,
        messages: list[BaseMessage],
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool] | None = None,
        *,
        exact: bool = False,
    ) -> int:
        """Return the approximate number of tokens of messages; documents count by their pages.

        Args:
            messages: The messages.
            tools: Tools that are sent with the messages.
            exact: Call Bedrock's CountTokens instead, which supports some models.
        """
        if exact:
            primary = self._agent().chain().candidates[0]
            return int(primary.model.get_num_tokens_from_messages(messages, tools))
        return count_tokens(messages, neutral_tools(tools) if tools else None)
