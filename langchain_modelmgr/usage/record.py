"""ModelUsageMetrics: the record of one attempt, which summary, ledger and sinks receive."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self

from langchain_modelmgr.usage.pricing import TokenCounts, cost_of

if TYPE_CHECKING:
    from langchain_modelmgr.catalog import ModelConfig

Outcome = Literal["answered", "failed", "aborted", "cached"]
"""How an attempt ended. ``aborted``: the caller cancelled it, which is not a failure of the model.
``cached``: LangChain's response cache answered, and nothing was sent."""


OTHER = "other"
"""The name under which agents, models and values beyond the limit are added up."""


@dataclass(frozen=True, slots=True)
class ModelUsageMetrics:
    """Usage of one attempt: one request to one model.

    Attributes:
        agent_name: The agent, the CloudWatch dimension ``Agent``.
        model_id: The model that was called, the CloudWatch dimension ``Model``.
        timestamp: When the attempt ended, in UTC.
        input_tokens: Input tokens without cache reads and writes, as Bedrock counts.
        output_tokens: Output tokens.
        latency_ms: Milliseconds until the last byte was received; None: of a batch inference job,
            which has none.
        success: False only if the model or the service failed.
        error_message: Class name of the failure, never its text: texts can contain content.
        cache_read_tokens: Tokens read from the prompt cache.
        cache_write_5m_tokens: Tokens written to the prompt cache for 5 minutes.
        cache_write_1h_tokens: Tokens written to the prompt cache for 1 hour.
        request_id: AWS's request id.
        outcome: ``answered``, ``failed``, ``aborted`` or ``cached``.
        has_usage: True if the token counts are known, or estimated; without it the counts above
            mean "unknown", not zero.
        cost_usd: Exact cost in USD; None if there is no usage or a price is unknown.
        run_id: LangChain's run id of the call.
        tags: LangChain's tags of the call.
        metadata: LangChain's metadata of the call.
        service_tier: The service tier that served, as the reply names it; None: the default.
        estimated_wasted_cost_usd: USD that Bedrock probably billed for an attempt that broke, an
            estimate: of the input, and of the output as far as it was received. None if it was
            not billed, or if its price is unknown.
        time_to_first_token_ms: Milliseconds from the start of the attempt to its first content;
            None if it was not streamed, or gave none.
        is_fallback: True if a model other than the chain's first one was called.
        usage_estimated: True if the model answered without token counts: they are estimated, and
            ``cost_usd`` is None.
    """

    agent_name: str
    model_id: str
    timestamp: datetime
    input_tokens: int
    output_tokens: int
    latency_ms: float | None
    success: bool
    error_message: str | None = None
    cache_read_tokens: int = 0
    cache_write_5m_tokens: int = 0
    cache_write_1h_tokens: int = 0
    request_id: str | None = None
    outcome: Outcome = "answered"
    has_usage: bool = True
    cost_usd: Decimal | None = None
    run_id: str | None = None
    tags: tuple[str, ...] = ()
    metadata: dict[str, Any] = field(default_factory=dict)
    service_tier: str | None = None
    estimated_wasted_cost_usd: Decimal | None = None
    time_to_first_token_ms: float | None = None
    is_fallback: bool = False
    usage_estimated: bool = False

    @property
    def tokens(self) -> TokenCounts:
        """The five disjoint token counts."""
        return TokenCounts(
            self.input_tokens,
            self.output_tokens,
            self.cache_read_tokens,
            self.cache_write_5m_tokens,
            self.cache_write_1h_tokens,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return a plain, JSON-safe dict: timestamp in ISO 8601, cost as a decimal string."""
        return {name: _plain(getattr(self, name)) for name in self.__slots__}

    def get_cost(self, model_config: ModelConfig) -> float:
        """Return the cost in USD by the prices of ``model_config``, as the design guide does.

        Raises:
            ValueError: A price that is needed is unknown: 0 would hide a cost.
        """
        cost = cost_of(self.tokens, model_config, self.service_tier)
        if cost is None:
            raise ValueError(f"the price of {model_config.model_id} is unknown")
        return float(cost)


class AttemptStart(NamedTuple):
    """An attempt as it is known when it starts.

    Attributes:
        agent: The agent's name.
        model: The model id.
        attempt: 1 is the first of its call.
        is_fallback: True if a model other than the chain's first one is called.
        call: The call's number in its ledger.
        run_id: LangChain's run id.
        tags: JSON list of the tags that are allowed; None: none.
        metadata: JSON object of the metadata that is allowed; None: none.
        estimate: Its least cost in pico USD, for an attempt without an end.
        time_ms: Milliseconds since 1970.
    """

    agent: str
    model: str
    attempt: int
    is_fallback: int
    call: int
    run_id: str | None
    tags: str | None
    metadata: str | None
    estimate: int | None
    time_ms: int

    @classmethod
    def of(
        cls, usage: ModelUsageMetrics, call: int, metadata: str | None, tags: str | None
    ) -> Self:
        """Return the start of an attempt of which only the end was recorded."""
        return cls(
            usage.agent_name, usage.model_id, 1, int(usage.is_fallback), call, usage.run_id, tags,
            metadata, None, int(usage.timestamp.timestamp() * 1000),
        )  # fmt: skip


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, tuple):
        return list(value)
    # LangChain's metadata may contain anything: values that are not JSON become text.
    return json.loads(json.dumps(value, default=str)) if isinstance(value, dict) else value
