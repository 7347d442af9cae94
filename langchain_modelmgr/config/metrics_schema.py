"""MetricsConfig: the YAML's ``metrics``."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, field_validator
from pydantic_core import PydanticCustomError

from langchain_modelmgr.config.parameters import PROBLEM

ExtraMetric = Literal[
    "time_to_first_token",
    "cache_tokens",
    "fallbacks",
    "throttles",
    "wasted_cost",
    "unpriced",
    "rollup",
    "budgets",
]


class OpenTelemetryConfig(BaseModel):
    """Options of OpenTelemetry's spans and metrics."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    duplicate: bool = False
    """Record durations and tokens although botocore's instrumentation records them, too."""


class MetricsConfig(BaseModel):
    """The metrics sink and its options."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sink: Literal["auto", "cloudwatch", "emf", "memory", "none"] = "auto"
    """``auto`` is EMF on standard output in AWS Lambda, and CloudWatch elsewhere."""

    extra: tuple[ExtraMetric, ...] = ()
    """Metrics published beside the guide's five."""

    on_ambiguous: Literal["drop", "resend"] = "drop"
    """Whether data sent without a reply is dropped (and counted) or sent again."""

    otel: OpenTelemetryConfig | None = None
    """OpenTelemetry's spans and metrics, beside the sink; None: neither is made."""

    @field_validator("otel", mode="before")
    @classmethod
    def _switched(cls, otel: Any) -> Any:
        if otel is not None and not isinstance(otel, bool | dict | OpenTelemetryConfig):
            raise PydanticCustomError(PROBLEM, "must be true, false, or a map with duplicate")
        return {True: {}, False: None}[otel] if isinstance(otel, bool) else otel
