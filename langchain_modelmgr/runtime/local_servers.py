"""Servers of this process that stand for AWS: what was meant for them ends with them."""

from __future__ import annotations


class LocalServers:
    """Which servers run, by their URL. Another one may come to run at the same URL."""

    def __init__(self) -> None:
        self._running: dict[str, object] = {}

    def begin(self, url: str) -> None:
        """Note that a server runs."""
        self._running[url] = object()

    def end(self, url: str) -> None:
        """Note that it has stopped."""
        self._running[url] = object()

    def token(self, url: str) -> object | None:
        """Return what stands for the server at a URL now; None: there never was one."""
        return self._running.get(url)


LOCAL_SERVERS = LocalServers()
