"""ModelConfig: what one model can do and what it costs."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from datetime import date
from typing import TYPE_CHECKING, Literal

from langchain_modelmgr.runtime.masking import mask_account_ids

if TYPE_CHECKING:
    from collections.abc import Mapping

ReasoningHistory = Literal["signed", "unsigned", "none"]
Lifecycle = Literal["active", "legacy", "retired"]


_APIS = {"responses": "Responses", "chat_completions": "Chat Completions"}
"""AWS's names of its APIs."""


@dataclass(frozen=True, slots=True)
class TokenPrices:
    """USD per 1,000 tokens of each kind; None: unknown.

    Attributes:
        input: Input tokens without the prompt cache.
        output: Output tokens.
        cache_read: Tokens read from the prompt cache.
        cache_write_5m: Tokens cached for 5 minutes.
        cache_write_1h: Tokens cached for 1 hour.
    """

    input: float | None = None
    output: float | None = None
    cache_read: float | None = None
    cache_write_5m: float | None = None
    cache_write_1h: float | None = None


@dataclass(frozen=True, slots=True)
class LongContext:
    """What a long prompt does to the price of a request: of all its tokens, not of those above.

    Attributes:
        above: Prompt tokens, the cache included, up to which the plain prices hold.
        input_multiplier: Factor of the prices of input, cache reads and cache writes.
        output_multiplier: Factor of the output price.
    """

    above: int
    input_multiplier: float
    output_multiplier: float


@dataclass(frozen=True, repr=False)
class ModelConfig:
    """What one model can do and what it costs; None: unknown.

    Attributes:
        model_id: The id as it was asked for, geography prefix and all.
        model_family: ``Claude``, ``Titan``, ``Llama``; the provider's name where none is known.
        max_tokens: Output tokens of one reply at most.
        temperature: The model's own default; informational, never sent.
        supports_tools: Takes tools.
        supports_streaming: Answers ConverseStream.
        cost_per_1k_input_tokens: USD per 1,000 input tokens.
        cost_per_1k_output_tokens: USD per 1,000 output tokens.
        cost_per_1k_cache_read_tokens: USD per 1,000 tokens read from the prompt cache.
        cost_per_1k_cache_write_5m_tokens: USD per 1,000 tokens cached for 5 minutes.
        cost_per_1k_cache_write_1h_tokens: USD per 1,000 tokens cached for 1 hour.
        base_model_id: The foundation model, without prefix; None for an ARN that hides it.
        geography: The geography that its id, or the model behind its ARN, is prefixed with; None:
            none, or not known.
        name: Its name for people, as its provider writes it.
        provider: As langchain-aws names it: ``anthropic``, ``amazon``, ``meta``, ...
        generation: ``4.5`` of Sonnet 4.5.
        tier: ``sonnet``, ``haiku``, ``lite``, ...: the size within a family.
        context_window: Input tokens at most.
        tool_choices: Which of ``auto``, ``any`` and ``tool`` it takes.
        supports_streaming_tools: Takes tools in ConverseStream.
        supports_images: Takes images.
        supports_documents: Takes documents.
        supports_video: Takes video.
        supports_audio: Takes audio.
        supports_search_results: Takes search results.
        supports_s3_sources: Takes images, documents and video by their place in Amazon S3.
        supports_structured_output: Answers by a JSON schema natively (``outputConfig``).
        supports_system_prompt: Takes a system prompt.
        supports_reasoning: Can reason before it answers.
        supports_prompt_caching: Takes cache points.
        cache_point_places: Where it takes them: ``tools``, ``system``, ``messages``, and
            ``tool_results`` for right after a tool's result.
        cache_lifetimes: How long it caches: ``5m``, ``1h``.
        supports_citations: Takes citations, and documents that ask for them.
        supports_tool_result_status: Takes the status of a tool's result.
        reasoning_history: Which reasoning of earlier turns it takes: ``signed``, ``unsigned`` or
            ``none``.
        tool_limits: What it refuses of tools beyond Bedrock's own rules: ``no_hyphens`` in names,
            ``plain_ids`` and ``nine_character_ids`` of calls, ``no_unions`` at the top of a
            schema, ``plain_property_names``, ``bare_schema``: only type, properties, required.
        refused_parameters: Request parameters that it answers with an error.
        exclusive_parameters: Request parameters of which it takes one, the preferred one first.
        max_stop_sequence_length: Characters of one stop sequence at most.
        supports_blank_stop_sequences: Takes stop sequences of white space only.
        supports_prefill: Takes a conversation that ends with the beginning of its own answer.
        request_fields: Fields of ``additionalModelRequestFields`` that it is known to take.
        supports_forced_choice_while_thinking: Can be forced to a tool while it thinks.
        thinking_types: Which types of the field ``thinking`` it takes; empty: none.
        reasoning_efforts: Which values of ``reasoning_effort`` it takes; empty: none.
        beta_flags: Which flags of the field ``anthropic_beta`` it takes; empty: none.
        accepted_service_tiers: Which service tiers it takes.
        served_by: Which of Bedrock's APIs serve it: ``converse``, ``responses``,
            ``chat_completions``.
        lifecycle: ``active``; ``legacy``: its end is announced; ``retired``: it is past, and no
            source tells the day. ``lifecycle_on`` is what holds on a day.
        retirement_date: Its end of life on Bedrock, ISO 8601.
        lifecycle_source: Where lifecycle and retirement date are from.
        lifecycle_checked: The day on which that source was read, ISO 8601.
        successor: Base model id of what its maker offers in its place today.
        falls_back_to: Base model id of its one fallback by the family rule.
        long_context: What a long prompt does to the price.
        service_tiers: Prices of ``priority`` and ``flex``, where they are known.
        price_source: Where the prices are from.
        price_date: When they were read, ISO 8601.
        price_disputed: Why another public list says otherwise; None: none does.
        price_unknown: Why there is no price, where the reason is known.
        in_catalog: False if neither the catalog nor the YAML's ``models:`` has it.
    """

    model_id: str
    model_family: str
    max_tokens: int | None
    temperature: float | None
    supports_tools: bool | None
    supports_streaming: bool | None
    cost_per_1k_input_tokens: float | None
    cost_per_1k_output_tokens: float | None
    cost_per_1k_cache_read_tokens: float | None = None
    cost_per_1k_cache_write_5m_tokens: float | None = None
    cost_per_1k_cache_write_1h_tokens: float | None = None
    base_model_id: str | None = None
    geography: str | None = None
    name: str | None = None
    provider: str | None = None
    generation: str | None = None
    tier: str | None = None
    context_window: int | None = None
    tool_choices: tuple[str, ...] | None = None
    supports_streaming_tools: bool | None = None
    supports_images: bool | None = None
    supports_documents: bool | None = None
    supports_video: bool | None = None
    supports_audio: bool | None = None
    supports_search_results: bool | None = None
    supports_s3_sources: bool | None = None
    supports_structured_output: bool | None = None
    supports_system_prompt: bool | None = None
    supports_reasoning: bool | None = None
    supports_prompt_caching: bool | None = None
    cache_point_places: tuple[str, ...] | None = None
    cache_lifetimes: tuple[str, ...] | None = None
    supports_citations: bool | None = None
    supports_tool_result_status: bool | None = None
    reasoning_history: ReasoningHistory | None = None
    tool_limits: tuple[str, ...] = ()
    refused_parameters: tuple[str, ...] = ()
    exclusive_parameters: tuple[str, ...] = ()
    max_stop_sequence_length: int | None = None
    supports_blank_stop_sequences: bool | None = None
    supports_prefill: bool | None = None
    request_fields: tuple[str, ...] | None = None
    supports_forced_choice_while_thinking: bool | None = None
    thinking_types: tuple[str, ...] | None = None
    reasoning_efforts: tuple[str, ...] | None = None
    beta_flags: tuple[str, ...] | None = None
    accepted_service_tiers: tuple[str, ...] | None = None
    served_by: tuple[str, ...] | None = None
    lifecycle: Lifecycle | None = None
    retirement_date: str | None = None
    lifecycle_source: str | None = None
    lifecycle_checked: str | None = None
    successor: str | None = None
    falls_back_to: str | None = None
    long_context: LongContext | None = None
    service_tiers: Mapping[str, TokenPrices] = field(default_factory=dict)
    price_source: str | None = None
    price_date: str | None = None
    price_disputed: str | None = None
    price_unknown: str | None = None
    in_catalog: bool = True

    @property
    def prices(self) -> TokenPrices:
        """The plain prices: the default service tier, a prompt of common length."""
        return TokenPrices(
            self.cost_per_1k_input_tokens,
            self.cost_per_1k_output_tokens,
            self.cost_per_1k_cache_read_tokens,
            self.cost_per_1k_cache_write_5m_tokens,
            self.cost_per_1k_cache_write_1h_tokens,
        )

    @property
    def not_served(self) -> str | None:
        """Why Converse does not serve the model; None if it does, or if nobody knows."""
        if self.served_by is None or "converse" in self.served_by:
            return None
        apis = " and ".join(_APIS.get(api, api) for api in self.served_by) or "no API that is known"
        return f"Model is not served by the Converse API, only by {apis}"

    def lifecycle_on(self, day: date) -> Lifecycle | None:
        """Return what becomes of the model on a day; None if nobody knows."""
        if self.retirement_date is None:
            return self.lifecycle
        return "retired" if date.fromisoformat(self.retirement_date) <= day else "legacy"

    def __repr__(self) -> str:
        told = (f"{f.name}={getattr(self, f.name)!r}" for f in fields(self))
        return mask_account_ids(f"ModelConfig({', '.join(told)})")
