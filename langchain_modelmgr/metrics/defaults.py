"""The sinks that a configuration's ``metrics`` section stands for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from langchain_modelmgr.metrics.cloudwatch import CloudWatchSink
from langchain_modelmgr.metrics.destination import Destination, in_lambda, state_folder
from langchain_modelmgr.metrics.emf import EMFSink
from langchain_modelmgr.metrics.memory import MemorySink

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from langchain_modelmgr.metrics.sinks import MetricsSink

SinkName = Literal["auto", "cloudwatch", "emf", "memory", "none"]


def default_sinks(  # noqa: PLR0913 - the keys of one section, keyword-only
    sink: SinkName,
    namespace: str,
    *,
    client: Callable[[], Any],
    region: str | None = None,
    profile: str | None = None,
    extra: Iterable[str] = (),
    on_ambiguous: Literal["drop", "resend"] = "drop",
    journal: str = "auto",
) -> list[MetricsSink]:
    """Return the sinks for a name.

    Args:
        sink: ``cloudwatch``, ``emf``, ``memory`` or ``none``; ``auto`` is ``emf`` in AWS Lambda
            and ``cloudwatch`` elsewhere.
        namespace: CloudWatch namespace.
        client: Returns a new CloudWatch client; called in the sink's thread on first use.
        region: The region that the client is for; None: boto3's.
        profile: The AWS profile that the client is for; None: boto3's.
        extra: What is published beyond the guide's five.
        on_ambiguous: What becomes of what was sent without an answer.
        journal: ``auto``, ``off``, or a folder.

    Raises:
        ValueError: If CloudWatch would refuse the namespace.
    """
    if sink == "none":
        return []
    if sink == "memory":
        return [MemorySink()]
    if sink == "emf" or (sink == "auto" and in_lambda()):
        return [EMFSink(namespace, extra=extra)]
    return [
        CloudWatchSink(
            client,
            namespace,
            extra=extra,
            on_ambiguous=on_ambiguous,
            journal=state_folder(journal),
            destination=Destination.of(namespace, region, profile),
        )
    ]
