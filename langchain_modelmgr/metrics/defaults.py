"""Makes the sinks and the ledger of a configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from langchain_modelmgr.ledger.folder import in_lambda, ledger_folder
from langchain_modelmgr.ledger.ledger import Ledger
from langchain_modelmgr.ledger.retention import DAYS, MAX_MB
from langchain_modelmgr.metrics.cloudwatch import CloudWatchSink
from langchain_modelmgr.metrics.cloudwatch.batch import Batches
from langchain_modelmgr.metrics.emf import EMFSink
from langchain_modelmgr.metrics.memory import MemorySink
from langchain_modelmgr.metrics.opentelemetry import OpenTelemetrySink
from langchain_modelmgr.metrics.series import BUDGETS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from langchain_modelmgr.budgets.gauges import BudgetGauges
    from langchain_modelmgr.config import ConfigurationManager
    from langchain_modelmgr.tracing.call_span import OpenTelemetrySpans
    from langchain_modelmgr.usage.sinks import MetricsSink, SinkGroup

SinkName = Literal["auto", "cloudwatch", "emf", "memory", "none"]


def default_sinks(  # noqa: PLR0913 - the keys of one section, keyword-only
    sink: SinkName,
    namespace: str,
    *,
    client: Callable[[], Any],
    extra: Iterable[str] = (),
    agents: Iterable[str] = (),
    on_ambiguous: Literal["drop", "resend"] = "drop",
) -> list[MetricsSink]:
    """Return the sinks for a name.

    Args:
        sink: ``cloudwatch``, ``emf``, ``memory`` or ``none``; ``auto`` is ``emf`` in AWS Lambda
            and ``cloudwatch`` elsewhere.
        namespace: CloudWatch namespace.
        client: Makes a CloudWatch client.
        extra: Names of further metrics, as under ``metrics.extra``.
        agents: Agents that always keep metrics of their own.
        on_ambiguous: Whether data points sent without an answer are dropped or sent again.

    Raises:
        ValueError: The namespace is not valid.
    """
    if sink == "none":
        return []
    if sink == "memory":
        return [MemorySink()]
    if sink == "emf" or (sink == "auto" and in_lambda()):
        return [EMFSink(namespace, extra=extra, agents=agents)]
    return [
        CloudWatchSink(client, namespace, extra=extra, agents=agents, on_ambiguous=on_ambiguous)
    ]


def sinks_and_ledger(
    config: ConfigurationManager,
    cloudwatch: Callable[[], Callable[[], Any]],
    *,
    given: Sequence[MetricsSink] | None,
    where: str | Path | None,
    gauges: BudgetGauges | None = None,
) -> tuple[Sequence[MetricsSink], Ledger]:
    """Return the sinks that a configuration adds, and the ledger that they publish from.

    Args:
        config: The configuration.
        cloudwatch: Fixes account, region and endpoint, and returns a client factory.
        given: A user's own sinks, in place of the configuration's ``sink``.
        gauges: The budgets whose use is published, if ``metrics.extra`` says so.
        where: ``auto``, ``off`` or a folder; None: the YAML's ``ledger``, and memory for a user's
            own sinks.
    """
    keys = config.ledger
    sinks: Sequence[MetricsSink] = ()
    if given is None:
        sinks = default_sinks(
            config.metrics.sink,
            config.namespace,
            client=cloudwatch(),
            extra=config.metrics.extra,
            agents=config.enabled_agents,
            on_ambiguous=config.metrics.on_ambiguous,
        )
    setting = where or (keys.where if given is None else "off")
    ledger = ledger_for(
        sinks,
        ledger_folder(str(setting), config.project_prefix),
        environment=config.environment,
        metadata=keys.metadata,
        days=keys.days,
        max_mb=keys.max_mb,
        gauges=gauges if BUDGETS in config.metrics.extra else None,
    )
    return (*sinks, *_opentelemetry(config, given or ())), ledger


def spans_of(config: ConfigurationManager, sinks: SinkGroup) -> OpenTelemetrySpans | None:
    """Return what makes OpenTelemetry's spans; None if the configuration doesn't ask for them.

    Args:
        config: The configuration.
        sinks: Where errors of OpenTelemetry are counted and logged.
    """
    if config.metrics.otel is None:
        return None
    from langchain_modelmgr.tracing.call_span import OpenTelemetrySpans

    return OpenTelemetrySpans(sinks.failed)


def _opentelemetry(
    config: ConfigurationManager, given: Sequence[MetricsSink]
) -> list[OpenTelemetrySink]:
    """Return OpenTelemetry's sink if the configuration asks for it and none is given."""
    keys = config.metrics.otel
    if keys is None or any(isinstance(sink, OpenTelemetrySink) for sink in given):
        return []
    from langchain_modelmgr.errors import ConfigurationError  # it loads langchain-core

    try:
        return [OpenTelemetrySink(duplicate=keys.duplicate)]
    except ConfigurationError as error:
        raise ConfigurationError(f"{config}: metrics.otel: {error}") from error.__cause__


def ledger_for(  # noqa: PLR0913 - the keys of the ledger, keyword-only
    sinks: Sequence[MetricsSink],
    folder: Path | None,
    *,
    environment: str = "",
    metadata: Sequence[str] = (),
    days: int = DAYS,
    max_mb: int = MAX_MB,
    gauges: BudgetGauges | None = None,
) -> Ledger:
    """Return a manager's ledger, from which the configuration's CloudWatch sink publishes.

    Args:
        sinks: The configuration's sinks. Sinks made by hand have ledgers of their own.
        folder: The ledger's folder; None: memory.
        environment: The configuration's environment.
        metadata: Metadata keys and tags that are stored.
        days: How long attempts are kept.
        max_mb: Largest size of the database.
        gauges: The budgets whose use is published; None: none.
    """
    relay = next((sink for sink in sinks if isinstance(sink, CloudWatchSink)), None)
    ledger = Ledger(
        folder, Batches(gauges), relay=relay, environment=environment, allowed=metadata, days=days,
        max_mb=max_mb,
    )  # fmt: skip
    if relay is not None:
        relay.publish_from(ledger)
    return ledger
