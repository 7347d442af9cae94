"""The HTTP server: aiohttp on a thread and a loop of its own, on loopback only."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

from aiohttp import web

from langchain_modelmgr.local.bedrock import Bedrock, reset_connection
from langchain_modelmgr.local.price_list import PRICE_LIST

if TYPE_CHECKING:
    from langchain_modelmgr.local.cloudwatch import CloudWatchStore
    from langchain_modelmgr.local.price_list import PriceList
    from langchain_modelmgr.local.state import State

HOST = "127.0.0.1"
_STOP_SECONDS = 5.0


class Server:
    """Serves until it is stopped.

    Args:
        state: What Bedrock answers from.
        metrics: What CloudWatch answers from.
        prices: What the price list answers from.
        port: The port; 0 takes a free one.

    Raises:
        OSError: The port is taken.
        OverflowError: There is no such port.
    """

    def __init__(
        self, state: State, metrics: CloudWatchStore, prices: PriceList, port: int
    ) -> None:
        self._bedrock = Bedrock(state)
        self._prices = prices
        self._metrics = metrics
        self._loop = asyncio.new_event_loop()
        self._runner: web.ServerRunner | None = None
        self._thread = threading.Thread(target=self._run, name="local-aws", daemon=True)
        self._thread.start()
        try:
            self.port = asyncio.run_coroutine_threadsafe(self._open(port), self._loop).result()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Drop all connections and end the thread."""
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(_STOP_SECONDS)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_STOP_SECONDS)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()

    async def _open(self, port: int) -> int:
        # With handler_cancellation a client that goes away ends its stream here at once.
        server = web.Server(self._handle, handler_cancellation=True, access_log=None)
        self._runner = web.ServerRunner(server, shutdown_timeout=0.05)
        await self._runner.setup()
        site = web.TCPSite(self._runner, HOST, port, backlog=1024)
        await site.start()
        bound: int = self._runner.addresses[0][1]
        return bound

    async def _close(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        body = await request.content.read()
        target = request.headers.get("X-Amz-Target", "")
        if not target:
            return await self._bedrock.handle(request, body)
        service, _, operation = target.rpartition(".")
        if service == PRICE_LIST:
            return web.json_response(self._prices.products(body))
        # A fault may hang: CloudWatch's store is asked on a thread, so that the others go on.
        reply = await asyncio.to_thread(self._metrics.respond, operation, body)
        if not reply.status:
            reset_connection(request)
        return web.Response(
            text=reply.body,
            status=reply.status,
            headers=reply.headers,
            content_type="application/x-amz-json-1.0",
        )
