"""Runs ChatBedrockConverse's own synchronous methods around a request that is awaited."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, NoReturn, Self, cast

from langchain_modelmgr.bedrock.event_frames import NOTHING_ARRIVED

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping

    from langchain_core.messages import BaseMessage
    from langchain_core.outputs import ChatGenerationChunk, ChatResult

    from langchain_modelmgr.bedrock.wire import WireClient


class _Formed(BaseException):
    """Carries a request out of ChatBedrockConverse. No ``except Exception`` on the way stops it."""

    def __init__(self, params: dict[str, Any]) -> None:
        super().__init__()
        self.params = params


class _Stepped:
    """One request of a ChatBedrockConverse, whose method runs twice, in steps that don't block.

    First it runs with a client that takes the request out of it, then with one that returns the
    reply, or raises the error.

    Args:
        model: A copy of the ChatBedrockConverse with a ``WireClient`` of its own.
    """

    _streams = False

    def __init__(self, model: Any) -> None:
        self._model = model
        self._wire: WireClient = model.client

    def _run(self, messages: list[BaseMessage], **keywords: Any) -> Any:
        """Run the method."""
        return self._model._generate(messages, **keywords)  # noqa: SLF001

    async def form(self, messages: list[BaseMessage], keywords: Mapping[str, Any]) -> bool:
        """Form the request; return whether it can be sent without boto3.

        Args:
            messages: The messages, which langchain-aws may change.
            keywords: The call's keywords, and ``stop``.
        """
        self._model.client = _Forming(self._wire.meta)
        try:
            found = self._run(messages, **keywords)
            if self._streams:
                next(found)
        except _Formed as formed:
            params = formed.params
        else:
            raise AssertionError("ChatBedrockConverse sent no request")
        return await self._wire.form(params, stream=self._streams)

    def _run_again(self, client: _Answered) -> Any:
        """Run the method with the reply."""
        self._model.client = client
        self._model.raw_blocks = []  # the messages were converted in the first run
        return self._run([])


class SteppedCall(_Stepped):
    """One Converse call: ``_generate`` runs before the request and after the reply."""

    async def result(self) -> ChatResult:
        """Send the request and return what ``_generate`` makes of the reply or the error."""
        answered = _Answered(self._wire.meta)
        try:
            answered.reply = await self._wire.asend()
        except Exception as error:  # noqa: BLE001 - langchain-aws raises it, or one of its own
            answered.error = error
        result: ChatResult = self._run_again(answered)
        return result


class SteppedStream(_Stepped):
    """One ConverseStream call: the second run of ``_stream`` gets each event once it has arrived.

    A context manager, which ends the call. It yields chunks like this::

        while await stream.receive():
            for chunk in stream.chunks():
                ...
    """

    _streams = True

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        self._arrived = _Arrived()
        self._events: Iterator[dict[str, Any]] = iter(())
        self._chunks: Generator[ChatGenerationChunk, None, None] | None = None
        self._is_over = False

    def _run(self, messages: list[BaseMessage], **keywords: Any) -> Any:
        return self._model._stream(messages, **keywords)  # noqa: SLF001

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """End the call, and close its reply unless it was received to its end."""
        if kind is not None and not issubclass(kind, Exception):  # cancelled, or left by its reader
            self._wire.meter.cancel()
        if self._chunks is not None:
            self._chunks.close()
        self._wire.close()

    @property
    def is_whole(self) -> bool:
        """True once the whole reply has been received: nothing is waited for any more."""
        return self._wire.is_whole

    async def receive(self) -> bool:
        """Wait until ``chunks`` has something to yield or raise; return False after the end."""
        if self._chunks is None:
            self._chunks = await self._opened()
        elif self._is_over:
            return False
        else:
            await self._wire.areceive()
        return True

    async def _opened(self) -> Generator[ChatGenerationChunk, None, None]:
        """Send the request and return the second run, which has not begun."""
        client = _Answered(self._wire.meta)
        try:
            reply = await self._wire.aopen()
        except Exception as error:  # noqa: BLE001 - langchain-aws raises it, or one of its own
            client.error = error
        else:
            self._events = iter(reply["stream"])
            client.reply = {**reply, "stream": self._arrived}
        chunks: Generator[ChatGenerationChunk, None, None] = self._run_again(client)
        return chunks

    def chunks(self) -> Iterator[ChatGenerationChunk]:
        """Yield what ``_stream`` makes of the events that have arrived, or of the error."""
        arrived, chunks = self._arrived, cast("Iterator[ChatGenerationChunk]", self._chunks)
        while (event := self._next_event()) is not None:
            if event is NOTHING_ARRIVED:
                return
            arrived.events.append(event)
            chunk = next(chunks)
            if arrived.is_empty:
                arrived.is_empty = False  # the event gave no chunk
            else:
                yield chunk
        self._is_over = True
        yield from chunks

    def _next_event(self) -> dict[str, Any] | None:
        """Return the next event; None at the end, or before an error."""
        arrived = self._arrived
        try:
            event = next(self._events, None)
        except Exception as error:  # noqa: BLE001 - langchain-aws raises it, or one of its own
            arrived.error, event = error, None
        arrived.is_ended = event is None
        return event


class _Arrived:
    """The events of a stream that have arrived, as ChatBedrockConverse reads them.

    Attributes:
        events: The events that are to be read.
        error: Raised after them.
        is_ended: True if the stream ends after them.
        is_empty: True if an event was asked for that has not arrived, and one was made up.
    """

    def __init__(self) -> None:
        self.events: deque[dict[str, Any]] = deque()
        self.error: Exception | None = None
        self.is_ended = False
        self.is_empty = False

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return self

    def __next__(self) -> dict[str, Any]:
        if self.events:
            return self.events.popleft()
        if self.error is not None:
            try:
                raise self.error
            finally:
                self.error = None  # its traceback refers to this object
        if self.is_ended:
            raise StopIteration
        # langchain-aws made no chunk of the event, and wants the next one. It makes a chunk of
        # this one, which is dropped.
        self.is_empty = True
        return {"messageStart": {"role": "assistant"}}


class _Forming:
    """A client that takes the request out of ChatBedrockConverse."""

    def __init__(self, meta: Any) -> None:
        self.meta = meta

    def converse(self, **params: Any) -> NoReturn:
        """Leave the method that called with the request."""
        raise _Formed(params)

    converse_stream = converse


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

    converse_stream = converse


def is_steppable() -> bool:
    """Return whether the stepped methods are langchain-aws's own: no tool has replaced them."""
    from langchain_aws.chat_models import bedrock_converse

    own, model = vars(bedrock_converse), bedrock_converse.ChatBedrockConverse
    methods: tuple[Any, ...] = (model._generate, model._stream)  # noqa: SLF001
    return all(getattr(method, "__globals__", None) is own for method in methods)
