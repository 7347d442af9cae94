"""Sends the HTTP requests of attempts, with their timeouts, and keeps their open replies."""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import TYPE_CHECKING, Any, NoReturn, Protocol
from weakref import WeakValueDictionary

from langchain_modelmgr.bedrock.async_http import AsyncHttp
from langchain_modelmgr.bedrock.direct_calls import OPERATIONS, PATTERN, DirectCalls, pattern_reply
from langchain_modelmgr.bedrock.service_shapes import UncommonError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import boto3

    from langchain_modelmgr.bedrock.time_budget import TimeBudget
    from langchain_modelmgr.usage.meter import Meter


class Sender(Protocol):
    """The attempt that is sending a request."""

    meter: Meter
    time_budget: TimeBudget
    http_reply: Mapping[str, Any]


SENDER: ContextVar[Sender | None] = ContextVar("modelmgr_sender", default=None)
"""The attempt that botocore is sending for; botocore sends in the calling thread."""

_CALLS = "_modelmgr_calls"
"""The attribute of a client that holds its ``DirectCalls``."""

_HTTP = "_modelmgr_http"
"""The attribute of a client that holds its ``_Http``."""

_URLS_KEPT = 256
"""URLs whose pools are known without parsing; an endpoint has one for each model and operation."""

_SENT_TOGETHER = 2**18
"""Bytes of a request's body up to which it is sent with the headers. That copies it."""

_CREATING = "creating-client-class.bedrock-runtime"


@contextmanager
def watched(session: boto3.Session) -> Iterator[None]:
    """Make Bedrock Runtime clients that the session builds in this context send through ``_Http``.

    botocore's documented event ``creating-client-class`` can add a base class to a client. The
    constructor of that class receives the endpoint (botocore 1.43.68 and 1.44.5).
    """
    session.events.register(_CREATING, _add_base)
    try:
        yield
    finally:
        session.events.unregister(_CREATING, _add_base)


def instrument(client: Any, *handlers: Callable[..., Any], only_boto3: str = "") -> None:
    """Make a shared client use each attempt's own timeout and keep its raw reply.

    Args:
        client: The client.
        handlers: More event handlers of this package that the client has or will have.
        only_boto3: Why boto3 must send all of the client's requests; empty if it need not.
    """
    calls: DirectCalls | None = getattr(client, _CALLS, None)
    if calls is not None:
        calls.allow((_set_timeout, _keep_reply, *handlers))
        if only_boto3:
            calls.turn_off(only_boto3)
    events = client.meta.events
    events.register("before-call.bedrock-runtime", _set_timeout)
    events.register("before-parse.bedrock-runtime.Converse", _keep_reply)


def prepare_asyncio(client: Any) -> None:
    """Prepare to send a client's requests without a thread for each; don't wait for it."""
    http: _Http | None = getattr(client, _HTTP, None)
    if http is not None:
        http.for_asyncio.prepare(client.meta.endpoint_url, client.meta.config.connect_timeout)


def is_ready_for_asyncio(client: Any, operation: str) -> bool:
    """Return whether requests of an operation can be sent without a thread for each."""
    http: _Http | None = getattr(client, _HTTP, None)
    calls: DirectCalls | None = getattr(client, _CALLS, None)
    return (
        http is not None
        and http.for_asyncio.is_ready
        and calls is not None
        and calls.is_ready(operation)
    )


def direct_request(client: Any, operation: str, params: dict[str, Any], sender: Sender) -> Any:
    """Return the signed request of an attempt and the reader of its reply; None: boto3 must send.

    Does not block, if ``is_ready_for_asyncio``.
    """
    calls: DirectCalls = getattr(client, _CALLS)
    return calls.formed(operation, params, _never_called, sender.time_budget.seconds)


async def asend(client: Any, request: Any, sender: Sender) -> Any:
    """Send a request of ``direct_request`` without a thread; return its reply.

    A unary reply is read to its end. A stream's body is an ``Arriving``, which must be closed.
    """
    http: _Http = getattr(client, _HTTP)
    return await http.asend(request, sender)


def _never_called(*_: Any) -> NoReturn:
    raise UncommonError("nothing learned")


def _add_base(base_classes: list[type], **_: Any) -> None:
    base_classes.insert(0, _Watched)


class _Watched:
    """Base class of Bedrock Runtime clients that replaces their HTTP session."""

    def __init__(self, *args: Any, endpoint: Any, **kwargs: Any) -> None:
        http = AsyncHttp(endpoint.http_session)
        self._modelmgr_http = endpoint.http_session = _Http(endpoint.http_session, http)
        super().__init__(*args, endpoint=endpoint, **kwargs)  # type: ignore[call-arg]
        calls = DirectCalls(self, kwargs.get("request_signer"))
        factory = getattr(endpoint, "_response_parser_factory", None)
        if getattr(factory, "_defaults", True):
            calls.turn_off("the botocore session has response parsers of its own")
        setattr(self, _CALLS, calls)

    def _make_api_call(self, operation_name: str, api_params: dict[str, Any]) -> Any:
        """Send an attempt's Converse call without boto3's layers, if everything is ordinary."""
        by_boto3 = super()._make_api_call  # type: ignore[misc]
        sender = SENDER.get()
        if sender is None or operation_name not in OPERATIONS:
            return by_boto3(operation_name, api_params)
        calls: DirectCalls = getattr(self, _CALLS)
        seconds = sender.time_budget.seconds
        formed = calls.formed(operation_name, api_params, by_boto3, seconds)
        if formed is None:
            return by_boto3(operation_name, api_params)
        request, replies = formed
        return replies.read(self._modelmgr_http.send(request))


class _Http:
    """A client's HTTP session that reports each request and open reply to its attempt."""

    def __init__(self, session: Any, for_asyncio: AsyncHttp) -> None:
        self._session = session
        self.for_asyncio = for_asyncio
        # Private in botocore 1.43.68 to 1.44.5. Without it, only reply headers that arrive byte by
        # byte outlive the time-out of a synchronous call.
        pools: dict[str, type] = getattr(session, "_pool_classes_by_scheme", {})
        pools.update({scheme: _with_watched_connections(pool) for scheme, pool in pools.items()})
        manager = getattr(session, "_manager", None)  # private in the same versions
        if manager is not None:
            manager.connection_from_url = _KeptPools(manager.connection_from_url)

    def send(self, request: Any) -> Any:
        """Send a request unless its attempt has ended; pass the open reply to the attempt.

        Raises:
            NotSentError: The attempt was cancelled.
            TimeoutError: The call's deadline has passed, or a limit ended the attempt.
        """
        if (seen := PATTERN.get()) is not None:
            seen.append(request)
            return pattern_reply(request)
        sender = SENDER.get()
        if sender is None:
            return self._session.send(request)
        if sender.time_budget.is_over():
            sender.meter.withhold()
            raise TimeoutError(sender.time_budget.ended)
        sender.meter.send()
        sender.time_budget.start_waiting()
        streams, request.stream_output = request.stream_output, True
        response = self._session.send(request)
        # botocore would treat a reply that ends early as complete and return its connection to
        # the pool, even if it was shut and the server is still sending.
        response.raw.enforce_content_length = True
        sender.meter.opened(response.raw)
        sender.time_budget.replied()
        if not streams:
            _read(request, response)
        if sender.time_budget.ended:
            raise TimeoutError(sender.time_budget.ended)
        return response

    async def asend(self, request: Any, sender: Sender) -> Any:
        """Send a request of an attempt without a thread, as ``send`` does."""
        exchange = await self.for_asyncio.exchange()
        if sender.time_budget.is_over():
            sender.meter.withhold()
            raise TimeoutError(sender.time_budget.ended)
        sender.meter.send()
        sender.time_budget.start_waiting()
        sender.meter.opened(exchange)
        if sender.time_budget.ended:  # since it was checked: the watchdog found nothing to shut
            raise TimeoutError(sender.time_budget.ended)
        send = exchange.open if request.stream_output else exchange.send
        response = await send(request, request.context["read_timeout"], sender.time_budget.replied)
        if sender.time_budget.ended:
            raise TimeoutError(sender.time_budget.ended)
        return response

    def close(self) -> None:
        """Close all connections."""
        self.for_asyncio.close()
        self._session.close()


class _KeptPools:
    """Returns urllib3's connection pool of a URL without parsing the URL each time.

    A pool is not kept alive: urllib3 2 closes a pool's connections when its manager has dropped it
    and it is collected.

    Args:
        find: The method of urllib3's pool manager that finds a URL's pool, or makes one.
    """

    def __init__(self, find: Callable[[str], Any]) -> None:
        self._find = find
        self._pools: WeakValueDictionary[str, Any] = WeakValueDictionary()

    def __call__(self, url: str) -> Any:
        pool = self._pools.get(url)
        if pool is None or pool.pool is None:  # none yet, or it was closed
            if len(self._pools) >= _URLS_KEPT:
                self._pools.clear()
            pool = self._pools[url] = self._find(url)
        return pool


@cache
def _with_watched_connections(pool: type) -> type:
    """Return a pool class whose connections can be shut while they wait for reply headers.

    They also send a request's headers and body in one write: urllib3 2 takes two (read in 2.8.0).
    """

    class WatchedConnection(pool.ConnectionCls):  # type: ignore[misc,name-defined]
        body_of_request: bytes | None = None

        def request(
            self, method: str, url: str, body: Any = None, headers: Any = None, **kwargs: Any
        ) -> None:
            together = type(body) is bytes and len(body) <= _SENT_TOGETHER
            if together and headers and "Content-Length" in headers and "Expect" not in headers:
                self.body_of_request, body = body, None
            try:
                super().request(method, url, body, headers, **kwargs)
            finally:
                self.body_of_request = None

        def endheaders(self, message_body: Any = None, **kwargs: Any) -> None:
            super().endheaders(message_body or self.body_of_request, **kwargs)

        def getresponse(self) -> Any:
            if sender := SENDER.get():
                sender.meter.awaits_headers(self)
            return super().getresponse()

    return type(pool.__name__, (pool,), {"ConnectionCls": WatchedConnection})


def _read(request: Any, response: Any) -> None:
    """Read a unary reply, and raise the errors that botocore raises when it reads one."""
    import botocore.exceptions
    import urllib3.exceptions

    try:
        response.content  # noqa: B018 - a property that reads
    except urllib3.exceptions.ReadTimeoutError as error:
        raise botocore.exceptions.ReadTimeoutError(endpoint_url=request.url, error=error) from error
    except urllib3.exceptions.ProtocolError as error:
        raise botocore.exceptions.ConnectionClosedError(
            error=error, request=request, endpoint_url=request.url
        ) from error
    except urllib3.exceptions.HTTPError as error:
        raise botocore.exceptions.HTTPClientError(error=error) from error


def _set_timeout(context: dict[str, Any], **_: Any) -> None:
    # botocore >= 1.43.68 reads a request's own read_timeout from its context. A shared client's
    # Config can't hold it: it is one for all.
    if sender := SENDER.get():
        context["read_timeout"] = sender.time_budget.seconds()


def _keep_reply(response_dict: dict[str, Any], **_: Any) -> None:
    if sender := SENDER.get():
        sender.http_reply = response_dict
