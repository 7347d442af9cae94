"""Runs ChatBedrockConverse's own synchronous methods around a request that is awaited."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from collections.abc import Mapping

    from langchain_core.messages import BaseMessage
    from langchain_core.outputs import ChatResult

    from langchain_modelmgr.bedrock.wire import WireClient


class _Formed(BaseException):
    """Carries a request out of ChatBedrockConverse. No ``except Exception`` on the way stops it."""

    def __init__(self, params: dict[str, Any]) -> None:
        super().__init__()
        self.params = params


class SteppedCall:
    """One Converse call of a ChatBedrockConverse, in two steps that don't block.

    Its ``_generate`` runs twice: first with a client that takes the request out of it, then with
    one that returns the reply, or raises the error.

    Args:
        model: A copy of the ChatBedrockConverse with a ``WireClient`` of its own.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        self._wire: WireClient = model.client

    def form(
        self, messages: list[BaseMessage], stop: list[str] | None, keywords: Mapping[str, Any]
    ) -> bool:
        """Form the request; return whether it can be sent without boto3.

        Args:
            messages: The messages, which langchain-aws may change.
            stop: Stop sequences.
            keywords: The call's keywords.
        """
        self._model.client = _Forming(self._wire.meta)
        try:
            self._model._generate(messages, stop=stop, **keywords)  # noqa: SLF001
        except _Formed as formed:
            return self._wire.form(formed.params)
        raise AssertionError("ChatBedrockConverse sent no request")

    async def result(self) -> ChatResult:
        """Send the request and return what ``_generate`` makes of the reply or the error."""
        answered = _Answered(self._wire.meta)
        try:
            answered.reply = await self._wire.asend()
        except Exception as error:  # noqa: BLE001 - langchain-aws raises it, or one of its own
            answered.error = error
        self._model.client = answered
        self._model.raw_blocks = []  # the messages were converted in the first run
        result: ChatResult = self._model._generate([])  # noqa: SLF001
        return result


class _Forming:
    """A client that takes the request out of ChatBedrockConverse."""

    def __init__(self, meta: Any) -> None:
        self.meta = meta

    def converse(self, **params: Any) -> NoReturn:
        """Leave the method that called with the request."""
        raise _Formed(params)


class _Answered:
    """A client that returns a reply that was received before, or raises the error."""

    def __init__(self, meta: Any) -> None:
        self.meta = meta
        self.reply: dict[str, Any] = {}
        self.error: Exception | None = None

    def converse(self, **_: Any) -> dict[str, Any]:
        """Return the reply."""
        if self.error is None:
            return self.reply
        try:
            raise self.error
        finally:
            self.error = None  # its traceback refers to this object


def is_steppable() -> bool:
    """Return whether the stepped methods are langchain-aws's own: no tool has replaced them."""
    from langchain_aws.chat_models import bedrock_converse

    own, model = vars(bedrock_converse), bedrock_converse.ChatBedrockConverse
    methods: tuple[Any, ...] = (model._generate, model._stream)  # noqa: SLF001
    return all(getattr(method, "__globals__", None) is own for method in methods)
