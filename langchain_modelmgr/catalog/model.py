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
"""AWS's names of Bedrock's APIs."""


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
    """The price factors of a request with a long prompt, which apply to all of its tokens.

    Attributes:
        above: Largest number of prompt tokens, cache included, at the plain prices.
        input_multiplier: Factor of the prices of input, cache reads and cache writes.
        output_multiplier: Factor of the output price.
    """

    above: int
    input_multiplier: float
    output_multiplier: float


@dataclass(frozen=True, repr=False)
class ModelConfig:
    """The capabilities, limits and prices of one model; None means unknown.

    Attributes:
        model_id: The requested id, with its geography prefix.
        model_family: ``Claude``, ``Titan``, ``Llama``; the provider's name if unknown.
        max_tokens: Largest number of output tokens of one reply.
        temperature: The model's own default; informational, never sent.
        supports_tools: Accepts tools.
        supports_streaming: Supports ConverseStream.
        cost_per_1k_input_tokens: USD per 1,000 input tokens.
        cost_per_1k_output_tokens: USD per 1,000 output tokens.
        cost_per_1k_cache_read_tokens: USD per 1,000 tokens read from the prompt cache.
        cost_per_1k_cache_write_5m_tokens: USD per 1,000 tokens cached for 5 minutes.
        cost_per_1k_cache_write_1h_tokens: USD per 1,000 tokens cached for 1 hour.
        cost_per_1k_batch_input_tokens: USD per 1,000 input tokens of a batch inference job.
        cost_per_1k_batch_output_tokens: USD per 1,000 output tokens of a batch inference job.
        base_model_id: The foundation model id without prefix; None for an unresolved ARN.
        geography: The geography prefix of its id, or of its ARN's model; None if it has none or
            it is unknown.
        name: Its display name, as its provider writes it.
        provider: The provider as named by langchain-aws: ``anthropic``, ``amazon``, ``meta``, ...
        generation: The version, such as ``4.5`` for Sonnet 4.5.
        tier: The size within a family: ``sonnet``, ``haiku``, ``lite``, ...
        context_window: Largest number of input tokens.
        tool_choices: The tool choices that it accepts, of ``auto``, ``any`` and ``tool``.
        supports_streaming_tools: Accepts tools in ConverseStream.
        supports_images: Accepts images.
        supports_documents: Accepts documents.
        supports_video: Accepts video.
        supports_audio: Accepts audio.
        supports_search_results: Accepts search results.
        supports_s3_sources: Accepts images, documents and video as Amazon S3 locations.
        supports_structured_output: Supports native structured output (``outputConfig``).
        supports_system_prompt: Accepts a system prompt.
        supports_reasoning: Can reason before it answers.
        supports_prompt_caching: Accepts cache points.
        cache_point_places: Where it accepts them: ``tools``, ``system``, ``messages``, and
            ``tool_results`` for directly after a tool's result.
        cache_lifetimes: The lifetimes of cache entries that it accepts: ``5m``, ``1h``.
        supports_citations: Accepts citations, and documents with citations enabled.
        supports_tool_result_status: Accepts the status of a tool's result.
        reasoning_history: The reasoning of earlier turns that it accepts: ``signed``,
            ``unsigned`` or ``none``.
        tool_limits: Limits of tools beyond Bedrock's own rules: ``no_hyphens`` in names,
            ``plain_ids`` and ``nine_character_ids`` of calls, ``no_unions`` at the top of a
            schema, ``plain_property_names``, ``bare_schema``: only type, properties, required.
        refused_parameters: Request parameters that it rejects with an error.
        exclusive_parameters: Request parameters that exclude each other, the preferred one first.
        max_stop_sequence_length: Largest number of characters of a stop sequence.
        supports_blank_stop_sequences: Accepts stop sequences of only white space.
        supports_prefill: Accepts a conversation that ends with the beginning of its own answer.
        request_fields: Fields of ``additionalModelRequestFields`` that it is known to accept.
        supports_forced_choice_while_thinking: Accepts a forced tool choice while it thinks.
        thinking_types: Types of the field ``thinking`` that it accepts; may be empty.
        reasoning_efforts: Values of ``reasoning_effort`` that it accepts; may be empty.
        beta_flags: Flags of the field ``anthropic_beta`` that it accepts; may be empty.
        accepted_service_tiers: Service tiers that it accepts.
        served_by: The Bedrock APIs that serve it: ``converse``, ``responses``,
            ``chat_completions``.
        lifecycle: ``active``; ``legacy`` if its end is announced; ``retired`` if it has ended on
            a date that is unknown. For the state on a given day, use ``lifecycle_on``.
        retirement_date: Its end of life on Bedrock, ISO 8601.
        lifecycle_source: The source of lifecycle and retirement date.
        lifecycle_checked: The day on which that source was read, ISO 8601.
        successor: Base model id of the model that its maker recommends instead.
        falls_back_to: Base model id of its fallback by the family rule.
        long_context: Price factors of long prompts.
        service_tiers: Prices of ``priority`` and ``flex``, if known.
        price_source: The source of the prices.
        price_date: The day on which they were read, ISO 8601.
        price_disputed: Why another public list differs; None if none does.
        price_unknown: Why the price is unknown, if the reason is known.
        in_catalog: False if it is in neither the catalog nor the YAML's ``models:``.
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
    cost_per_1k_batch_input_tokens: float | None = None
    cost_per_1k_batch_output_tokens: float | None = None
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
        """The prices of the default service tier for a prompt of normal length."""
        return TokenPrices(
            self.cost_per_1k_input_tokens,
            self.cost_per_1k_output_tokens,
            self.cost_per_1k_cache_read_tokens,
            self.cost_per_1k_cache_write_5m_tokens,
            self.cost_per_1k_cache_write_1h_tokens,
        )

    @property
    def not_served(self) -> str | None:
        """Why the Converse API does not serve the model; None if it does or if that is unknown."""
        if self.served_by is None or "converse" in self.served_by:
            return None
        apis = " and ".join(_APIS.get(api, api) for api in self.served_by) or "unknown APIs"
        return f"Model is not served by the Converse API, only by {apis}"

    def lifecycle_on(self, day: date) -> Lifecycle | None:
        """Return the model's lifecycle state on a day; None if unknown."""
        if self.retirement_date is None:
            return self.lifecycle
        return "retired" if date.fromisoformat(self.retirement_date) <= day else "legacy"

    def __repr__(self) -> str:
        values = (f"{f.name}={getattr(self, f.name)!r}" for f in fields(self))
        return mask_account_ids(f"ModelConfig({', '.join(values)})")
