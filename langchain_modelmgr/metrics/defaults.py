"""The sinks and the ledger that a configuration stands for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from langchain_modelmgr.ledger.folder import in_lambda
from langchain_modelmgr.ledger.log import DAYS, MAX_MB, Ledger
from langchain_modelmgr.metrics.cloudwatch import CloudWatchSink
from langchain_modelmgr.metrics.cloudwatch.batch import Batches
from langchain_modelmgr.metrics.emf import EMFSink
from langchain_modelmgr.metrics.memory import MemorySink

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from langchain_modelmgr.metrics.sinks import MetricsSink

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
