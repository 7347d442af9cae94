"""The pydantic models of the YAML: every key, its type, its range and its default."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator
from pydantic_core import PydanticCustomError

from langchain_modelmgr.catalog.model import Lifecycle, ReasoningHistory
from langchain_modelmgr.config.parameters import PROBLEM, Parameters
from langchain_modelmgr.runtime.aws_regions import typo_in_region

if TYPE_CHECKING:
    from collections.abc import Mapping

REQUEST_FIELDS = frozenset(Parameters.__annotations__)
"""ChatBedrockConverse's request fields, which ``parameters`` may hold."""

PLACES = {
    "max_tokens": "it is a key of the agent itself",
    "temperature": "it is a key of the agent itself",
    "model": "it is a key of the agent itself",
    "model_id": "give the agent's key model",
    "timeout": "give the agent's key timeout_seconds",
    "region_name": "give aws.region, or region of a fallback",
    "endpoint_url": "give aws.endpoint_url",
    "default_headers": "give aws.default_headers",
    "credentials_profile_name": "give aws.profile",
    "base_model_id": "give base_model under models:, or of a fallback",
    "provider": "give it under models:",
    "disable_streaming": "give supports_streaming under models:",
    "supports_tool_choice_values": "give tool_choices under models:",
    "aws_access_key_id": "credentials are boto3's business: a profile, a role or the environment",
    "aws_secret_access_key": "credentials are boto3's business",
    "aws_session_token": "credentials are boto3's business",
    "bedrock_api_key": "credentials are boto3's business",
}
"""Fields of ChatBedrockConverse that are no request's, with the place where they belong."""

Capability = Literal[
    "tools", "streaming", "images", "documents", "video", "audio", "structured_output"
]
ExtraMetric = Literal[
    "time_to_first_token",
    "cache_tokens",
    "fallbacks",
    "throttles",
    "wasted_cost",
    "unpriced",
    "rollup",
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
"""What can be a part of a host's name, as botocore wants it; new regions need no new release."""

_SIGNED = frozenset(
    {"authorization", "content-length", "content-type", "host", "transfer-encoding"}
)


def _header(name: str) -> str:
    if name.lower() in _SIGNED or name.lower().startswith("x-amz-"):
        raise PydanticCustomError(PROBLEM, "is a header that boto3 sets and signs")
    return name


HeaderName = Annotated[
    str, Field(pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,256}$"), AfterValidator(_header)
]
HeaderValue = Annotated[str, Field(pattern=r"^[\x20-\x7e\t]*$", max_length=8_192)]
"""Source: RFC 9110, 5.5 and 5.6.2, without what is not ASCII."""


class _Strict(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, regex_engine="python-re", allow_inf_nan=False
    )


class _HasParameters(_Strict):
    parameters: Parameters = Field(default_factory=Parameters)
    """Request fields of ChatBedrockConverse, sent as they are."""

    @field_validator("parameters", mode="before")
    @classmethod
    def _known(cls, parameters: Any) -> Any:
        for name in parameters if isinstance(parameters, dict) else ():
            if name not in REQUEST_FIELDS:
                raise UnknownParameterError(name)
        return parameters


class UnknownParameterError(ValueError):
    """``parameters`` has a key that is no request field."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


class FallbackConfig(_HasParameters):
    """One model to fall back to."""

    model: Text
    """Model id, inference profile id, or ARN."""

    region: Region | None = None
    """Its own region; None: that of all models."""

    base_model: Text | None = None
    """The model id behind an ARN that does not name it."""


class PromptCachingConfig(_Strict):
    """Prompt caching that is turned on."""

    ttl: Literal["5m", "1h"] = "5m"
    """How long the cache lives after its last use."""


class AgentConfig(_HasParameters):
    """How one agent calls its model, and what it does when that model is down."""

    enabled: bool = True
    """False: using the agent is an error that says so."""

    model: Text | None = None
    """Model id, inference profile id, or ARN; None: ``agents.default_model``."""

    timeout_seconds: Annotated[float, Field(gt=0, le=900)] = 60.0
    """Seconds that one attempt may wait for its first content, and for each further."""

    retries: Annotated[int, Field(ge=0, le=10)] = 2
    """Further attempts of the last model of the chain for passing failures."""

    deadline_seconds: Annotated[float, Field(gt=0, le=86_400)] = 600.0
    """Seconds that a whole call may take: retries, fallbacks and streams."""

    cooldown_seconds: Annotated[float, Field(ge=0, le=3_600)] = 30.0
    """Seconds for which a model that keeps failing is passed over at first; 0: never."""

    fallbacks: tuple[FallbackConfig, ...] | None = None
    """Models to fall back to, in order; None: the family rule; empty: none."""

    max_tokens: Annotated[int, Field(ge=1)] | None = None
    """Output tokens at most; not sent if None, capped at each model's limit."""

    temperature: Annotated[float, Field(ge=0, le=1)] | None = None
    """Sampling temperature; not sent if None."""

    prompt_caching: PromptCachingConfig | None = None
    """Cache points after the tools, the system prompt and the last message; None: no own ones."""

    requires: tuple[Capability, ...] = ()
    """What the agent's model must be able to do; checked when the chat model is made."""

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
            raise PydanticCustomError(PROBLEM, "must be true, false, or a map of ttl")
        return {True: {}, False: None}[caching] if isinstance(caching, bool) else caching

    @property
    def cache_control(self) -> dict[str, Any] | None:
        """What a call has as ``cache_control`` that gives none itself."""
        if self.prompt_caching is None:
            return None
        return {"type": "ephemeral", "ttl": self.prompt_caching.ttl}

    def request_to(
        self, fallback: FallbackConfig, region: str | None
    ) -> tuple[str, str | None, dict[str, Any]]:
        """Return what a fallback is asked: its model, region and parameters.

        Two candidates of a chain that are asked the same are one.

        Args:
            fallback: The fallback, or the agent's own model as one.
            region: The region of models that name none.
        """
        unset = (None, "default")
        given = {**self.parameters, **fallback.parameters}
        if given.get("service_tier") in unset:
            given.pop("service_tier", None)
        return fallback.model, fallback.region or region, given

    @property
    def chosen_model(self) -> str:
        """The model id; a configuration never hands out an agent without one."""
        if self.model is None:
            raise ValueError("an agent without a model")
        return self.model


class AWSConfig(_Strict):
    """Where AWS is; what is not given is left to boto3."""

    region: Region | None = None
    """AWS region."""

    endpoint_url: Annotated[str, Field(pattern=r"^https?://")] | None = None
    """Bedrock Runtime's endpoint, and no other service's."""

    profile: Text | None = None
    """A profile of the AWS configuration files."""

    default_headers: dict[HeaderName, HeaderValue] = Field(default_factory=dict)
    """HTTP headers that go along with every request to Bedrock Runtime, unsigned."""


class MetricsConfig(_Strict):
    """Where usage records go."""

    sink: Literal["auto", "cloudwatch", "emf", "memory", "none"] = "auto"
    """``auto`` is EMF on standard output in AWS Lambda, and CloudWatch elsewhere."""

    extra: tuple[ExtraMetric, ...] = ()
    """What is published beyond the guide's five metrics."""

    on_ambiguous: Literal["drop", "resend"] = "drop"
    """What becomes of what was sent without an answer: given up and counted, or sent again."""


class LedgerSettings(NamedTuple):
    """The keys of the ledger; ``Settings`` describes them."""

    where: str
    days: int
    max_mb: int
    metadata: tuple[str, ...]


class ModelOverride(_Strict):
    """Changed or new facts of one model; ``ModelConfig`` describes them."""

    base_model: Text | None = None
    """The model id behind an ARN that does not name it."""

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
    price_multiplier: Annotated[float, Field(gt=0)] | None = None
    """Factor of all prices, the lists' too: 0.9 is a discount of 10 %."""

    def facts(self) -> Mapping[str, Any]:
        """Return what was given, in the catalog's words."""
        given = self.model_dump(exclude_unset=True)
        if given.get("retirement_date") is not None:
            given["retirement_date"] = given["retirement_date"].isoformat()
        if "base_model" in given:
            given["base_model_id"] = given.pop("base_model")
        return given


class Settings(_Strict):
    """A whole file."""

    project_prefix: Annotated[str, Field(pattern=r"^(?!AWS/)[A-Za-z0-9._/#-]{1,240}$")] = "modelmgr"
    """CloudWatch's namespace is ``{project_prefix}/Models``."""

    aws: AWSConfig = AWSConfig()
    metrics: MetricsConfig = MetricsConfig()

    ledger: Text = "auto"
    """``auto``, ``off``, or the folder where attempts are kept."""

    ledger_days: Annotated[int, Field(ge=1, le=3_650)] = 35
    """Days for which attempts are kept; their totals are kept for 13 months."""

    ledger_max_mb: Annotated[int, Field(ge=1)] = 1_024
    """Megabytes that the ledger may take."""

    ledger_metadata: tuple[Text, ...] = ()
    """Keys of metadata, and tags, that the ledger keeps of a call."""

    models: dict[str, ModelOverride] = Field(default_factory=dict)
    retired_models: Literal["problem", "warning"] = "problem"
    """What ``check_chains()`` makes of models past their end: ``warning`` if they serve here."""

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

    @field_validator("models", "agents", "aws", "metrics", mode="before")
    @classmethod
    def _empty(cls, section: Any) -> Any:
        return {} if section is None else section


AGENT_SCALARS = ("default_model", "context_window_size", "allow_unknown")
"""Keys under ``agents:`` that are no agent's name."""
