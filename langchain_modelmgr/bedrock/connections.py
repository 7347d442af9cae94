"""Looks up host names and finds dropped connections for async calls, as urllib3 does for others."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

from langchain_modelmgr.runtime.workers import on_a_thread

if TYPE_CHECKING:
    import asyncio


class Lookups:
    """An event loop's lookups of host names, on threads of this package.

    The program's own work may fill the loop's default executor, and wait there for a call.
    """

    async def getaddrinfo(self, *args: Any, **settings: Any) -> Any:
        """Return the addresses of a host, as ``socket.getaddrinfo``."""
        return await on_a_thread(lambda: socket.getaddrinfo(*args, **settings))

    async def getnameinfo(self, *args: Any) -> Any:
        """Return the name of an address, as ``socket.getnameinfo``."""
        return await on_a_thread(lambda: socket.getnameinfo(*args))


def is_dropped(transport: asyncio.Transport | None) -> bool:
    """Return whether the server has closed an idle connection.

    A loop that was busy, or did not run, has not yet read the end. urllib3 looks at it as well.
    """
    from urllib3.util import wait_for_read

    sock = None if transport is None else transport.get_extra_info("socket")
    return sock is None or wait_for_read(sock, timeout=0)
