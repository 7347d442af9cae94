"""The types of ``parameters``: the allowed values of each ChatBedrockConverse request field."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError
from typing_extensions import TypedDict

if TYPE_CHECKING:
    from collections.abc import Iterator

    from langchain_modelmgr.catalog import ModelConfig

PROBLEM = "parameter"
"""The pydantic error type of this package's own messages, which quote no value."""

_UNDERSCORED = re.compile(r"_([a-z])")
_METADATA = r"^[a-zA-Z0-9\s:_@$#=/+,\-.]*$"
_MOST_METADATA, _MOST_METADATA_CHARACTERS = 16, 256
"""Source: botocore 1.44.5's service model; a test compares."""


def plain_guardrail(value: Any) -> Any:
    """Return a guardrail configuration with Bedrock's key names and with its version as text.

    YAML reads an unquoted version as a number. langchain-aws accepts ``guardrail_version`` for
    ``guardrailVersion``.
    """
    if not isinstance(value, Mapping):
        return value
    named = {_UNDERSCORED.sub(lambda m: m[1].upper(), str(key)): v for key, v in value.items()}
    version = named.get("guardrailVersion")
    if isinstance(version, int) and not isinstance(version, bool):
        named["guardrailVersion"] = str(version)
    return named


def _json(value: Any) -> Any:
    if wrong := _no_json(value, ""):
        raise PydanticCustomError(PROBLEM, "{wrong}", {"wrong": wrong})
    return value


def _no_json(value: Any, path: str) -> str | None:
    if isinstance(value, Mapping):
        inner = [(f"{path}.{key}", item) for key, item in value.items()]
        return next((w for p, item in inner if (w := _no_json(item, p))), None)
    if isinstance(value, list):
        return next((w for item in value if (w := _no_json(item, f"{path}[]"))), None)
    if value is None or isinstance(value, str | int):
        return None
    where = path.lstrip(".") or "the value"
    if isinstance(value, float):
        return None if math.isfinite(value) else f"{where} must be a finite number"
    return f"{where} is a {type(value).__name__}, which is not valid in JSON: put it in quotes"


def _metadata(value: dict[str, str]) -> dict[str, str]:
    if len(value) > _MOST_METADATA:
        raise PydanticCustomError(PROBLEM, f"must have {_MOST_METADATA} entries at most")
    most = _MOST_METADATA_CHARACTERS
    if not all(re.fullmatch(_METADATA, key) and 0 < len(key) <= most for key in value):
        text = f"a key must be 1 to {most} letters, digits, spaces, or : _ @ $ # = / + , - ."
        raise PydanticCustomError(PROBLEM, text)
    return value


def _text_or_block(value: Any) -> Any:
    if not isinstance(value, str | Mapping):
        raise PydanticCustomError(PROBLEM, "must be text or a map")
    return _json(value)


Json = Annotated[dict[str, Any], AfterValidator(_json)]
MetadataText = Annotated[str, Field(pattern=_METADATA, max_length=_MOST_METADATA_CHARACTERS)]


class GuardrailParameter(TypedDict, total=False):
    """A guardrail. ``streamProcessingMode`` is sent with streams only.

    Unknown keys are sent too: if Bedrock refuses one, the first call fails, because every fallback
    has the same guardrail.
    """

    __pydantic_config__ = ConfigDict(extra="allow", regex_engine="python-re")  # type: ignore[misc]

    guardrailIdentifier: Annotated[str, Field(min_length=1)]
    guardrailVersion: Annotated[str, Field(pattern=r"^(DRAFT|[1-9][0-9]{0,7})$")]
    trace: Literal["enabled", "disabled", "enabled_full"]
    streamProcessingMode: Literal["sync", "async"]


class PerformanceParameter(TypedDict, total=False):
    """The requested latency."""

    __pydantic_config__ = ConfigDict(extra="forbid")  # type: ignore[misc]

    latency: Literal["standard", "optimized"]


class Parameters(TypedDict, total=False):
    """Request fields of ChatBedrockConverse (langchain-aws 1.9.1; a test compares)."""

    __pydantic_config__ = ConfigDict(extra="forbid", regex_engine="python-re")  # type: ignore[misc]

    additional_model_request_fields: Json | None
    additional_model_response_field_paths: (
        Annotated[list[Annotated[str, Field(pattern="^/")]], Field(max_length=10)] | None
    )
    guard_last_turn_only: bool
    guardrail_config: Annotated[GuardrailParameter | None, BeforeValidator(plain_guardrail)]
    output_config: Json | None
    performance_config: PerformanceParameter | None
    reasoning_effort: Literal["none", "low", "medium", "high", "xhigh", "max"] | None
    request_metadata: Annotated[dict[str, MetadataText], AfterValidator(_metadata)] | None
    service_tier: Literal["priority", "default", "flex", "reserved"] | None
    stop_sequences: list[Annotated[str, Field(min_length=1)]] | None
    system: list[Annotated[Any, AfterValidator(_text_or_block)]] | None
    top_p: Annotated[float, Field(ge=0, le=1)] | None


def misfits(
    own: Mapping[str, Any], all_: Mapping[str, Any], model: ModelConfig | None
) -> Iterator[tuple[str, str]]:
    """Yield each parameter that a candidate cannot be called with, and what is wrong with it.

    Args:
        own: The candidate's parameters in the YAML.
        all_: Those and the ones that it inherits from its agent.
        model: The catalog's facts of its model; None if it is unknown.
    """
    if own.get("guard_last_turn_only") and not all_.get("guardrail_config"):
        yield "guard_last_turn_only", "needs a guardrail_config"
    efforts = model.reasoning_efforts if model is not None else None
    if model is None or not efforts:
        return
    known = f"must be one of {', '.join(map(repr, efforts))} for {model.base_model_id}"
    if own.get("reasoning_effort") not in (None, *efforts):
        yield "reasoning_effort", known
    fields = own.get("additional_model_request_fields") or {}
    reasoning = fields.get("reasoningConfig")
    if "reasoningConfig" in (model.request_fields or ()) and isinstance(reasoning, Mapping):
        effort = reasoning.get("maxReasoningEffort")
        if reasoning.get("type") == "enabled" and effort not in efforts:
            yield "additional_model_request_fields", f"reasoningConfig.maxReasoningEffort {known}"
