"""OpenTelemetrySink: records attempts as OpenTelemetry's metrics for generative AI."""

from __future__ import annotations

import sys
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from langchain_modelmgr.runtime.masking import masked_id
from langchain_modelmgr.tracing import names

if TYPE_CHECKING:
    from opentelemetry.metrics import Meter, MeterProvider

    from langchain_modelmgr.usage.record import ModelUsageMetrics

NOT_INSTALLED = "OpenTelemetry is not installed: pip install 'langchain-modelmgr[otel]'"

_BOTOCORE = "opentelemetry.instrumentation.botocore"


class OpenTelemetrySink:
    """Records duration, tokens, time to first token and cost of each attempt in OpenTelemetry.

    ``metrics.otel`` in the YAML adds one, and spans. Exporting is the meter provider's work, so
    ``flush`` and ``close`` do nothing.

    Args:
        meter_provider: OpenTelemetry's meter provider; None: the global one.
        duplicate: Record durations and tokens although OpenTelemetry's instrumentation of botocore
            is on, which records them, too.

    Raises:
        ConfigurationError: The package ``opentelemetry-api`` is not installed.
    """

    def __init__(
        self, meter_provider: MeterProvider | None = None, *, duplicate: bool = False
    ) -> None:
        try:
            from opentelemetry import metrics
        except ImportError as error:
            from langchain_modelmgr.errors import ConfigurationError  # it loads langchain-core

            raise ConfigurationError(NOT_INSTALLED) from error
        self._provider = meter_provider
        self._duplicate = duplicate
        meter = metrics.get_meter(
            names.SCOPE,
            version("langchain-modelmgr"),
            meter_provider=meter_provider,
            schema_url=names.SCHEMA_URL,
        )
        self._make_instruments(meter)

    def _make_instruments(self, meter: Meter) -> None:
        self._duration = meter.create_histogram(
            names.OPERATION_DURATION,
            "s",
            "Duration of an attempt.",
            explicit_bucket_boundaries_advisory=names.DURATION_BUCKETS,
        )
        self._tokens = meter.create_histogram(
            names.TOKEN_USAGE,
            "{token}",
            "Tokens of an attempt; input includes the prompt cache.",
            explicit_bucket_boundaries_advisory=names.TOKEN_BUCKETS,
        )
        self._first_chunk = meter.create_histogram(
            names.FIRST_CHUNK_DURATION,
            "s",
            "Time to the first content of a streamed answer.",
            explicit_bucket_boundaries_advisory=names.FIRST_CHUNK_BUCKETS,
        )
        self._cost = meter.create_counter(names.COST_METRIC, "{USD}", "Cost of attempts.")
        self._wasted = meter.create_counter(
            names.WASTED_COST_METRIC, "{USD}", "Estimated cost of attempts that broke."
        )
        self._unpriced = meter.create_counter(
            names.UNPRICED_METRIC, "{attempt}", "Answered attempts of which the cost is unknown."
        )

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the arguments; a meter provider that can't be pickled can't leave its process."""
        return _restored, (self._provider, self._duplicate)

    def record(self, usage: ModelUsageMetrics) -> None:
        """Record one attempt."""
        if usage.outcome == "cached":
            return  # nothing was sent
        attributes: dict[str, str] = {
            names.OPERATION_NAME: names.CHAT,
            names.PROVIDER_NAME: names.BEDROCK,
            names.REQUEST_MODEL: masked_id(usage.model_id),
            names.AGENT_NAME: usage.agent_name,
        }
        if self._duplicate or not _botocore_records():
            self._record_standard(usage, attributes)
        if usage.time_to_first_token_ms is not None:
            self._first_chunk.record(usage.time_to_first_token_ms / 1000, attributes)
        if usage.cost_usd is not None:
            self._cost.add(float(usage.cost_usd), attributes)
        elif usage.outcome == "answered":
            self._unpriced.add(1, attributes)
        if usage.estimated_wasted_cost_usd is not None:
            self._wasted.add(float(usage.estimated_wasted_cost_usd), attributes)

    def _record_standard(self, usage: ModelUsageMetrics, attributes: dict[str, str]) -> None:
        ended = {**attributes, names.OUTCOME: usage.outcome}
        if usage.error_message:
            ended[names.ERROR_TYPE] = usage.error_message
        if usage.latency_ms is not None:  # Bedrock's batch inference reports none
            self._duration.record(usage.latency_ms / 1000, ended)
        if usage.has_usage:
            tokens = usage.tokens
            self._tokens.record(tokens.prompt_tokens, {**attributes, names.TOKEN_TYPE: names.INPUT})
            self._tokens.record(
                tokens.output_tokens, {**attributes, names.TOKEN_TYPE: names.OUTPUT}
            )

    def flush(self, timeout: float | None = None) -> None:
        """Do nothing: the meter provider exports."""

    def close(self) -> None:
        """Do nothing: the meter provider belongs to the application."""


def _restored(provider: MeterProvider | None, duplicate: bool) -> OpenTelemetrySink:  # noqa: FBT001
    return OpenTelemetrySink(provider, duplicate=duplicate)


def _botocore_records() -> bool:
    """Return whether OpenTelemetry's instrumentation of botocore is on in this process."""
    if (module := sys.modules.get(_BOTOCORE)) is None:
        return False
    return bool(module.BotocoreInstrumentor().is_instrumented_by_opentelemetry)
