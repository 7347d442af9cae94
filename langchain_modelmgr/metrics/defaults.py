"""The sinks and the ledger that a configuration stands for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from langchain_modelmgr.ledger.folder import in_lambda, ledger_folder
from langchain_modelmgr.ledger.ledger import DAYS, MAX_MB, Ledger
from langchain_modelmgr.metrics.cloudwatch import CloudWatchSink
from langchain_modelmgr.metrics.cloudwatch.batch import Batches
from langchain_modelmgr.metrics.emf import EMFSink
from langchain_modelmgr.metrics.memory import MemorySink

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from langchain_modelmgr.config import ConfigurationManager
    from langchain_modelmgr.usage.sinks import MetricsSink

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
        extra: What is published beyond the guide's five.
        agents: Agents that keep metrics of their own whatever others come.
        on_ambiguous: What becomes of what was sent without an answer.

    Raises:
        ValueError: If CloudWatch would refuse the namespace.
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
) -> tuple[Sequence[MetricsSink], Ledger]:
    """Return the sinks that a configuration stands for, and the ledger that they publish from.

    Args:
        config: The configuration.
        cloudwatch: Fixes account, region and endpoint, and returns what makes the client.
        given: A user's own sinks, in place of the configuration's.
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
    )
    return sinks, ledger


def ledger_for(  # noqa: PLR0913 - the keys of the ledger, keyword-only
    sinks: Sequence[MetricsSink],
    folder: Path | None,
    *,
    environment: str = "",
    metadata: Sequence[str] = (),
    days: int = DAYS,
    max_mb: int = MAX_MB,
) -> Ledger:
    """Return a manager's ledger, which the configuration's CloudWatch sink publishes.

    Args:
        sinks: The configuration's sinks; those that a user made have ledgers of their own.
        folder: Where it lies; None: memory.
        environment: The configuration's.
        metadata: Keys and tags that are kept.
        days: How long attempts are kept.
        max_mb: Room for everything.
    """
    relay = next((sink for sink in sinks if isinstance(sink, CloudWatchSink)), None)
    ledger = Ledger(
        folder, Batches(), relay=relay, environment=environment, allowed=metadata, days=days,
        max_mb=max_mb,
    )  # fmt: skip
    if relay is not None:
        relay.publish_from(ledger)
    return ledger
