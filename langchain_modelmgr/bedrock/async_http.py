"""Sends HTTP requests for asyncio over aiohttp, with the TLS settings and errors of botocore."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from langchain_modelmgr.bedrock.connections import Lookups, is_dropped
from langchain_modelmgr.bedrock.exchange import EXCHANGE, Exchange
from langchain_modelmgr.bedrock.tls import has_ordinary_tls, tls_context
from langchain_modelmgr.runtime.forks import AFTER_FORK
from langchain_modelmgr.runtime.workers import WORKERS

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncGenerator

    from aiohttp import ClientSession

OLDEST_AIOHTTP = 3, 13
"""The oldest aiohttp that is used. The tests pass with 3.13.0 and 3.14.5; older were not tried."""

KEEP_ALIVE_SECONDS = 60.0
"""Seconds that a connection without a request is kept."""

_LONGEST_LINE = 65_536
"""Bytes of the longest header line that is read, as in ``http.client``."""

_INHERITED: list[Any] = []
"""Sessions of a forked child's parent: kept, because their destructors would use its loops."""


class AsyncHttp:
    """The aiohttp sessions of one boto3 client, one session for each event loop.

    A session is closed with its event loop, or when the client is closed and its last request has
    ended.

    Args:
        session: The HTTP session of the boto3 client, whose settings are used.
    """

    def __init__(self, session: Any) -> None:
        self._http = session
        self._connect_timeout = 0.0
        self._loops: dict[asyncio.AbstractEventLoop, _LoopSession] = {}
        self._state = ""
        self._context: ssl.SSLContext | None = None
        AFTER_FORK.watch(self)

    def reset_after_fork(self) -> None:
        """Leave the parent's sessions alone: their sockets and loops are the parent's."""
        _INHERITED.append(self._loops)
        self._loops = {}
        if self._state == "preparing":
            self._state = ""

    @property
    def is_ready(self) -> bool:
        """Whether requests can be sent."""
        return self._state == "ready"

    def prepare(self, url: str, connect_timeout: float) -> None:
        """Import aiohttp and load the CA file, on another thread; don't wait for it.

        Args:
            url: The endpoint.
            connect_timeout: Seconds to reach it.
        """
        if not self._state:
            self._state = "preparing"
            self._connect_timeout = connect_timeout
            with suppress(RuntimeError):  # no more threads can be started
                WORKERS.run(lambda: self._prepare(url))

    def _prepare(self, url: str) -> None:
        state = "unusable"
        try:
            if _is_installed() and has_ordinary_tls(self._http, url):
                if url.startswith("https:"):
                    self._context = tls_context(self._http)
                state = "ready"
        except Exception:  # noqa: BLE001, S110 - boto3 then sends, and raises its own error
            pass
        self._state = state

    async def exchange(self) -> Exchange:
        """Return an exchange of one request for one reply in the running event loop."""
        loop = asyncio.get_running_loop()
        kept = self._loops.get(loop)
        if kept is None:
            self._forget_closed_loops()
            kept = _LoopSession(self._context)
            await kept.start(self._loops)
            self._loops[loop] = kept
        return Exchange(kept, loop, self._connect_timeout)

    def close(self) -> None:
        """Close all sessions, each when its last request has ended; later requests open new ones.

        May be called from any thread.
        """
        self._forget_closed_loops()
        for loop, kept in tuple(self._loops.items()):
            self._loops.pop(loop, None)
            with suppress(RuntimeError):  # the loop was closed
                loop.call_soon_threadsafe(kept.close_when_idle)

    def _forget_closed_loops(self) -> None:
        for loop, kept in tuple(self._loops.items()):
            if loop.is_closed():
                self._loops.pop(loop, None)
                kept.forget()


class _LoopSession:
    """The aiohttp session of one event loop.

    Args:
        context: The TLS context; None for plain HTTP.
    """

    def __init__(self, context: ssl.SSLContext | None) -> None:
        self._context = context
        self._users = 0
        self._is_closing = False
        self._closer: asyncio.Task[None] | None = None
        self.session: ClientSession
        self._keeper: AsyncGenerator[None, None]

    async def start(self, loops: dict[asyncio.AbstractEventLoop, _LoopSession]) -> None:
        """Open the session, and have it closed before the event loop is."""
        self.session = _session(self._context)
        # Event loops close open async generators at their end (``shutdown_asyncgens``).
        self._keeper = self._keep(loops)
        await anext(self._keeper)

    async def _keep(
        self, loops: dict[asyncio.AbstractEventLoop, _LoopSession]
    ) -> AsyncGenerator[None, None]:
        session, loop = self.session, asyncio.get_running_loop()
        try:
            yield
        finally:
            if loops.get(loop) is self:  # not one that was opened since this one is closing
                del loops[loop]
            await session.close()

    def __enter__(self) -> ClientSession:
        self._users += 1
        return self.session

    def __exit__(self, *_: object) -> None:
        self._users -= 1
        if self._is_closing:
            self.close_when_idle()

    def close_when_idle(self) -> None:
        """Close the session now, or when its last request has ended. Called in its event loop."""
        self._is_closing = True
        if not self._users and self._closer is None:
            # If the loop ends before the task runs, the loop closes the generator.
            self._closer = asyncio.get_running_loop().create_task(self._close())

    async def _close(self) -> None:
        await self._keeper.aclose()

    def forget(self) -> None:
        """Mark the session of a closed event loop as closed; nothing of it can run any more."""
        with suppress(StopIteration, RuntimeError):
            self.session.close().send(None)  # a closed loop leaves nothing to await


def _is_installed() -> bool:
    try:
        import aiohttp
    except ImportError:
        return False
    major, minor = aiohttp.__version__.split(".")[:2]
    return (int(major), int(minor)) >= OLDEST_AIOHTTP


@cache
def _connector_class() -> Any:
    import aiohttp

    class Connector(aiohttp.TCPConnector):
        """A connector that tells an exchange which connection it uses."""

        def __init__(self, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self._used: WeakSet[Any] = WeakSet()

        async def connect(self, *args: Any, **kwargs: Any) -> Any:
            connection = await super().connect(*args, **kwargs)
            while connection.protocol in self._used and is_dropped(connection.transport):
                connection.close()
                connection = await super().connect(*args, **kwargs)
            self._used.add(connection.protocol)
            if (exchange := EXCHANGE.get()) is not None:
                exchange.connected(connection.transport)
            return connection

    return Connector


def _session(context: ssl.SSLContext | None) -> ClientSession:
    import aiohttp

    lookups: Any = Lookups()  # in place of the loop, of which it uses only these methods
    connector = _connector_class()(
        limit=0,  # slots of the pool limit the calls
        ssl=True if context is None else context,
        resolver=aiohttp.ThreadedResolver(lookups),  # getaddrinfo, as botocore
        keepalive_timeout=KEEP_ALIVE_SECONDS,
    )
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        skip_auto_headers=("Accept", "User-Agent", "Content-Type"),
        max_line_size=_LONGEST_LINE,
        max_field_size=_LONGEST_LINE,
    )
