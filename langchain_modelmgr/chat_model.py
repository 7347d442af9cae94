"""ManagedBedrockChat: one agent's model, as a true LangChain chat model."""

from __future__ import annotations

from collections import OrderedDict
from contextlib import aclosing, closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Self

from langchain_core.language_models.base import LangSmithParams
from langchain_core.messages.utils import count_tokens_approximately
from pydantic import ConfigDict, Field, PrivateAttr

from langchain_modelmgr.call import ChainInput
from langchain_modelmgr.candidate import ChatRequest
from langchain_modelmgr.compatibility import Needs, forced_choice, needs_of
from langchain_modelmgr.config import ConfigurationManager
from langchain_modelmgr.joining import JoinsHandler
from langchain_modelmgr.ledger import CURRENT_RUN, CallAccount, Run
from langchain_modelmgr.manager import (
    CallSettings,
    ModelManager,
    default_manager,
    manager_of,
    shared_config,
)
from langchain_modelmgr.profiles import ChainProfile, chain_profile
from langchain_modelmgr.tools import (
    json_schema_format,
    neutral_choice,
    neutral_tools,
    parsed,
    schema_from_call,
    schema_from_text,
)
from langchain_modelmgr.usage import MANAGED_TYPE, UsageCallbackHandler

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator, Mapping, Sequence

    from langchain_core.callbacks import (
        AsyncCallbackManagerForLLMRun,
        BaseRunManager,
        CallbackManagerForLLMRun,
    )
    from langchain_core.language_models import LanguageModelInput
    from langchain_core.messages import AIMessage, BaseMessage
    from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult, Generation
    from langchain_core.runnables import Runnable
    from langchain_core.tools import BaseTool

    from langchain_modelmgr.config import AgentConfig
    from langchain_modelmgr.fallback import CandidateChain

_CHAINS_KEPT = 32
"""Chains that one object keeps for calls with their own ``model=``."""


class ManagedBedrockChat(JoinsHandler):
    """An agent's chat model on Amazon Bedrock: configured, with fallbacks, and accounted for.

    Example:
        ``ManagedBedrockChat(agent_name="sql_agent", environment="dev").invoke("...")``

    Raises:
        ConfigurationError: The configuration is wrong, or has no such agent.
        ModelCompatibilityError: The agent's model can't do what the agent ``requires``.
    """

    model_config = ConfigDict(populate_by_name=True, extra="forbid")

    agent_name: str
    """The key under ``agents:``; the CloudWatch dimension ``Agent``."""

    environment: str | None = None
    """``<environment>.yaml``; None: the variable ``MODELMGR_ENV``, else ``dev``."""

    config: ConfigurationManager | None = Field(default=None, repr=False)
    """A configuration; over ``environment``."""

    manager: ModelManager | None = Field(default=None, repr=False)
    """A shared manager; over ``config``."""

    use_fallback: bool = True
    """False: the primary alone."""

    max_tokens: int | None = Field(default=None, ge=1)
    """Output tokens at most; capped at each model's own limit."""

    temperature: float | None = Field(default=None, ge=0)
    """Sampling temperature."""

    top_p: float | None = Field(default=None, ge=0, le=1)
    """Nucleus sampling."""

    stop_sequences: list[str] | None = Field(default=None, alias="stop")
    """Texts that end the answer."""

    timeout: float | None = Field(default=None, gt=0)
    """Seconds that one attempt may wait for bytes; None: the agent's ``timeout_seconds``."""

    max_retries: int | None = Field(default=None, ge=0)
    """Further attempts of the last model of the chain for passing failures; None: 2."""

    streaming: bool | None = None
    """True: ``invoke`` streams too, so that handlers hear each token. False: nothing streams."""

    _resolved: _Resolved | None = PrivateAttr(default=None)

    if not TYPE_CHECKING:  # for type checkers the fields are the signature

        def __init__(self, **kwargs: Any) -> None:
            if isinstance(kwargs.get("profile"), ChainProfile):
                del kwargs["profile"]  # of the object that configurable_fields rebuilds
            super().__init__(**kwargs)
            # Not in a validator: pydantic would turn a ConfigurationError into its own.
            self._check_requirements()
            if self.profile is None:
                self.profile = self._chain_profile()

    @property
    def model_manager(self) -> ModelManager:
        """The manager that this model uses: given, of its configuration, or of its environment."""
        return self._resolve().manager

    # -- LangChain's chat model

    @property
    def _llm_type(self) -> str:
        return MANAGED_TYPE

    @property
    def _identifying_params(self) -> dict[str, Any]:
        """What tells two models apart in LangChain's response cache and in traces."""
        chain = self._chain(None)
        return {
            "agent_name": self.agent_name,
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
        chain, given = self._open(messages, stop, run_manager, kwargs, stream=True)
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
        chain, given = self._open(messages, stop, run_manager, kwargs, stream=True)
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
            tool_choice: ``auto``, ``any``, or a tool's name. A forced choice is never lowered:
                a fallback that can't take it drops out.
            strict: Ask for arguments that hold to the schema, where the model can.
            **kwargs: Further keywords of the call.

        Raises:
            ModelCompatibilityError: The agent's model can't use tools, or can't be forced to.
        """
        choice = neutral_choice(tool_choice)
        needs = Needs(tools=bool(tools), tool_choice=forced_choice(choice))
        self._require(needs, kwargs.get("model"), tool_count=len(tools))
        bound: dict[str, Any] = {"tools": neutral_tools(tools, strict=strict), **kwargs}
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
            method: ``function_calling`` forces a tool call; ``json_schema`` asks for Bedrock's
                native structured output; ``json_mode``, which the Converse API lacks, is served
                by ``function_calling``: it promises more.
            strict: As in ``bind_tools``.
            **kwargs: Further keywords of the call.

        Raises:
            ModelCompatibilityError: The agent's model can't do it.
            ValueError: Another method.
        """
        if method in ("function_calling", "json_mode"):
            model = self.bind_tools(
                [schema],
                tool_choice="any",
                strict=strict,
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

        Args:
            messages: The messages.
            tools: Tools that are sent along.
            exact: Ask Bedrock's CountTokens, for the models that have it.
        """
        if exact:
            model = self._chain(None).candidates[0].model
            return int(model.get_num_tokens_from_messages(messages, tools))
        forms = neutral_tools(tools) if tools else None
        return count_tokens_approximately(messages, tools=forms)

    # -- copies

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Return a copy; a changed agent or configuration is resolved again."""
        copied = super().model_copy(update=update, deep=deep)
        copied._check_requirements()
        if isinstance(copied.profile, ChainProfile):
            copied.profile = copied._chain_profile()  # type: ignore[assignment]
        return copied

    def __getstate__(self) -> dict[Any, Any]:
        """Return what travels: the YAML, unfilled; no client, no credential."""
        state = super().__getstate__()
        values = {**state["__dict__"], "config": self.model_manager.config, "manager": None}
        return {**state, "__dict__": values, "__pydantic_private__": {"_resolved": None}}

    def __setstate__(self, state: dict[Any, Any]) -> None:
        """Take what travelled; equal configurations share one manager in a process."""
        super().__setstate__(state)
        if self.config is not None:
            self.config = shared_config(self.config)

    # -- inside

    def _joining_handler(self) -> UsageCallbackHandler:
        return self._resolve().handler

    def _open(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None,
        run_manager: BaseRunManager | None,
        kwargs: dict[str, Any],
        *,
        stream: bool = False,
    ) -> tuple[CandidateChain, ChainInput]:
        model = kwargs.pop("model", None)
        timeout = kwargs.pop("timeout", None) or self.timeout or self._agent.timeout_seconds
        if "tool_choice" in kwargs:
            kwargs["tool_choice"] = neutral_choice(kwargs["tool_choice"])
        request = ChatRequest(
            messages=messages,
            stop=stop,
            kwargs=kwargs,
            needs=needs_of(messages, kwargs),
            stream=stream,
            timeout=timeout,
        )
        run = _run_of(run_manager) or CURRENT_RUN.get()
        return self._chain(model), ChainInput(request, self._account(run))

    def _account(self, run: Run | None) -> CallAccount:
        return CallAccount(self.model_manager.ledger, self.agent_name, run or Run())

    @property
    def _agent(self) -> AgentConfig:
        return self.model_manager.config.agent(self.agent_name)

    def _chain(self, model: str | None) -> CandidateChain:
        resolved = self._resolve()
        chain = resolved.chains.get(model)
        if chain is None:
            chain = resolved.manager.chain(self.agent_name, resolved.settings, model)
            resolved.chains[model] = chain
            while len(resolved.chains) > _CHAINS_KEPT:
                resolved.chains.popitem(last=False)
        return chain

    def _require(self, needs: Needs, model: str | None, *, tool_count: int = 1) -> None:
        primary = self._chain(model).candidates[0]
        self.model_manager.require(
            self.agent_name, primary.spec.model, needs, tool_count=tool_count
        )

    def _check_requirements(self) -> None:
        self._require(Needs.of_agent(self._agent.requires), None)

    def _chain_profile(self) -> ChainProfile:
        return chain_profile([c.spec.model for c in self._chain(None).candidates])

    def _settings(self) -> CallSettings:
        stops = self.stop_sequences
        return CallSettings(
            use_fallback=self.use_fallback,
            max_tokens=self.max_tokens,
            temperature=self.temperature,
            top_p=self.top_p,
            stop_sequences=None if stops is None else tuple(stops),
            timeout=self.timeout,
            max_retries=self.max_retries,
        )

    def _resolve(self) -> _Resolved:
        """Return what the fields stand for; again whenever one of them has changed."""
        key = (self.agent_name, self.environment, self.config, self.manager, self._settings())
        if self._resolved is None or self._resolved.key != key:
            manager = self.manager
            if manager is None:
                config = self.config
                manager = manager_of(config) if config else default_manager(self.environment)
            self._resolved = _Resolved(
                key, manager, self._settings(), UsageCallbackHandler(manager, self.agent_name)
            )
        return self._resolved


@dataclass(frozen=True)
class _Resolved:
    """What a model's fields stand for; shared by its copies while the fields are the same."""

    key: tuple[Any, ...]
    manager: ModelManager
    settings: CallSettings
    handler: UsageCallbackHandler
    chains: OrderedDict[str | None, CandidateChain] = field(default_factory=OrderedDict)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self


def _run_of(run_manager: BaseRunManager | None) -> Run | None:
    if run_manager is None:
        return None
    return Run(str(run_manager.run_id), tuple(run_manager.tags), run_manager.metadata)


ManagedBedrockChat.model_rebuild()
