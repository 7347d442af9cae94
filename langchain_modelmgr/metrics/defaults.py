"""The sinks that a configuration's ``metrics.sink`` stands for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from langchain_modelmgr.metrics.cloudwatch import CloudWatchSink
from langchain_modelmgr.metrics.memory import MemorySink

if TYPE_CHECKING:
    from collections.abc import Callable

    from langchain_modelmgr.metrics.sinks import MetricsSink

SinkName = Literal["auto", "cloudwatch", "memory", "none"]


def default_sinks(
    sink: SinkName,
    namespace: str,
    *,
    client: Callable[[], Any],
) -> list[MetricsSink]:
    """Return the sinks for a name.

    Args:
        sink: ``cloudwatch`` (which ``auto`` means too), ``memory`` or ``none``.
        namespace: CloudWatch namespace.
        client: Returns a new CloudWatch client; called in the sink's thread on first use.

    Raises:
        ValueError: If CloudWatch would refuse the namespace.
    """
    if sink == "none":
        return []
    if sink == "memory":
        return [MemorySink()]
    return [CloudWatchSink(client, namespace)]
