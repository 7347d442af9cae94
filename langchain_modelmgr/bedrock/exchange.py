"""One HTTP exchange of a request and its reply over aiohttp, with the errors of botocore."""

from __future__ import annotations

import asyncio
import io
import threading
from contextlib import ExitStack, suppress
from contextvars import ContextVar
from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from aiohttp import ClientResponse, ClientSession, StreamReader

_OK = 200

_LARGE_BODY = 2**20
"""Bytes from which aiohttp wants a file instead, which it writes in parts."""

EXCHANGE: ContextVar[Exchange | None] = ContextVar("modelmgr_exchange", default=None)
"""The exchange that is getting its connection."""


class Exchange:
    """One request and its reply.

    ``shutdown`` and ``close`` may be called from any thread; they close the connection, also while
    the reply's headers are awaited.

    Args:
        kept: The session; it is kept open while it is entered.
        loop: The running event loop.
        connect_timeout: Seconds to reach the endpoint.
    """

    def __init__(
        self,
        kept: AbstractContextManager[ClientSession],
        loop: asyncio.AbstractEventLoop,
        connect_timeout: float,
    ) -> None:
        self._kept = kept
        self._loop = loop
        self._thread = threading.get_ident()
        self._connect_timeout = connect_timeout
        self._interrupt = asyncio.timeout(None)
        self._transport: asyncio.Transport | None = None
        self._body: Arriving | None = None
        self._is_broken = False
        self._is_whole = False

    async def send(self, request: Any, silence: float, on_reply: Callable[[], None]) -> Any:
        """Send a prepared request of botocore; return its reply, read to the end.

        Args:
            request: The request.
            silence: Seconds without any byte after which the request fails.
            on_reply: Called when the reply's headers have been received.

        Raises:
            BotoCoreError: botocore's own error for what went wrong.
        """
        with self._kept as session:
            response = await self._opened(session, request, silence)
            on_reply()
            return await self._read(response, request)

    async def open(self, request: Any, silence: float, on_reply: Callable[[], None]) -> Any:
        """Send a prepared request of botocore; return its reply, whose body is still to come.

        The body is read as it arrives, by the methods of ``Arriving``, and only as fast as it is
        read. ``end`` must be called. An error's body is read to its end.

        Args:
            request: The request.
            silence: Seconds without any byte after which the wait for the headers fails.
            on_reply: Called when the reply's headers have been received.

        Raises:
            BotoCoreError: botocore's own error for what went wrong.
        """
        from botocore.awsrequest import AWSResponse

        with ExitStack() as uses:
            session = uses.enter_context(self._kept)
            response = await self._opened(session, request, silence)
            on_reply()
            if response.status != _OK:
                return await self._read(response, request)
            self._body = Arriving(self, response, request.url, silence)
            self._body.uses = uses.pop_all()
        headers = _headers(response)
        return AWSResponse(request.url, response.status, headers, self._body)

    async def _read(self, response: ClientResponse, request: Any) -> Any:
        """Return a reply, read to its end."""
        from botocore.awsrequest import AWSResponse

        try:
            content = await response.read()
        except Exception as error:
            raise self._failure(error, request) from error
        headers = _headers(response)
        return AWSResponse(request.url, response.status, headers, Body(content))

    async def _opened(self, session: ClientSession, request: Any, silence: float) -> ClientResponse:
        """Send the request and return the reply once its headers have been received."""
        from aiohttp import ClientTimeout

        body = request.body
        if self._is_broken:
            raise _botocore_error(ConnectionAbortedError(), request)
        token = EXCHANGE.set(self)
        try:
            async with self._interrupt:
                response = await session.request(
                    "POST",
                    _url(request.url),
                    data=body if len(body) < _LARGE_BODY else io.BytesIO(body),
                    headers=_request_headers(request),
                    allow_redirects=False,
                    timeout=ClientTimeout(
                        total=None, sock_connect=self._connect_timeout, sock_read=silence
                    ),
                )
        except Exception as error:
            raise self._failure(error, request) from error
        finally:
            with suppress(ValueError):  # collected in another context, after its loop was closed
                EXCHANGE.reset(token)
        response.content.on_eof(self._at_end)  # its connection may be used again from then on
        return response

    def _failure(self, error: Exception, request: Any) -> BaseException:
        """Return botocore's error for what went wrong.

        If the loop is closed, the coroutine is being closed, too, and nothing but that is raised.
        """
        return GeneratorExit() if self.is_left else _botocore_error(error, request)

    @property
    def is_left(self) -> bool:
        """True once the event loop was closed."""
        return self._loop.is_closed()

    @property
    def is_whole(self) -> bool:
        """True once the reply's whole body has been received."""
        return self._is_whole

    def leave_body(self) -> None:
        """Forget the body, which refers to this exchange: it is not read any more."""
        self._body = None

    def _at_end(self) -> None:
        self._is_whole = True
        self._transport = None

    def connected(self, transport: asyncio.Transport | None) -> None:
        """Store the connection that the request is sent over."""
        self._transport = transport

    def shutdown(self) -> None:
        """Break the exchange."""
        if threading.get_ident() == self._thread:
            self._break()
        else:
            self._loop.call_soon_threadsafe(self._break)

    def close(self) -> None:
        """Close the connection, unless the reply was read to its end."""
        if not self._is_whole:
            self.shutdown()

    def _break(self) -> None:
        self._is_broken = True
        if self._body is not None:
            self._body.keep_arrived()
        if self._transport is not None:
            self._transport.abort()
        elif not self._is_whole:
            with suppress(RuntimeError, AssertionError):  # not connecting; 3.11 asserts
                self._interrupt.reschedule(self._loop.time())


class Arriving:
    """The body of a reply that is read as it arrives.

    Args:
        exchange: Its exchange.
        response: aiohttp's reply.
        url: The request's URL.
        silence: Seconds without any byte after which reading fails.

    Attributes:
        uses: Closed at the end.
    """

    def __init__(
        self, exchange: Exchange, response: ClientResponse, url: str, silence: float
    ) -> None:
        self.uses = ExitStack()
        self._exchange = exchange
        self._response = response
        self._url = url
        self._silence = silence
        self._loop = asyncio.get_running_loop()
        self._awaited_since: float | None = None
        self._arrived_before = 0
        self._timer: asyncio.TimerHandle | None = None
        self._timed_out: Exception | None = None
        self._protocol = None if (found := response.connection) is None else found.protocol
        if self._protocol is not None:  # its own timer would run while nothing is read, too
            self._protocol.read_timeout = None
            self._protocol.start_timeout()
        self._data = b""
        self._error: Exception | None = None
        self._is_read = False

    @property
    def is_whole(self) -> bool:
        """True once the whole body has been received, although it may not have been read."""
        return self._exchange.is_whole

    async def receive(self) -> None:
        """Wait until more of the body, its end or its failure can be read.

        Its failure is raised where the body is read.
        """
        if self._data:
            return
        content = self._response.content
        self._awaited_since, self._arrived_before = self._loop.time(), content.total_bytes
        if self._timer is None:
            self._timer = self._loop.call_later(self._silence, self._look)
        try:
            self._data = await content.readany()
        except Exception as error:
            if self._exchange.is_left:
                raise GeneratorExit from error
            broken = None if self._protocol is None else self._protocol.exception()
            lost = self._timed_out or broken
            self.fail(_broken_reply(lost, self._url), error)
            self._data = _arrived(content)
        else:
            self._is_read = content.at_eof()
        finally:
            self._awaited_since = None

    def _look(self) -> None:
        """Fail the wait for more if nothing has come for too long.

        One timer for many waits: aiohttp sets its own anew for each part that arrives.
        """
        from aiohttp import SocketTimeoutError

        self._timer, content = None, self._response.content
        has_arrived = content.total_bytes > self._arrived_before or content.is_eof()
        if self._awaited_since is None or has_arrived:  # the wait is over, or just ends
            return
        left = self._awaited_since + self._silence - self._loop.time()
        if left > 0:
            self._timer = self._loop.call_later(left, self._look)
        else:
            self._timed_out = SocketTimeoutError(
                "Timeout on reading data from socket"
            )  # as aiohttp
            content.set_exception(self._timed_out)

    def fail(self, error: Exception, cause: Exception | None = None) -> None:
        """Raise an error where the body is read, after what has arrived."""
        error.__cause__ = cause
        self._error = error

    def keep_arrived(self) -> None:
        """Keep what has arrived: the connection is about to be closed."""
        self._data += _arrived(self._response.content)

    def stream(self) -> Iterator[bytes | None]:
        """Yield what has arrived, and None whenever ``receive`` must be awaited."""
        while True:
            data, self._data = self._data, b""
            if data:
                yield data
            elif self._error is not None:
                error, self._error = self._error, None  # its traceback refers to this object
                self._is_read = True
                raise error
            elif self._is_read:
                return
            else:
                yield None

    def close(self) -> None:
        """Close the connection, unless the body was read to its end, and let the session close."""
        if self._timer is not None:
            self._timer.cancel()
        self._response.close()
        self.uses.close()
        self._exchange.leave_body()


def _arrived(content: StreamReader) -> bytes:
    """Return what has arrived and was not read; after a failure aiohttp would only raise that."""
    if (error := content.exception()) is not None:
        content.set_exception(cast("Any", None))
    try:
        return content.read_nowait()
    except RuntimeError:  # it is awaited: there is nothing
        return b""
    finally:
        if error is not None:
            content.set_exception(error)


class Body:
    """The body of a reply that was read, as botocore reads it."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def stream(self) -> Any:
        """Yield the bytes."""
        yield self._content

    def close(self) -> None:
        """Do nothing: the connection was returned."""


@lru_cache(maxsize=512)
def _url(url: str) -> Any:
    from yarl import URL

    return URL(url, encoded=True)


def _request_headers(request: Any) -> dict[str, str]:
    headers = {"Accept-Encoding": "identity"}  # as http.client
    for name, value in request.headers.items():
        headers[name] = value.decode() if isinstance(value, bytes) else value
    return headers


def _headers(response: ClientResponse) -> Any:
    from urllib3 import HTTPHeaderDict

    pairs = [(n.decode("latin-1"), value.decode("latin-1")) for n, value in response.raw_headers]
    has_repeated = len({name.lower() for name, _ in pairs}) < len(pairs)
    return HTTPHeaderDict(pairs) if has_repeated else dict(pairs)


def _botocore_error(error: Exception, request: Any) -> Exception:
    """Return the error that botocore's HTTP session raises for what went wrong."""
    import aiohttp
    import botocore.exceptions as botocore
    from urllib3.exceptions import SSLError

    where: dict[str, Any] = {"endpoint_url": request.url, "error": error}
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return botocore.SSLError(**where | {"error": SSLError(error.certificate_error)})
    if isinstance(error, aiohttp.ClientConnectorSSLError):
        return botocore.SSLError(**where | {"error": SSLError(error.os_error)})
    kinds: tuple[tuple[type[Exception], type[botocore.BotoCoreError]], ...] = (
        (aiohttp.ConnectionTimeoutError, botocore.ConnectTimeoutError),
        (aiohttp.SocketTimeoutError, botocore.ReadTimeoutError),
        (aiohttp.ClientConnectorError, botocore.EndpointConnectionError),
    )
    for kind, named in kinds:
        if isinstance(error, kind):
            return named(**where)
    if isinstance(error, aiohttp.ClientError | OSError):
        return botocore.ConnectionClosedError(request=request, **where)
    return botocore.HTTPClientError(error=error)


def _broken_reply(lost: BaseException | None, url: str) -> Exception:
    """Return the error that urllib3 raises for a stream that broke.

    Args:
        lost: aiohttp's error of its connection.
        url: The request's URL.
    """
    from aiohttp import SocketTimeoutError
    from urllib3.exceptions import ProtocolError, ReadTimeoutError

    if isinstance(lost, SocketTimeoutError):
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        pool = f"AWS{parts.scheme.upper()}ConnectionPool(host={parts.hostname!r}, port={port})"
        return ReadTimeoutError(cast("Any", pool), cast("Any", None), "Read timed out.")
    if isinstance(lost, OSError) and lost.errno:
        error = OSError(lost.errno, lost.strerror)
        return ProtocolError(f"Connection broken: {error!r}", error)
    return ProtocolError("Response ended prematurely")
