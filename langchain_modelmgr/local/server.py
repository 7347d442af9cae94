"""The HTTP server: aiohttp on a thread and a loop of its own, on loopback only."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import threading
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from aiohttp import web

from langchain_modelmgr.local.bedrock import Bedrock
from langchain_modelmgr.local.clock import skew_refusal, stamped
from langchain_modelmgr.local.price_list import PRICE_LIST
from langchain_modelmgr.local.replies import error_reply, reset_connection
from langchain_modelmgr.local.shapes import load_models
from langchain_modelmgr.local.sts import FORM, Sts

if TYPE_CHECKING:
    from langchain_modelmgr.local.batch import BatchJobs
    from langchain_modelmgr.local.cloudwatch import CloudWatchStore
    from langchain_modelmgr.local.price_list import PriceList
    from langchain_modelmgr.local.state import State

logger = logging.getLogger(__name__)

HOST = "127.0.0.1"
_LOOPBACK_NAMES = frozenset({"127.0.0.1", "localhost", "::1"})
_STOP_SECONDS = 5.0
_LAST_ITERATIONS = 5
"""Iterations of the loop to set up an accepted connection, or to drop one: it takes 3 at most."""
_BACKLOG = 1024


class Server:
    """An HTTP server that runs until it is stopped.

    Args:
        state: What Bedrock answers from.
        batch: What Bedrock's batch inference answers from.
        metrics: What CloudWatch answers from.
        prices: What the price list answers from.
        port: The port; 0 takes a free one.

    Raises:
        OSError: The port is taken.
        OverflowError: The port is out of range.
    """

    def __init__(
        self,
        state: State,
        batch: BatchJobs,
        metrics: CloudWatchStore,
        prices: PriceList,
        port: int,
    ) -> None:
        self._pid = os.getpid()
        self._state = state
        self._bedrock = Bedrock(state, batch)
        self._sts = Sts(state)
        self._prices = prices
        self._metrics = metrics
        self._socket = _listening(port)  # first: nothing is left open if the port is taken
        self._loop = asyncio.new_event_loop()
        self._runner: web.ServerRunner | None = None
        self._models_loaded = False
        self.port: int = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._run, name="local-aws", daemon=True)
        self._thread.start()
        try:
            asyncio.run_coroutine_threadsafe(self._open(), self._loop).result()
        except BaseException:
            self.stop()
            raise

    @property
    def is_own(self) -> bool:
        """Whether this process started the server; a forked child only holds its socket."""
        return self._pid == os.getpid()

    def stop(self) -> None:
        """Drop all connections and end the thread; in a forked child only close the socket."""
        if not self.is_own:
            self._socket.close()
            return
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(_STOP_SECONDS)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_STOP_SECONDS)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()

    async def _open(self) -> None:
        # With handler_cancellation a client that goes away ends its stream here at once.
        server = web.Server(self._handle, handler_cancellation=True, access_log=None)
        self._runner = web.ServerRunner(server, shutdown_timeout=0.05)
        await self._runner.setup()
        await web.SockSite(self._runner, self._socket, backlog=_BACKLOG).start()

    async def _close(self) -> None:
        if self._runner is None or self._runner.server is None:
            return
        # asyncio never closes a connection that it has accepted but not set up when its server
        # closes (Python 3.11): accept no more, and wait for the last ones.
        with suppress(NotImplementedError):  # Windows' loop, which has no readers
            self._loop.remove_reader(self._socket)
        await self._some_iterations()
        transports = [connection.transport for connection in self._runner.server.connections]
        await self._runner.cleanup()
        for transport in transports:  # one whose client doesn't read would never close
            if transport is not None:
                transport.abort()
        await self._some_iterations()

    @staticmethod
    async def _some_iterations() -> None:
        for _ in range(_LAST_ITERATIONS):
            await asyncio.sleep(0)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if refused := _refusal(request):
            return error_reply("AccessDeniedException", refused)
        if not self._models_loaded:  # reading botocore's files would block the loop
            await asyncio.to_thread(load_models)
            self._models_loaded = True
        try:
            body = await request.content.read()
            if (skew := self._state.clock_skew) and (error := skew_refusal(request, skew)):
                return stamped(self._refused_signature(request, *error), skew)
            return stamped(await self._answer(request, body), skew)
        except RecursionError:
            return error_reply("ValidationException", "The request body is nested too deeply.")
        except ConnectionError:  # aiohttp would log a traceback for each abandoned stream
            logger.debug("the connection of a request was closed before its reply was sent")
            return web.Response()  # not sent: the connection is closed
        except UnicodeError:  # JSON can name half of a pair of surrogates, UTF-8 can't
            return error_reply("ValidationException", "The request body is not valid Unicode.")

    def _refused_signature(self, request: web.BaseRequest, code: str, text: str) -> web.Response:
        if request.content_type == FORM:
            return self._sts.refusal(code, text)
        return error_reply(code, text)

    async def _answer(self, request: web.BaseRequest, body: bytes) -> web.StreamResponse:
        target = request.headers.get("X-Amz-Target", "")
        if not target and request.content_type == FORM:
            return self._sts.handle(request, body)
        if not target:
            return await self._bedrock.handle(request, body)
        service, _, operation = target.rpartition(".")
        if service == PRICE_LIST:
            return web.json_response(self._prices.products(body))
        # A fault may hang: CloudWatch's store runs on a thread, so that other requests continue.
        reply = await asyncio.to_thread(self._metrics.respond, operation, body)
        if not reply.status:
            reset_connection(request)
        return web.Response(
            text=reply.body,
            status=reply.status,
            headers=reply.headers,
            content_type="application/x-amz-json-1.0",
        )


def _listening(port: int) -> socket.socket:
    listening = socket.socket()
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((HOST, port))
    except BaseException:
        listening.close()
        raise
    return listening


def _refusal(request: web.BaseRequest) -> str | None:
    """Return why a request is refused because its Host or Origin is not loopback, or None.

    A web page can make its visitor's browser send requests to loopback, under a name of its own
    that resolves to 127.0.0.1 (DNS rebinding).
    """
    for header in ("Host", "Origin"):
        value = request.headers.get(header)
        if value is not None and _hostname(value) not in _LOOPBACK_NAMES:
            return f"The local AWS answers loopback names only; the {header} header has another."
    return None


def _hostname(value: str) -> str | None:
    try:
        return urlsplit(value if "//" in value else f"//{value}").hostname
    except ValueError:
        return None
