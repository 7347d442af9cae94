"""Decides whether a Converse call is sent without boto3's layers, and forms its request."""

from __future__ import annotations

import logging
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from langchain_modelmgr.bedrock.botocore_state import (
    BotocoreCheck,
    HandlerCheck,
    credentials_need_boto3,
)
from langchain_modelmgr.bedrock.direct_reply import ReplyReader
from langchain_modelmgr.bedrock.direct_request import RequestForm, after_handlers
from langchain_modelmgr.bedrock.service_shapes import UncommonError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

_LOGGER = logging.getLogger(__name__)

OPERATIONS = frozenset({"Converse", "ConverseStream"})
"""The operations that can be sent without boto3's layers."""

PATTERN: ContextVar[list[Any] | None] = ContextVar("modelmgr_pattern", default=None)
"""Where the HTTP session puts a request of boto3 that is not sent, only learned from."""

_ATTEMPTS_TO_LEARN = 3

_MODULES = ("botocore.", "builtins", "langchain_modelmgr.")
"""Where the base classes of a client come from, unless a handler of its session added one."""


def pattern_reply(request: Any) -> Any:
    """Return an empty HTTP reply to a request that is not sent."""
    from botocore.awsrequest import AWSResponse

    headers: Any = {"x-amzn-requestid": "", "content-type": "application/json"}
    return AWSResponse(request.url, 200, headers, _Empty())


class _Empty:
    """The body of a reply without fields."""

    def stream(self) -> Iterator[bytes]:
        yield b"{}"

    def close(self) -> None:
        pass


class DirectCalls:
    """The Converse calls of one boto3 client.

    Before the first call of each operation, boto3 forms its request, which is not sent: it is the
    pattern of all others. boto3 sends whenever anything is out of the ordinary; why is logged
    once, at INFO.

    Args:
        client: The boto3 client.
        signer: Its request signer.
    """

    def __init__(self, client: Any, signer: Any) -> None:
        self._client = client
        self._signer = signer
        self._botocore = BotocoreCheck()
        self._operations: dict[str, _Operation] = {}
        self._handlers: tuple[Callable[..., Any], ...] = ()
        self._off = ""
        self._logged: set[str] = set()

    def allow(self, handlers: Iterable[Callable[..., Any]]) -> None:
        """Name this package's own event handlers: requests are sent directly despite them."""
        self._handlers = tuple(handlers)

    def turn_off(self, reason: str) -> None:
        """Let boto3 send all calls."""
        self._off = reason

    def is_ready(self, name: str) -> bool:
        """Return whether ``formed`` does not block, and boto3 need not send for a known reason.

        Args:
            name: The operation's name.
        """
        operation = self._operations.get(name)
        if operation is None or not operation.is_learned:
            return False
        try:
            self._ordinary(name)
        except UncommonError as error:
            self._log(str(error))
            return False
        return not credentials_need_boto3(getattr(self._signer, "_credentials", None), soon=True)

    def formed(
        self,
        name: str,
        params: dict[str, Any],
        by_boto3: Callable[[str, dict[str, Any]], Any],
        read_timeout: Callable[[], float],
    ) -> tuple[Any, ReplyReader] | None:
        """Return a call's signed request and the reader of its reply; None if boto3 must send it.

        Args:
            name: The operation's name.
            params: Its parameters.
            by_boto3: Makes the call with boto3.
            read_timeout: Returns the seconds that the socket may be silent.
        """
        try:
            operation = self._ordinary(name)
            if not operation.is_learned:
                self._learn(operation, name, params, by_boto3)
            formed = operation.form.formed(params, read_timeout())
            request = after_handlers(formed, operation.handlers.before_send)
        except Exception as error:  # noqa: BLE001 - nothing was sent; boto3 raises its own error
            self._log(str(error) if isinstance(error, UncommonError) else type(error).__name__)
            return None
        return request, operation.replies

    def _ordinary(self, name: str) -> _Operation:
        """Return the operation.

        Raises:
            UncommonError: boto3 must send the call.
        """
        if self._off:
            raise UncommonError(self._off)
        if (reason := self._botocore.other()) is not None:
            raise UncommonError(reason)
        operation = self._operations.get(name)
        if operation is None:
            operation = self._operations[name] = self._compiled(name)
        if (reason := operation.handlers.other()) is not None:
            raise UncommonError(reason)
        if credentials_need_boto3(getattr(self._signer, "_credentials", None)):
            raise UncommonError("boto3 refreshes the credentials")
        return operation

    def _compiled(self, name: str) -> _Operation:
        try:
            return _Operation(self._client, name, self._signer, self._handlers)
        except Exception as error:
            self.turn_off(f"{error} is not known of Bedrock Runtime's clients")
            raise

    def _learn(
        self,
        operation: _Operation,
        name: str,
        params: dict[str, Any],
        by_boto3: Callable[[str, dict[str, Any]], Any],
    ) -> None:
        """Learn from the request that boto3 forms for a call, without sending it.

        Raises:
            UncommonError: The request differs from the one that is formed here.
        """
        operation.form.check(params)
        seen: list[Any] = []
        token = PATTERN.set(seen)
        try:
            reply = by_boto3(name, params)
        finally:
            PATTERN.reset(token)
        try:
            operation.replies.learn(reply)
            operation.form.learn(seen[0], params, operation.handlers.before_send)
        except UncommonError as error:
            operation.failures += 1
            if operation.failures == _ATTEMPTS_TO_LEARN:
                self.turn_off(f"boto3 forms other requests: {error}")
            raise
        operation.is_learned = True

    def _log(self, reason: str) -> None:
        if reason not in self._logged:
            self._logged.add(reason)
            _LOGGER.info("boto3 sends this request, and others like it: %s", reason)


class _Operation:
    """One operation of a client."""

    def __init__(
        self, client: Any, name: str, signer: Any, handlers: Iterable[Callable[..., Any]]
    ) -> None:
        for base in type(client).__mro__:
            if not base.__module__.startswith(_MODULES):
                raise UncommonError(f"the base class {base.__module__}.{base.__qualname__}")
        model = client.meta.service_model.operation_model(name)
        self.form = RequestForm(model, signer)
        self.replies = ReplyReader(client, model)
        self.handlers = HandlerCheck(client, name, handlers)
        self.is_learned = False
        self.failures = 0
