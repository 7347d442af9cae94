"""ManagerArguments: the arguments of a manager, and those of them that can be pickled."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import boto3

    from langchain_modelmgr.metrics import MetricsSink


@dataclass(frozen=True, slots=True)
class ManagerArguments:
    """The arguments of a ``ModelManager`` other than its configuration."""

    region: str | None
    session: boto3.Session | None
    sinks: Sequence[MetricsSink] | None
    max_concurrency: int
    ledger: str | Path | None = None

    def portable(self, of: str) -> dict[str, Any]:
        """Return the arguments with which another process makes an equal manager.

        Args:
            of: The manager's name in errors.

        Raises:
            TypeError: The arguments have a boto3 session or a sink that can't be pickled.
        """
        if self.session is not None:
            raise TypeError(
                f"{of} can't be pickled: its boto3 session can't leave this process. Make the "
                "manager in the other process, or name the credentials by aws.profile in the YAML"
            )
        for sink in self.sinks or ():
            _check(sink, of)
        sinks = None if self.sinks is None else tuple(self.sinks)
        return {
            "region": self.region,
            "sinks": sinks,
            "max_concurrency": self.max_concurrency,
            "ledger": self.ledger,
        }


def _check(sink: MetricsSink, of: str) -> None:
    try:
        pickle.dumps(sink)
    except Exception as error:
        raise TypeError(
            f"{of} can't be pickled: its sink {type(sink).__name__} can't leave this process "
            f"({type(error).__name__}). Make the manager in the other process, or give the sink a "
            "__reduce__ that makes an equal one there"
        ) from error
