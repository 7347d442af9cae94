"""One model of a chain, which adapts a request to the model's rules and sends it once."""

from __future__ import annotations

import asyncio
import logging
from contextlib import aclosing, closing
from typing import TYPE_CHECKING, Any

from langchain_core.messages import AIMessage
from langchain_core.runnables import Runnable

from langchain_modelmgr.bedrock.adaptation import OriginalRequest
from langchain_modelmgr.bedrock.forming import Forming
from langchain_modelmgr.bedrock.kept_names import restore_results, with_kept_names
from langchain_modelmgr.bedrock.stepping import SteppedCall, SteppedStream, is_steppable
from langchain_modelmgr.bedrock.tool_config import tool_config
from langchain_modelmgr.bedrock.transport import is_ready_for_asyncio, prepare_asyncio
from langchain_modelmgr.bedrock.wire import FormedOnly, FormingClient, WireClient
from langchain_modelmgr.chain.attempt import measured
from langchain_modelmgr.chain.built_model import built_model
from langchain_modelmgr.chain.compatibility import check, forced_choice
from langchain_modelmgr.chain.keywords import NOT_FOR_THE_WIRE, outlasts
from langchain_modelmgr.chain.request import (
    AttemptRequest,
    CandidateSettings,
    ChatRequest,
    capped,
    fit_tool_choice,
    own_messages,
    thinking_parameters,
)
from langchain_modelmgr.chain.whole_answer import as_chunk
from langchain_modelmgr.runtime.masking import masked_id
from langchain_modelmgr.tools import PARALLEL_CALLS, UNFORCED

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator, Mapping
    from concurrent.futures import Future

    from langchain_core.messages import BaseMessage
    from langchain_core.outputs import ChatGenerationChunk, ChatResult
    from langchain_core.runnables import RunnableConfig

    from langchain_modelmgr.bedrock.clients import Clients
    from langchain_modelmgr.bedrock.inference_profiles import InferenceProfiles
    from langchain_modelmgr.catalog import ModelConfig
    from langchain_modelmgr.runtime.call_pool import CallPool
    from langchain_modelmgr.runtime.watchdog import Watchdog
    from langchain_modelmgr.usage.meter import Meter

logger = logging.getLogger(__name__)


class Candidate(Runnable[AttemptRequest, Any]):
    """One model with LangChain's interface, without a callback run of its own.

    The chat model around it opens the one run of a call. ``ChatBedrockConverse._generate`` and
    ``_stream`` are called directly: through ``invoke`` every event inside LCEL and LangGraph
    would be emitted twice (langchain-core 1.7.2, run on 2026-11-23).
    """

    def __init__(
        self,
        settings: CandidateSettings,
        clients: Clients,
        pool: CallPool,
        profiles: InferenceProfiles | None = None,
    ) -> None:
        self.settings = settings
        self._profiles = profiles
        self._clients = clients
        self._pool = pool
        self._model: Any = None
        self._warned = False

    @property
    def model_id(self) -> str:
        """The model id that is sent to Bedrock."""
        return self.settings.model.model_id

    @property
    def public_id(self) -> str:
        """The model id with account ids masked, for logs and errors."""
        return masked_id(self.model_id)

    @property
    def region(self) -> str | None:
        """The AWS region that is called; None if it is unknown."""
        return self.settings.region or self._clients.region

    @property
    def model(self) -> Any:
        """The ``ChatBedrockConverse`` that forms this model's requests, built on first use."""
        if self._model is None:  # two threads may both build one: cheaper than a lock to fork with
            self._model = self._build(self.settings.request_fields)
        return self._model

    @property
    def watchdog(self) -> Watchdog:
        """The thread that ends streams after a timeout."""
        return self._pool.watchdog

    def like(self, settings: CandidateSettings) -> Candidate:
        """Return a candidate with other settings and the same clients and threads."""
        return Candidate(settings, self._clients, self._pool, self._profiles)

    @property
    def is_unresolved(self) -> bool:
        """True while its model id is an ARN and the underlying model is unknown."""
        return self.settings.model.base_model_id is None

    def search(self) -> Future[None] | None:
        """Start a lookup of its ARN if useful; return the future to wait for, or None."""
        if self._profiles is None or not self._profiles.may_resolve(self.settings.model):
            return None
        return self._profiles.search(self.settings.model, self.settings.region)

    def resolve(self) -> None:
        """Apply the result of the lookup of its ARN."""
        if self._profiles is not None and self.is_unresolved:
            self._take(self._profiles.resolved(self.settings.model))

    def _take(self, model: ModelConfig) -> None:
        if model is not self.settings.model:
            self.settings = self.settings.of(model)
            self._model = None

    def unsuited_because(self, request: ChatRequest) -> str | None:
        """Return why this model can't serve the request, or None."""
        if self.settings.outside is not None:
            return self.settings.outside
        if reason := check(request.needs, self.settings.model, tool_count=request.tool_count):
            return reason
        guarded = {**self.settings.request_fields, **request.kwargs}.get("guardrail_config")
        if guarded and self.settings.region not in (None, self._clients.region):
            return "Model is in a different region from the guardrail"
        return self._cannot_force_a_call(request) if request.needs.tool_choice else None

    def _cannot_force_a_call(self, request: ChatRequest) -> str | None:
        """Return why this model can't be forced to call a tool in this request, or None."""
        model = self.settings.model
        known = model.base_model_id is None or model.tool_choices is not None
        given, _ = self.settings.taken(request.kwargs)
        thinking = thinking_parameters(
            self.settings.request_fields, given, model=self.settings.model
        )
        if known and not thinking:
            return None
        choices = self._tool_choices(thinking)
        if fit_tool_choice(request.kwargs["tool_choice"], choices, request.tool_count) is None:
            reason = "Model does not support a forced tool choice"
            return f"{reason} while it thinks" if thinking else reason
        return None

    def invoke(
        self, input: AttemptRequest, config: RunnableConfig | None = None, **_: Any
    ) -> ChatResult:
        """Make one attempt.

        Raises:
            BedrockError: The classified failure; its cause is botocore's error.
        """
        self._warn_of_a_short_timeout(input)
        with measured(input):
            wired, messages, keywords = self._prepared(input)
            result: ChatResult = wired._generate(messages, **keywords)
            return self._answer(result, wired.client)

    def _prepared(self, attempt: AttemptRequest) -> tuple[Any, list[BaseMessage], dict[str, Any]]:
        """Return the model with the attempt's own client, and the messages and keywords for it."""
        request = attempt.request
        kept = with_kept_names(request.messages)
        wired = self._wired(attempt, names_kept=kept is not request.messages)
        return wired, own_messages(kept), {"stop": request.stop, **self._form(attempt)}

    def _answer(self, result: ChatResult, wire: WireClient) -> ChatResult:
        for generation in result.generations:
            generation.message.response_metadata["model_name"] = self.model_id
            restore_results(generation.message)
            if isinstance(generation.message, AIMessage):
                generation.message.invalid_tool_calls = wire.broken_calls
        return result

    async def ainvoke(
        self, input: AttemptRequest, config: RunnableConfig | None = None, **_: Any
    ) -> ChatResult:
        """Make one attempt, on a thread of the pool if it may block.

        A cancelled attempt is recorded at once.
        """
        if self._may_await(input, "Converse"):
            result = await self._awaited(input)
            if result is not None:
                return result
        return await self._pool.run(lambda: self._on_a_thread(input), input, self._share)

    def _may_await(self, attempt: AttemptRequest, operation: str) -> bool:
        """Return whether an attempt is made without a thread, unless boto3 must send its request.

        What is made once is made on a thread, and so is an attempt that a budget may let wait.
        """
        budget = attempt.meter.budget
        return (
            (budget is None or not (budget.may_wait or self.is_unresolved))
            and is_ready_for_asyncio(self._clients.built_runtime(self.settings.region), operation)
            and is_steppable()
        )

    def _on_a_thread(self, attempt: AttemptRequest) -> ChatResult:
        prepare_asyncio(self._clients.runtime(self.settings.region))
        return self.invoke(attempt)

    async def _awaited(self, attempt: AttemptRequest) -> ChatResult | None:
        """Make one attempt without a thread; return None if boto3 must send its request."""
        async with _settled(attempt), self._pool.slot(attempt, self._share):
            self._warn_of_a_short_timeout(attempt)
            with measured(attempt) as measurement:
                wired, messages, keywords = self._prepared(attempt)
                call, wire = SteppedCall(wired), wired.client
                if not await call.form(messages, keywords):
                    measurement.postpone()
                    return None
                try:
                    return self._answer(await call.result(), wire)
                except asyncio.CancelledError:
                    attempt.meter.cancel()
                    raise

    def stream(
        self, input: AttemptRequest, config: RunnableConfig | None = None, **_: Any
    ) -> Generator[ChatGenerationChunk, None, None]:
        """Make one attempt and yield its chunks; a model that can't stream yields one."""
        if self._answers_whole(input.request):
            yield as_chunk(self.invoke(input).generations[0])
            return
        with measured(input):
            wired, messages, keywords = self._prepared(input)
            with closing(wired._stream(messages, **keywords)) as chunks:
                for chunk in chunks:
                    yield self._named(chunk)

    def _named(self, chunk: ChatGenerationChunk) -> ChatGenerationChunk:
        restore_results(chunk.message)
        metadata = chunk.message.response_metadata
        if "model_name" in metadata:
            metadata["model_name"] = self.model_id
        return chunk

    async def astream(
        self, input: AttemptRequest, config: RunnableConfig | None = None, **_: Any
    ) -> AsyncGenerator[ChatGenerationChunk, None]:
        """Make one attempt and yield its chunks; on threads of the pool if it may block."""
        if self._may_await(input, "ConverseStream") and not self._answers_whole(input.request):
            async with _settled(input), self._pool.stream_slot(input, self._share) as work:
                with measured(input) as measurement:
                    work.on_timeout = measurement.time_is_up
                    wired, messages, keywords = self._prepared(input)
                    stream = SteppedStream(wired)
                    if await stream.form(messages, keywords):
                        with stream:
                            while await work.receive(stream):
                                for chunk in stream.chunks():
                                    yield self._named(chunk)
                        return
                    measurement.postpone()
        pumped = self._pool.stream(lambda: self._threaded(input), input, self._share)
        async with aclosing(pumped) as chunks:
            async for chunk in chunks:
                yield chunk

    def _threaded(self, attempt: AttemptRequest) -> Generator[ChatGenerationChunk, None, None]:
        prepare_asyncio(self._clients.runtime(self.settings.region))
        return self.stream(attempt)

    def formed(self, request: ChatRequest) -> dict[str, Any]:
        """Return the Converse request of a request without tools, without sending it."""
        kept = with_kept_names(request.messages)
        forming = self._forming(request, names_kept=kept is not request.messages)
        client = FormingClient(
            self._clients.runtime(self.settings.region), self.settings.model, forming
        )
        model, keywords = self._with_client(client, request), self._keywords(request)
        try:
            model._generate(own_messages(kept), stop=request.stop, **keywords)
        except FormedOnly as end:
            return end.params
        raise RuntimeError("langchain-aws sent no request")

    @property
    def _share(self) -> tuple[str | None, str]:
        """The key of the pool's slots that its attempts use: region and model."""
        return self.settings.region, self.model_id

    def _answers_whole(self, request: ChatRequest) -> bool:
        disabled = self.model.disable_streaming
        return disabled is True or (disabled == "tool_calling" and bool(request.tool_count))

    def _wired(self, attempt: AttemptRequest, *, names_kept: bool) -> Any:
        """Return a shallow copy of the model with this attempt's own client."""
        client = self._clients.runtime(self.settings.region)
        forming = self._forming(attempt.request, names_kept=names_kept)
        wire = WireClient(client, attempt.meter, attempt.time_budget, self.settings.model, forming)
        return self._with_client(wire, attempt.request)

    def _forming(self, request: ChatRequest, *, names_kept: bool) -> Forming:
        raw = request.raw
        original = OriginalRequest(
            messages=request.messages,
            system=None if raw is None else raw.system,
            cache_control=request.kwargs.get("cache_control"),
            parameters={**self.settings.given, **request.kwargs},
            left_out=(*self.settings.left_out, *self.settings.taken(request.kwargs)[1]),
        )
        return Forming(original, names_kept)

    def _with_client(self, client: Any, request: ChatRequest) -> Any:
        update: dict[str, Any] = {
            "client": client,
            "raw_blocks": None if request.raw is None else request.raw.messages,
        }
        if metadata := request.kwargs.get("request_metadata"):
            update["request_metadata"] = metadata  # as a keyword its keys would be renamed
        return self.model.model_copy(update=update)

    def _form(self, attempt: AttemptRequest) -> dict[str, Any]:
        """Return the call's keywords adapted to this model; record changes in the meter."""
        given, _ = self.settings.taken(attempt.request.kwargs)
        formed = self._keywords(attempt.request)
        if given.get("tools"):
            formed |= self._form_tools(given, attempt.meter)
        return formed

    def _keywords(self, request: ChatRequest) -> dict[str, Any]:
        """Return the call's keywords adapted to this model, without tools."""
        given, _ = self.settings.taken(request.kwargs)
        formed = {k: v for k, v in given.items() if k not in NOT_FOR_THE_WIRE}
        if (max_tokens := given.get("max_tokens")) is not None:
            formed["max_tokens"] = capped(max_tokens, self.settings.model)
        return formed

    def _form_tools(self, given: Mapping[str, Any], meter: Meter) -> dict[str, Any]:
        choices = self._tool_choices(
            thinking_parameters(self.settings.request_fields, given, model=self.settings.model)
        )
        wanted, tools = given.get("tool_choice"), given["tools"]
        choice = fit_tool_choice(wanted, choices, len(tools))
        if choice is None and forced_choice(wanted):
            choice = fit_tool_choice("auto", choices, len(tools))
            meter.adapted += (UNFORCED,)
        if given.get("parallel_tool_calls") is False:
            meter.adapted += (PARALLEL_CALLS,)
        return {"tool_config": tool_config(tools, choice, strict=given.get("strict"))}

    def _tool_choices(self, thinking: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the kinds of tool choice that the model accepts with these parameters."""
        model = self.model
        if thinking != thinking_parameters(self.settings.request_fields, {}, as_given=True):
            model = self._build(thinking)
        return tuple(model.supports_tool_choice_values or ())

    def _warn_of_a_short_timeout(self, attempt: AttemptRequest) -> None:
        """Log a warning, once, if an answer of ``max_tokens`` can't arrive within the timeout."""
        request = attempt.request
        max_tokens = request.kwargs.get("max_tokens") or self.settings.request_fields.get(
            "max_tokens"
        )
        if self._warned or not max_tokens or not outlasts(max_tokens, request.timeout):
            return
        self._warned = True
        logger.warning(
            "%s: generating %d tokens without streaming takes longer than timeout_seconds %g: "
            "stream, lower max_tokens, or raise timeout_seconds",
            self.public_id,
            max_tokens,
            request.timeout,
        )

    def _build(self, parameters: Mapping[str, Any]) -> Any:
        return built_model(self.settings, self._clients, parameters)


class _settled:  # noqa: N801 - reads as a verb in its with statement
    """Waits at the end until the attempt's budgets are settled, unless its task was cancelled."""

    def __init__(self, attempt: AttemptRequest) -> None:
        self._budget = attempt.meter.budget

    async def __aenter__(self) -> None:
        pass

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._budget is not None and (kind is None or issubclass(kind, Exception)):
            await self._budget.settled()
