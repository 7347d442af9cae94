"""Registry of the local AWS servers of this process, so that sinks notice when one stops."""

from __future__ import annotations


class LocalServers:
    """The local servers of this process by URL; a URL may be used again by a later server."""

    def __init__(self) -> None:
        self._running: dict[str, object] = {}

    def begin(self, url: str) -> None:
        """Register a server that has started."""
        self._running[url] = object()

    def end(self, url: str) -> None:
        """Register that the server at a URL has stopped."""
        self._running[url] = object()

    def token(self, url: str) -> object | None:
        """Return an object that identifies the state of the server at a URL.

        It changes whenever a server starts or stops there; None if there never was one.
        """
        return self._running.get(url)


LOCAL_SERVERS = LocalServers()
