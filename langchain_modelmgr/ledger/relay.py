"""What a ledger asks of whoever sends the data points that its rows make."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping

    from langchain_modelmgr.ledger.ledger import Ledger
    from langchain_modelmgr.runtime.interval_worker import Order


class Relay(Protocol):
    """Sends what the ledger's rows make: the CloudWatch sink."""

    def head(self) -> Mapping[str, Any]:
        """Return what a segment's first line says: destination and settings."""

    def identity(self, *, ask: bool) -> str | None:
        """Return what stands for the account, as soon as it is known.

        Args:
            ask: Whether there is time to ask AWS, even if something stands for it already.
        """

    def publish(self, ledger: Ledger, connection: sqlite3.Connection, order: Order | None) -> None:
        """Send what waits."""

    @property
    def is_gone(self) -> bool:
        """True if the destination has ended, and with it all that was meant for it."""

    @property
    def pause(self) -> float:
        """Seconds until what was not taken is sent again; infinity: nothing was refused."""
