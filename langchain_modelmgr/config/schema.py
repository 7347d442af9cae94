"""Pydantic models of the YAML: every key with its type, range and default."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator
from pydantic_core import PydanticCustomError

from langchain_modelmgr.catalog.model import Lifecycle, ReasoningHistory
from langchain_modelmgr.config.budget_schema import BUDGET_NAME, STATE, BudgetConfig
from langchain_modelmgr.config.metrics_schema import MetricsConfig
from langchain_modelmgr.config.parameters import PROBLEM, Parameters
from langchain_modelmgr.runtime.aws_regions import typo_in_region

if TYPE_CHECKING:
    from collections.abc import Mapping

REQUEST_FIELDS = frozenset(Parameters.__annotations__)
"""The names of ChatBedrockConverse's request fields that ``parameters`` may contain."""

PLACES = {
    "max_tokens": "it is a key of the agent itself",
    "temperature": "it is a key of the agent itself",
    "model": "it is a key of the agent itself",
    "model_id": "use the agent's key model",
    "timeout": "use the agent's key timeout_seconds",
    "region_name": "use aws.region, or region of a fallback",
    "endpoint_url": "use aws.endpoint_url",
    "default_headers": "use aws.default_headers",
    "credentials_profile_name": "use aws.profile",
    "base_model_id": "use base_model under models:, or of a fallback",
    "provider": "set it under models:",
    "disable_streaming": "use supports_streaming under models:",
    "supports_tool_choice_values": "use tool_choices under models:",
    "aws_access_key_id": "use aws.profile, or leave credentials to boto3",
    "aws_secret_access_key": "use aws.profile, or leave credentials to boto3",
    "aws_session_token": "use aws.profile, or leave credentials to boto3",
    "bedrock_api_key": "use aws.profile, or leave credentials to boto3",
}
"""Fields of ChatBedrockConverse that are not request fields, and where each belongs."""

Capability = Literal[
    "tools", "streaming", "images", "documents", "video", "audio", "structured_output"
]
ToolLimit = Literal[
    "no_hyphens",
    "plain_ids",
    "nine_character_ids",
    "no_unions",
    "plain_property_names",
    "bare_schema",
]
CachePlace = Literal["tools", "system", "messages", "tool_results"]
Price = Annotated[float, Field(ge=0)]
Text = Annotated[str, Field(min_length=1)]


def _known_region(region: str) -> str:
    if (meant := typo_in_region(region)) is not None:
        raise PydanticCustomError(PROBLEM, f"unknown AWS region; did you mean {meant!r}?")
    return region


Region = Annotated[
    str,
    Field(pattern=r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$", max_length=63),
    AfterValidator(_known_region),
]
"""A region name that botocore accepts as part of a host name, so that new regions work at once."""

_SIGNED = frozenset(
    {"authorization", "content-length", "content-type", "host", "transfer-encoding"}
)


def _header(name: str) -> str:
    if name.lower() in _SIGNED or name.lower().startswith("x-amz-"):
        raise PydanticCustomError(PROBLEM, "is a header that boto3 sets and signs itself")
    return name


HeaderName = Annotated[
    str, Field(pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,256}$"), AfterValidator(_header)
]
HeaderValue = Annotated[str, Field(pattern=r"^[\x20-\x7e\t]*$", max_length=8_192)]
"""Source: RFC 9110, 5.5 and 5.6.2, ASCII only."""


class _Strict(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, regex_engine="python-re", allow_inf_nan=False
    )


class _HasParameters(_Strict):
    parameters: Parameters = Field(default_factory=Parameters)
    """Request fields of ChatBedrockConverse, sent unchanged."""

    @field_validator("parameters", mode="before")
    @classmethod
    def _known(cls, parameters: Any) -> Any:
        for name in parameters if isinstance(parameters, dict) else ():
            if name not in REQUEST_FIELDS:
                raise UnknownParameterError(name)
        return parameters


class UnknownParameterError(ValueError):
    """Raised if ``parameters`` has a key that is not a request field."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


class FallbackConfig(_HasParameters):
    """One fallback model of an agent."""

    model: Text
    """Model id, inference profile id, or ARN."""

    region: Region | None = None
    """The model's own region; None: ``aws.region``."""

    base_model: Text | None = None
    """The foundation model id of an ARN that does not contain it."""

    def request_fields(self) -> dict[str, Any]:
        """Return ChatBedrockConverse's request fields that the fallback sets over the agent's."""
        return dict(self.parameters)


class PromptCachingConfig(_Strict):
    """Options of prompt caching."""

    ttl: Literal["5m", "1h"] = "5m"
    """How long a cache entry lives after its last use."""


class AgentConfig(_HasParameters):
    """One agent: its model, request fields, limits and fallbacks."""

    enabled: bool = True
    """False: using the agent raises ``ConfigurationError``."""

    model: Text | None = None
    """Model id, inference profile id, or ARN; None: ``agents.default_model``."""

    timeout_seconds: Annotated[float, Field(gt=0, le=900)] = 60.0
    """Seconds that an attempt may wait for its first content, and for each further piece."""

    retries: Annotated[int, Field(ge=0, le=10)] = 2
    """How often the last model of the chain is retried after a transient failure."""

    deadline_seconds: Annotated[float, Field(gt=0, le=86_400)] = 600.0
    """Seconds that a whole call may take: retries, fallbacks and streams."""

    cooldown_seconds: Annotated[float, Field(ge=0, le=3_600)] = 30.0
    """Seconds for which a model that keeps failing is skipped at first; 0: never skip it."""

    fallbacks: tuple[FallbackConfig, ...] | None = None
    """Fallback models in order; None: the family rule chooses one; empty: no fallback."""

    max_tokens: Annotated[int, Field(ge=1)] | None = None
    """The most output tokens, capped at each model's limit; not sent if None."""

    temperature: Annotated[float, Field(ge=0, le=1)] | None = None
    """Sampling temperature; not sent if None."""

    prompt_caching: PromptCachingConfig | None = None
    """Sets cache points after the tools, the system prompt and the last message; None: does not."""

    requires: tuple[Capability, ...] = ()
    """Capabilities that the agent's model must have; checked when the chat model is created."""

    @field_validator("fallbacks", mode="before")
    @classmethod
    def _plain_ids(cls, fallbacks: Any) -> Any:
        if not isinstance(fallbacks, list):
            return fallbacks
        return [{"model": f} if isinstance(f, str) else f for f in fallbacks]

    @field_validator("prompt_caching", mode="before")
    @classmethod
    def _switched(cls, caching: Any) -> Any:
        if caching is not None and not isinstance(caching, bool | dict | PromptCachingConfig):
            raise PydanticCustomError(PROBLEM, "must be true, false, or a map with ttl")
        return {True: {}, False: None}[caching] if isinstance(caching, bool) else caching

    @property
    def cache_control(self) -> dict[str, Any] | None:
        """The default ``cache_control`` of a call, or None."""
        if self.prompt_caching is None:
            return None
        return {"type": "ephemeral", "ttl": self.prompt_caching.ttl}

    def request_fields(self) -> dict[str, Any]:
        """Return ChatBedrockConverse's request fields that the agent sets."""
        limits = {"max_tokens": self.max_tokens, "temperature": self.temperature}
        return {**self.parameters, **{k: v for k, v in limits.items() if v is not None}}

    def candidate_key(
        self, fallback: FallbackConfig, region: str | None
    ) -> tuple[str, str | None, dict[str, Any]]:
        """Return what identifies a candidate of the chain: its model, region and parameters.

        Two candidates with the same key are one.

        Args:
            fallback: The fallback, or the agent's own model as one.
            region: The region of models without their own.
        """
        unset = (None, "default")
        given = {**self.parameters, **fallback.parameters}
        if given.get("service_tier") in unset:
            given.pop("service_tier", None)
        return fallback.model, fallback.region or region, given

    @property
    def chosen_model(self) -> str:
        """The model id, which every agent that ``ConfigurationManager.agent`` returns has."""
        if self.model is None:
            raise ValueError("the agent has no model")
        return self.model


class AWSConfig(_Strict):
    """Region, endpoint and profile of AWS; boto3 decides what is not set."""

    region: Region | None = None
    """AWS region."""

    endpoint_url: Annotated[str, Field(pattern=r"^https?://")] | None = None
    """The endpoint of Bedrock Runtime only."""

    profile: Text | None = None
    """The name of a profile in the AWS configuration files."""

    default_headers: dict[HeaderName, HeaderValue] = Field(default_factory=dict)
    """HTTP headers sent with every request to Bedrock Runtime, unsigned."""


class BatchConfig(_Strict):
    """The defaults of batch jobs."""

    engine: Literal["auto", "local", "bedrock", "dask", "ray"] = "auto"
    """``auto``: ``dask`` if a client is given; ``bedrock`` if a deadline of 24 hours or more is
    given, ``role`` and ``bucket`` are set, and model and rows fit; else ``local``."""

    role: Annotated[str, Field(pattern=r"^arn:aws[^:]*:iam::\d{12}:role/.+$")] | None = None
    """The ARN of the role with which Bedrock reads and writes the bucket, for ``bedrock``."""

    bucket: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")] | None = None
    """The S3 bucket of the input and output of batch inference jobs, for ``bedrock``."""

    concurrency: Annotated[int, Field(ge=1, le=10_000)] = 64
    """The most rows that are out at once, over all workers."""


class LedgerConfig(NamedTuple):
    """The ledger's keys, as described in ``ConfigFile``."""

    where: str
    days: int
    max_mb: int
    metadata: tuple[str, ...]


class ModelOverride(_Strict):
    """Facts of one model that override the catalog's, as described in ``ModelConfig``."""

    base_model: Text | None = None
    """The foundation model id of an ARN that does not contain it."""

    model_family: Text | None = None
    provider: Text | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    temperature: Annotated[float, Field(ge=0)] | None = None
    context_window: Annotated[int, Field(ge=1)] | None = None
    supports_tools: bool | None = None
    supports_streaming: bool | None = None
    supports_streaming_tools: bool | None = None
    supports_images: bool | None = None
    supports_documents: bool | None = None
    supports_video: bool | None = None
    supports_audio: bool | None = None
    supports_search_results: bool | None = None
    supports_s3_sources: bool | None = None
    supports_prefill: bool | None = None
    supports_structured_output: bool | None = None
    supports_system_prompt: bool | None = None
    supports_reasoning: bool | None = None
    supports_prompt_caching: bool | None = None
    cache_point_places: tuple[CachePlace, ...] | None = None
    cache_lifetimes: tuple[Literal["5m", "1h"], ...] | None = None
    supports_citations: bool | None = None
    supports_tool_result_status: bool | None = None
    reasoning_history: ReasoningHistory | None = None
    tool_limits: tuple[ToolLimit, ...] | None = None
    refused_parameters: tuple[Text, ...] | None = None
    exclusive_parameters: tuple[Text, ...] | None = None
    max_stop_sequence_length: Annotated[int, Field(ge=1)] | None = None
    supports_blank_stop_sequences: bool | None = None
    request_fields: tuple[Text, ...] | None = None
    thinking_types: tuple[Literal["enabled", "adaptive", "disabled"], ...] | None = None
    supports_forced_choice_while_thinking: bool | None = None
    reasoning_efforts: tuple[Text, ...] | None = None
    beta_flags: tuple[Text, ...] | None = None
    accepted_service_tiers: tuple[Text, ...] | None = None
    served_by: tuple[Literal["converse", "responses", "chat_completions"], ...] | None = None
    lifecycle: Lifecycle | None = None
    retirement_date: date | None = None
    tool_choices: tuple[Literal["auto", "any", "tool"], ...] | None = None
    falls_back_to: Text | None = None
    cost_per_1k_input_tokens: Price | None = None
    cost_per_1k_output_tokens: Price | None = None
    cost_per_1k_cache_read_tokens: Price | None = None
    cost_per_1k_cache_write_5m_tokens: Price | None = None
    cost_per_1k_cache_write_1h_tokens: Price | None = None
    cost_per_1k_batch_input_tokens: Price | None = None
    cost_per_1k_batch_output_tokens: Price | None = None
    price_multiplier: Annotated[float, Field(gt=0)] | None = None
    """Factor of all prices, the catalog's included: 0.9 is a discount of 10 %."""

    def facts(self) -> Mapping[str, Any]:
        """Return the facts that are set, with the catalog's names."""
        given = self.model_dump(exclude_unset=True)
        if given.get("retirement_date") is not None:
            given["retirement_date"] = given["retirement_date"].isoformat()
        if "base_model" in given:
            given["base_model_id"] = given.pop("base_model")
        return given


class ConfigFile(_Strict):
    """The configuration file, as read."""

    project_prefix: Annotated[str, Field(pattern=r"^(?!AWS/)[A-Za-z0-9._/#-]{1,240}$")] = "modelmgr"
    """The CloudWatch namespace is ``{project_prefix}/Models``."""

    aws: AWSConfig = AWSConfig()
    metrics: MetricsConfig = MetricsConfig()

    ledger: Text = "auto"
    """``auto``, ``off``, or the folder where attempts are kept."""

    ledger_days: Annotated[int, Field(ge=1, le=3_650)] = 35
    """For how many days attempts are kept; totals are kept for 13 months."""

    ledger_max_mb: Annotated[int, Field(ge=1)] = 1_024
    """The most megabytes that the ledger may use."""

    ledger_metadata: tuple[Text, ...] = ()
    """Metadata keys and tags of a call that the ledger keeps."""

    state: Annotated[str, Field(pattern=STATE)] = "auto"
    """Where budgets are kept: ``auto`` is an SQLite file in the state folder."""

    state_required: bool = False
    """True: nothing is sent while the store of the budgets can't be reached."""

    budgets: dict[Annotated[str, Field(pattern=BUDGET_NAME)], BudgetConfig] = Field(
        default_factory=dict
    )
    budgets_max_tokens: Annotated[int, Field(ge=1)] = 4096
    """``max_tokens`` of requests without one, under a budget."""

    batch: BatchConfig = BatchConfig()

    models: dict[str, ModelOverride] = Field(default_factory=dict)
    retired_models: Literal["problem", "warning"] = "problem"
    """How ``check_chains()`` reports retired models: ``warning`` if they still serve you."""

    default_model: Text | None = None
    context_window_size: Annotated[int, Field(ge=1)] | None = None
    allow_unknown: bool = False
    agents: dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")], AgentConfig] = Field(
        default_factory=dict
    )

    @field_validator("ledger", mode="before")
    @classmethod
    def _off(cls, ledger: Any) -> Any:
        return "off" if ledger is False else ledger  # YAML reads a bare `off` as false

    @field_validator("models", "agents", "aws", "metrics", "budgets", "batch", mode="before")
    @classmethod
    def _empty(cls, section: Any) -> Any:
        return {} if section is None else section


AGENT_SCALARS = ("default_model", "context_window_size", "allow_unknown")
"""Keys under ``agents:`` that are not names of agents."""
