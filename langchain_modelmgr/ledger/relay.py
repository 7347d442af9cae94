"""Relay: the protocol between a ledger and what sends its data points."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping

    from langchain_modelmgr.ledger.ledger import Ledger
    from langchain_modelmgr.runtime.interval_worker import Order


class Relay(Protocol):
    """Sends the batches of a ledger. The CloudWatch sink is one."""

    def head(self) -> Mapping[str, Any]:
        """Return the destination and settings for a segment's first line."""

    def identity(self, *, ask: bool) -> str | None:
        """Return the identity of the account, a hash; None while it is unknown.

        Args:
            ask: Whether AWS may be called, even if an identity is known already.
        """

    def publish(self, ledger: Ledger, connection: sqlite3.Connection, order: Order | None) -> None:
        """Send the batches that wait."""

    @property
    def is_gone(self) -> bool:
        """True if the destination has ended: its data points are discarded."""

    @property
    def pause(self) -> float:
        """Seconds until the next attempt to send; infinity if nothing was refused."""
