"""Finds out whether botocore and a client are in their ordinary state."""

from __future__ import annotations

import logging
import os
from functools import cache, partial
from operator import is_
from types import FunctionType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_BOTOCORE_LOG = logging.getLogger("botocore")

_BEARER_TOKEN = "AWS_BEARER_TOKEN_BEDROCK"  # noqa: S105 - a variable's name

_ADVISORY_SECONDS = 900
"""Seconds before their end from which botocore refreshes credentials (botocore 1.44.5)."""

_SOON_SECONDS = 5

_HANDLERS: dict[str, frozenset[str]] = {
    "provide-client-params": frozenset(),
    "before-parameter-build": frozenset(
        {
            "botocore.handlers.generate_idempotent_uuid",
            "botocore.handlers._handle_request_validation_mode_member",
        }
    ),
    "before-endpoint-resolution": frozenset(),
    "before-call": frozenset(
        {
            "botocore.handlers.add_recursion_detection_header",
            "botocore.handlers.inject_api_version_header_if_needed",
        }
    ),
    "request-created": frozenset(
        {
            "botocore.signers.RequestSigner.handler",
            "botocore.retries.standard.MaxAttemptsSeeder.seed_max_attempts",
            "botocore.useragent.UserAgentString.rebuild_and_replace_user_agent_handler",
            "botocore.handlers.add_retry_headers",
        }
    ),
    "choose-signer": frozenset(
        {
            "botocore.handlers.set_operation_specific_signer",
            "botocore.handlers._set_auth_scheme_preference_signer",
        }
    ),
    "before-sign": frozenset(),
    "before-send": frozenset(),
    "response-received": frozenset(),
    "before-parse": frozenset(),
    "needs-retry": frozenset(
        {
            "botocore.retries.standard.RetryHandler.needs_retry",
            "botocore.retryhandler.RetryHandler",
        }
    ),
    "after-call": frozenset(
        {"botocore.retries.standard.RetryQuotaChecker.release_retry_quota"},
    ),
    "after-call-error": frozenset(),
}
"""botocore's own handlers of a Converse call in its retry modes standard and legacy, as of 1.44.5.

Their effect is known: on requests it is learned from a request that boto3 sent, on errors botocore
has it itself. Any other handler is a user's or a mock's.
"""


class HandlerCheck:
    """Finds handlers of a client's events that are neither botocore's nor this package's.

    Args:
        client: The boto3 client.
        operation: The operation's name.
        own: This package's handlers.
    """

    def __init__(self, client: Any, operation: str, own: Iterable[Callable[..., Any]]) -> None:
        self._service = client.meta.service_model.service_id.hyphenize()
        self._events = client.meta.events
        self._operation = operation
        self._own = {_name(handler) for handler in own}
        self._seen: Any = None
        self._other: str | None = None
        self.before_send: tuple[Callable[..., Any], ...] = ()

    def other(self) -> str | None:
        """Return the reason if there is another handler, else None.

        Cheap unless a handler was registered or removed since: botocore's emitter then replaces
        its cache (read in botocore 1.43.68 and 1.44.5).
        """
        emitter = getattr(self._events, "_emitter", None)
        cache = getattr(emitter, "_lookup_cache", None)
        if cache is None:
            return "this version of botocore keeps its event handlers elsewhere"
        if cache is not self._seen:
            self._other = self._look(emitter)
            self._seen = cache
        return self._other

    def _look(self, emitter: Any) -> str | None:
        for event, known in _HANDLERS.items():
            found = self._handlers(emitter, event)
            for handler in found:
                if (name := _name(handler)) not in known and name not in self._own:
                    return f"the event {event} has the handler {name}"
        self.before_send = self._handlers(emitter, "before-send")
        return None

    def _handlers(self, emitter: Any, event: str) -> tuple[Callable[..., Any], ...]:
        found = emitter._handlers  # noqa: SLF001 - botocore has no public list of handlers
        return tuple(found.prefix_search(f"{event}.{self._service}.{self._operation}"))


class BotocoreCheck:
    """Finds functions of botocore that a tool has replaced, and states that need boto3's path.

    OpenTelemetry, X-Ray, ddtrace and mocks replace ``BaseClient._make_api_call`` or methods of the
    endpoint, to see each call.
    """

    def __init__(self) -> None:
        self._originals: tuple[Any, ...] = ()

    def other(self) -> str | None:
        """Return the reason if botocore is not in its ordinary state, else None."""
        if _BOTOCORE_LOG.isEnabledFor(logging.DEBUG):
            return "botocore's debug log is on"
        if _BEARER_TOKEN in os.environ:
            return f"{_BEARER_TOKEN} is set"
        if _is_observed():
            return "the call is part of another botocore operation, or its history is recorded"
        functions = _functions()
        # By identity: the wrappers of wrapt are equal to what they wrap.
        if not self._originals or not all(map(is_, functions, self._originals)):
            if (name := _replaced()) is not None:
                return f"{name} was replaced"
            self._originals = functions
        return None


@cache
def _classes() -> tuple[Any, Any, Any]:
    from botocore.client import BaseClient
    from botocore.endpoint import Endpoint
    from botocore.parsers import ResponseParser

    return BaseClient, Endpoint, ResponseParser


def _functions() -> tuple[Any, ...]:
    client, endpoint, parser = _classes()
    return (
        client._make_api_call,  # noqa: SLF001 - compared, not called
        client._make_request,  # noqa: SLF001
        endpoint.make_request,
        endpoint.create_request,
        endpoint.prepare_request,
        endpoint._send_request,  # noqa: SLF001
        endpoint._send,  # noqa: SLF001
        parser.parse,
    )


def _replaced() -> str | None:
    """Return the name of the first function that is not the one in botocore's source."""
    import botocore.client
    import botocore.context
    import botocore.endpoint
    import botocore.parsers

    sources = (botocore.client,) * 2 + (botocore.endpoint,) * 5 + (botocore.parsers,)
    wrapper = vars(botocore.context)
    for found, source in zip(_functions(), sources, strict=True):
        function = found
        if type(function) is FunctionType and function.__globals__ is wrapper:
            function = function.__wrapped__  # type: ignore[attr-defined]
        # Not isinstance: the wrappers of wrapt claim the class of what they wrap.
        if type(function) is not FunctionType or function.__globals__ is not vars(source):
            return str(getattr(found, "__qualname__", found))
    return None


@cache
def _observers() -> tuple[Any, Any]:
    from botocore.context import get_context
    from botocore.history import get_global_history_recorder

    return get_context, get_global_history_recorder


def _is_observed() -> bool:
    get_context, get_recorder = _observers()
    return get_context() is not None or bool(getattr(get_recorder(), "_enabled", True))


def credentials_need_boto3(credentials: Any, *, soon: bool = False) -> bool:
    """Return whether boto3 must send the call, because it will refresh the credentials.

    Args:
        credentials: The credentials.
        soon: Also if it may have to within the next seconds.
    """
    plain, refreshable = _credential_classes()
    if type(credentials) is plain:
        return False
    if not isinstance(credentials, refreshable):
        return True
    if not soon:
        return bool(credentials.refresh_needed())
    advisory = getattr(credentials, "_advisory_refresh_timeout", _ADVISORY_SECONDS)
    return bool(credentials.refresh_needed(refresh_in=advisory + _SOON_SECONDS))


@cache
def _credential_classes() -> tuple[Any, Any]:
    from botocore.credentials import Credentials, RefreshableCredentials

    return Credentials, RefreshableCredentials


def _name(handler: Any) -> str:
    while isinstance(handler, partial):
        handler = handler.func
    name = getattr(handler, "__qualname__", None)
    if name is None:
        handler = type(handler)
        name = handler.__qualname__
    return f"{handler.__module__}.{name}"
