"""Measures one attempt, and classifies its failure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from langchain_modelmgr.bedrock.causes import masked
from langchain_modelmgr.bedrock.failures import classify, may_be_billed, was_rejected
from langchain_modelmgr.bedrock.unsendable import explained
from langchain_modelmgr.errors import BedrockTimeoutError
from langchain_modelmgr.runtime.blocking_work import REPLY_TIMEOUT

if TYPE_CHECKING:
    from types import TracebackType

    from langchain_modelmgr.chain.request import AttemptRequest
    from langchain_modelmgr.errors import BedrockError
    from langchain_modelmgr.usage.record import Outcome


class measured:  # noqa: N801 - reads as a verb in its with statement
    """Context manager that times an attempt, ends its meter, and raises its classified failure."""

    def __init__(self, attempt: AttemptRequest) -> None:
        self._request = attempt.request
        self._meter = attempt.meter
        self._time_budget = attempt.time_budget
        self._is_postponed = False

    def __enter__(self) -> Self:
        self._time_budget.begin(self._meter.shut, self._meter.close)
        return self

    def postpone(self) -> None:
        """Leave the attempt as it was before: nothing was sent, and it is made in another way."""
        self._is_postponed = True
        self._meter.withhold()
        self._meter.adapted = ()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._time_budget.end()
        if self._is_postponed:
            return
        self._meter.close()  # explicitly, because the garbage collector would close the reply late
        if error is None:
            self._meter.finish("answered")
            return
        if not isinstance(error, Exception):  # closed, cancelled, interrupted
            self._meter.finish("aborted", type(error).__name__)
            return
        if (failure := self._failure(error)) is None:
            self._meter.finish("failed", type(error).__name__)
            return
        self._record(failure)
        raise failure from masked(error)

    def time_is_up(self) -> None:
        """Record that a limit ended a stream: its reader may never continue."""
        self._record(BedrockTimeoutError(self._time_budget.ended, code=REPLY_TIMEOUT))

    def _record(self, failure: BedrockError) -> None:
        self._meter.request_id = failure.request_id or self._meter.request_id
        self._meter.failure = failure.code or None, str(failure)
        self._meter.may_be_billed = may_be_billed(failure)
        self._meter.was_rejected = was_rejected(failure) and self._meter.first_content is None
        # If the reader took longer than the model, the model has not failed.
        outcome: Outcome = "aborted" if self._time_budget.by_reader else "failed"
        self._meter.finish(outcome, type(failure).__name__)

    def _failure(self, error: Exception) -> BedrockError | None:
        if self._time_budget.ended:  # the watchdog broke the reply
            return BedrockTimeoutError(self._time_budget.ended, code=REPLY_TIMEOUT)
        raw = self._request.raw
        formed = self._meter.params or ({} if raw is None else {"messages": raw.messages})
        return explained(error, classify(error), formed, self._request.messages)
