"""Asks the model of an agent for the answer of one row."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal, NoReturn, Protocol

from langchain_modelmgr.batch.answers import Answer
from langchain_modelmgr.bedrock.failures import may_be_billed
from langchain_modelmgr.chain.builder import Overrides
from langchain_modelmgr.converse import request_of, result_of
from langchain_modelmgr.errors import (
    BedrockAuthenticationError,
    BedrockConnectionError,
    BedrockError,
    BedrockNotFoundError,
    BedrockPermissionDeniedError,
    BedrockRateLimitError,
    BudgetExceededError,
    BudgetStoreError,
    ConfigurationError,
    ModelCompatibilityError,
    ModelManagerError,
)
from langchain_modelmgr.runtime.jitter import uniform
from langchain_modelmgr.runtime.masking import mask_account_ids
from langchain_modelmgr.usage.totals import Run
from langchain_modelmgr.usage.tracks import TASK_KEY

if TYPE_CHECKING:
    from collections.abc import Callable

    from langchain_modelmgr.agent import Agent
    from langchain_modelmgr.batch.plan import Plan
    from langchain_modelmgr.batch.rows import Row
    from langchain_modelmgr.batch.throttling import ConcurrencyLimit

OnThrottle = Literal["wait", "fallback"]
"""What becomes of a throttled row: the same model is asked again, or a fallback."""

_TRIES = 5
"""How often a row is asked when the service fails; throttles are not counted."""

_SECONDS = 1.0, 60.0
"""Least and longest wait before a row is asked again."""

_FAILURES_IN_A_ROW = 20
"""Rows that failed by the service one after the other, after which a run ends."""

_ERROR_CHARACTERS = 500

_UNCONVERTIBLE = KeyError, NotImplementedError, TypeError, ValueError
"""What langchain-aws raises for messages that it can't convert; the texts have their content."""

_OF_ALL_ROWS = (
    BedrockAuthenticationError,
    BedrockConnectionError,
    BedrockNotFoundError,
    BedrockPermissionDeniedError,
    BudgetStoreError,
    ConfigurationError,
)
"""Failures that every other row would have too: the run ends, and the rows stay pending."""


class RunEndedError(Exception):
    """The run ends: this row stays pending. Its text is the reason."""


class Manager(Protocol):
    """The part of ``ModelManager`` that asks rows."""

    def agent(self, agent_name: str, overrides: Overrides = ...) -> Agent:
        """Return an agent."""


class Asker:
    """Asks rows, again if they are throttled or the service fails. Any thread may use it.

    Args:
        manager: The manager.
        plan: The job's plan.
        limit: The slots, which throttles lower.
        engine: The engine's name, for the results.
        on_throttle: What becomes of a throttled row.
        task: The name of the budget of the job; None: there is none.
        is_stopped: Returns whether the run was stopped.
        wait: Waits for some seconds, or until the run was stopped.
    """

    def __init__(  # noqa: PLR0913 - the parts of one worker, keyword-only
        self,
        manager: Manager,
        plan: Plan,
        *,
        limit: ConcurrencyLimit,
        engine: str,
        on_throttle: OnThrottle,
        task: str | None,
        is_stopped: Callable[[], bool],
        wait: Callable[[float], Any],
    ) -> None:
        self._manager = manager
        self._plan = plan
        self._limit = limit
        self._engine = engine
        self._on_throttle = on_throttle
        self._task = task
        self._run = Run(metadata={} if task is None else {TASK_KEY: task})
        self._is_stopped = is_stopped
        self._wait = wait
        self._failures_in_a_row = 0

    def ask(self, row: Row) -> Answer:
        """Return the answer of a row.

        Raises:
            RunEndedError: The run ends, and the row stays pending.
        """
        with_fallback = self._on_throttle == "fallback"
        tries, waits = 0, 0
        while True:
            try:
                answer = self._answer(row, use_fallback=with_fallback)
            except BedrockRateLimitError as error:
                self._throttled(error, waits)
                waits += 1
                with_fallback = self._on_throttle == "fallback"
            except BudgetExceededError as error:
                if not error.fits_later:
                    raise RunEndedError(self._spent(error)) from error
                self._pause(1)
            except ModelManagerError as error:
                tries += 1
                if not self._may_try_again(error, tries, with_fallback=with_fallback):
                    return self._failed(row, error)
                if with_fallback:
                    self._pause(tries)
                with_fallback = True  # at once
            except _UNCONVERTIBLE as error:
                return self._unconvertible(row, error)
            else:
                self._failures_in_a_row = 0
                self._limit.answered()
                return answer

    def _answer(self, row: Row, *, use_fallback: bool) -> Answer:
        request = request_of(messages_of(row.body), self._plan.system, None, {})
        agent = self._manager.agent(self._plan.agent, Overrides(use_fallback=use_fallback))
        chain, given = agent.open(request, self._run)
        chain.invoke(given)
        result, report = result_of(given.outcome), given.outcome.report or {}
        usage = None if given.outcome.meter is None else given.outcome.meter.usage
        cost = report.get("cost_usd")
        return Answer(
            position=row.position,
            text=result["response"],
            error=None,
            model=mask_account_ids(result["model_id"]),
            engine=self._engine,
            input_tokens=None if usage is None else usage.prompt_tokens,
            output_tokens=None if usage is None else usage.output_tokens,
            cost_usd=None if cost is None else Decimal(cost),
        )

    def _throttled(self, error: BedrockRateLimitError, waits: int) -> None:
        """Lower the concurrency, and wait.

        Raises:
            RunEndedError: A quota is used up, or the run was stopped.
        """
        self._limit.throttled()
        if error.is_lasting:
            raise RunEndedError(str(error)) from error
        self._pause(waits + 1, error.retry_after)

    def _pause(self, tries: int, seconds: float | None = None) -> None:
        least, most = _SECONDS
        longest = min(most, least * 2 ** min(tries - 1, 10))
        self._wait(uniform(longest / 2, longest) if seconds is None else min(seconds, most))
        if self._is_stopped():
            raise RunEndedError("stopped")

    def _may_try_again(self, error: ModelManagerError, tries: int, *, with_fallback: bool) -> bool:
        """Return whether a row is asked again.

        Raises:
            RunEndedError: Every other row would fail too.
        """
        concerns_model = isinstance(error, BedrockError) and error.concerns_model
        if not with_fallback and (concerns_model or isinstance(error, ModelCompatibilityError)):
            return True  # a throttle only must not reach the fallback
        passes = getattr(error, "is_retryable", False)
        if passes and tries < _TRIES:
            return True
        if isinstance(error, _OF_ALL_ROWS):
            _end(error)
        if passes:
            self._failures_in_a_row += 1
            if self._failures_in_a_row >= _FAILURES_IN_A_ROW:
                _end(error)
        return False

    def _spent(self, error: BudgetExceededError) -> str:
        """Return why a budget ends the run."""
        if error.budget != self._task or error.needed is None:
            return mask_account_ids(str(error))
        return (
            f"max_usd: {error.spent} of {error.limit} USD are spent, and a row may cost up to "
            f"{error.needed} USD: a higher max_usd goes on"
        )

    def _unconvertible(self, row: Row, error: Exception) -> Answer:
        """Return the answer of a row whose messages can't be converted to a request.

        Raises:
            RunEndedError: No row can be converted.
        """
        text = f"{type(error).__name__}: the messages can't be converted to a request"
        self._failures_in_a_row += 1
        if self._failures_in_a_row >= _FAILURES_IN_A_ROW:
            raise RunEndedError(f"{text}, like those of the rows before it") from error
        return Answer.failed(row.position, text, self._engine)

    def _failed(self, row: Row, error: ModelManagerError) -> Answer:
        text = f"{type(error).__name__}: {mask_account_ids(str(error))}"
        failed = Answer.failed(row.position, text[:_ERROR_CHARACTERS], self._engine)
        is_unknown = isinstance(error, BedrockError) and may_be_billed(error)
        return failed._replace(cost_usd=None) if is_unknown else failed


def _end(error: ModelManagerError) -> NoReturn:
    raise RunEndedError(f"{type(error).__name__}: {mask_account_ids(str(error))}") from error


def messages_of(body: str) -> list[Any]:
    """Return the messages of a row: Converse's for a text, else LangChain's."""
    given = json.loads(body)
    if isinstance(given, str):
        return [{"role": "user", "content": [{"text": given}]}]
    from langchain_core.messages import messages_from_dict

    return list(messages_from_dict(given))
