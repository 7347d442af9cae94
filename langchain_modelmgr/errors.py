"""The errors this package raises, and the attempt that every one of them can carry.

::

    ModelManagerError
    ├── ConfigurationError              the YAML or an argument is wrong (also a ValueError)
    ├── ModelCompatibilityError         a model can't do what is bound or requested
    ├── LedgerError                     the log of attempts can't be read
    ├── JobError                        a batch job can't be planned or go on
    ├── BudgetExceededError             a budget can't pay for the call; nothing was sent
    ├── BudgetStoreError                the store of the budgets can't be reached
    ├── AllModelsFailedError            no model of the chain answered
    │   ├── AllModelsPermissionDeniedError  all for this one reason; also a
    │   │                                   BedrockPermissionDeniedError
    │   ├── AllModelsNotFoundError          also a BedrockNotFoundError
    │   ├── AllModelsRateLimitError         also a BedrockRateLimitError
    │   ├── AllModelsAPIError               also a BedrockAPIError
    │   ├── AllModelsConnectionError        also a BedrockConnectionError
    │   └── AllModelsTimeoutError           also a BedrockTimeoutError
    └── BedrockError                    one classified failure of a request
        ├── BedrockAuthenticationError      credentials missing, expired or invalid
        ├── BedrockPermissionDeniedError    no access to this model
        ├── BedrockInvalidRequestError      the request itself is malformed
        ├── BedrockNotFoundError            no such model, here
        ├── BedrockRateLimitError           throttled, or a quota is used up
        ├── BedrockAPIError                 the service failed (5xx)
        ├── BedrockConnectionError          no connection, or it broke
        ├── BedrockTimeoutError             no byte in time
        └── BedrockContextOverflowError     the input exceeds the model's window

All but ``ConfigurationError``, ``LedgerError`` and ``JobError`` are LangChain ``ModelError``
classes too, so its retry and summarisation middleware know them. ``__cause__`` is botocore's own
error, with account ids and refused values masked. ``__notes__`` has the region and the next step,
which tracebacks show.

A call that no other model could answer either raises its one failure, not an
``AllModelsFailedError``: a malformed request, a prompt that is too long, invalid credentials, and
a stream that broke after its first content.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from langchain_core.exceptions import (
    ContextOverflowError,
    ModelAPIError,
    ModelAuthenticationError,
    ModelConnectionError,
    ModelError,
    ModelInvalidRequestError,
    ModelNotFoundError,
    ModelPermissionDeniedError,
    ModelRateLimitError,
    ModelTimeoutError,
)

from langchain_modelmgr.runtime.masking import mask_account_ids

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from decimal import Decimal

__all__ = [
    "AllModelsAPIError",
    "AllModelsConnectionError",
    "AllModelsFailedError",
    "AllModelsNotFoundError",
    "AllModelsPermissionDeniedError",
    "AllModelsRateLimitError",
    "AllModelsTimeoutError",
    "Attempt",
    "BedrockAPIError",
    "BedrockAuthenticationError",
    "BedrockConnectionError",
    "BedrockContextOverflowError",
    "BedrockError",
    "BedrockInvalidRequestError",
    "BedrockNotFoundError",
    "BedrockPermissionDeniedError",
    "BedrockRateLimitError",
    "BedrockTimeoutError",
    "BudgetExceededError",
    "BudgetStoreError",
    "ConfigurationError",
    "JobError",
    "LedgerError",
    "ModelCompatibilityError",
    "ModelManagerError",
]


@dataclass(frozen=True, slots=True, repr=False)
class Attempt:
    """One request to one model, as it ended.

    Attributes:
        model_id: The model id, inference profile or ARN that was called.
        error: Class name of the failure; None if this attempt answered.
        latency_ms: Milliseconds from the first byte sent to the last byte received.
        request_id: AWS's request id, for support cases; None if no reply came.
        adapted: What was changed in the request so that this model takes it.
        code: AWS's error code, or the class name of botocore's error; None if there was no failure
            of the request.
        message: The text of the failure, AWS's or botocore's, with account ids masked and values
            that botocore rejected left out; None if there was no failure of the request.
    """

    model_id: str
    error: str | None
    latency_ms: float
    request_id: str | None = None
    adapted: tuple[str, ...] = ()
    code: str | None = None
    message: str | None = None

    def __repr__(self) -> str:
        return (
            f"Attempt({mask_account_ids(self.model_id)!r}, error={self.error!r}, "
            f"latency_ms={self.latency_ms!r}, request_id={self.request_id!r}, "
            f"adapted={self.adapted!r}, code={self.code!r}, message={self.message!r})"
        )


class ModelManagerError(Exception):
    """Base of all errors of this package.

    Attributes:
        attempts: What was tried, in order. Empty if nothing reached the network.
    """

    def __init__(self, message: str, attempts: Sequence[Attempt] = ()) -> None:
        super().__init__(message)
        self.attempts = tuple(attempts)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (str(self), self.attempts), {**self.__dict__}


class ConfigurationError(ModelManagerError, ValueError):
    """The configuration or an argument is wrong; the message says what, where, what is right."""


class LedgerError(ModelManagerError):
    """The ledger can't be read; ``__cause__`` says why. Calls and their records go on."""


class JobError(ModelManagerError):
    """A batch job can't be planned or go on; what was answered is kept."""


class BudgetExceededError(ModelManagerError, ModelError):
    """A budget can't pay for what a call may cost at most. Nothing was sent to the model.

    Attributes:
        budget: The name of the budget with the least left.
        key: The value of its ``by``; None: it has none, or the call has none.
        limit: Its limit: USD as Decimal, or tokens.
        spent: What is spent in its window, in the same unit.
        held: What is reserved by calls that have not ended.
        needed: The most that this call may use.
        resets_at: When its window ends, in UTC; None: never.
        fits_later: Whether ``spent`` alone leaves enough, so that the call may be possible when
            other calls return what they hold.
    """

    is_retryable = False

    def __init__(  # noqa: PLR0913 - the facts of one refusal, keyword-only
        self,
        message: str,
        attempts: Sequence[Attempt] = (),
        *,
        budget: str = "",
        key: str | None = None,
        limit: Decimal | int = 0,
        spent: Decimal | int = 0,
        held: Decimal | int = 0,
        needed: Decimal | int | None = None,
        resets_at: datetime | None = None,
        fits_later: bool = False,
    ) -> None:
        super().__init__(message, attempts)
        self.budget = budget
        self.key = key
        self.limit = limit
        self.spent = spent
        self.held = held
        self.needed = needed
        self.resets_at = resets_at
        self.fits_later = fits_later


class BudgetStoreError(ModelManagerError, ModelError):
    """The store of the budgets can't be reached, so that nothing is sent (``state_required``)."""

    is_retryable = True


class ModelCompatibilityError(ModelManagerError, ModelInvalidRequestError):
    """A model can't do what is bound or requested; nothing was sent to it."""


class AllModelsFailedError(ModelManagerError, ModelError):
    """No model of the chain answered: each failed, or was skipped.

    If all failed for one reason, the error is of a subclass that is also that reason's class, such
    as ``AllModelsRateLimitError``.

    Attributes:
        is_retryable: True if at least one failed for a passing reason.
    """

    def __init__(
        self, message: str, attempts: Sequence[Attempt] = (), *, is_retryable: bool = False
    ) -> None:
        super().__init__(message, attempts)
        self.is_retryable = is_retryable


class BedrockError(ModelManagerError, ModelError):
    """One classified failure of a request to Bedrock.

    Attributes:
        code: AWS's error code or botocore's error class, as it came.
        status: HTTP status; None if the failure has none (mid-stream, no connection).
        request_id: AWS's request id, or None.
        retry_after: Seconds to wait, as the service requested, or None.
        concerns_model: True if the model, the account or the place is at fault, so that another
            model may answer; False if this request is: its shape, a guardrail, an S3 object.
        is_lasting: True if waiting seconds won't help: a day's quota, a service quota, an
            agreement that is being created.
        partial_text: The text that a stream had handed on when it broke. It is content: no log
            and no message of ours holds it.
        usage: Token counts that were known by then (``input_tokens``, ...); None: none were.
    """

    concerns_model: bool = True
    is_lasting: bool = False
    partial_text: str = ""
    usage: dict[str, int] | None = None

    def __init__(  # noqa: PLR0913 - the facts of one failure, keyword-only
        self,
        message: str,
        attempts: Sequence[Attempt] = (),
        *,
        code: str = "",
        status: int | None = None,
        request_id: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message, attempts)
        self.code = code
        self.status = status
        self.request_id = request_id
        self.retry_after = retry_after


class BedrockAuthenticationError(BedrockError, ModelAuthenticationError):
    """Credentials are missing, expired or invalid."""


class BedrockPermissionDeniedError(BedrockError, ModelPermissionDeniedError):
    """These credentials have no access to this model."""


class BedrockInvalidRequestError(BedrockError, ModelInvalidRequestError):
    """The request is malformed: another model would refuse it too, unless it ``concerns_model``."""

    concerns_model = False


class BedrockNotFoundError(BedrockError, ModelNotFoundError):
    """There is no such model in this region."""


class BedrockRateLimitError(BedrockError, ModelRateLimitError):
    """The request was throttled, or a quota is used up."""


class BedrockAPIError(BedrockError, ModelAPIError):
    """The service failed, or the model is not ready."""


class BedrockConnectionError(BedrockError, ModelConnectionError):
    """The service can't be reached, or the connection broke."""


class BedrockTimeoutError(BedrockError, ModelTimeoutError):
    """No byte came in time."""


class BedrockContextOverflowError(BedrockError, ContextOverflowError):
    """The input exceeds the model's context window."""


class AllModelsPermissionDeniedError(AllModelsFailedError, BedrockPermissionDeniedError):
    """These credentials have no access to any model of the chain."""


class AllModelsNotFoundError(AllModelsFailedError, BedrockNotFoundError):
    """No model of the chain exists in its region."""


class AllModelsRateLimitError(AllModelsFailedError, BedrockRateLimitError):
    """All models of the chain are throttled, or their quotas are used up."""


class AllModelsAPIError(AllModelsFailedError, BedrockAPIError):
    """The service failed for all models of the chain."""


class AllModelsConnectionError(AllModelsFailedError, BedrockConnectionError):
    """The service can't be reached for any model of the chain."""


class AllModelsTimeoutError(AllModelsFailedError, BedrockTimeoutError):
    """No model of the chain answered in time."""


_OF_ONE_CAUSE: dict[type[BedrockError], type[AllModelsFailedError]] = {
    kind.__bases__[1]: kind for kind in AllModelsFailedError.__subclasses__()
}
"""The class of an exhausted chain, by the class that all its failures have."""


def exhausted(
    last: BedrockError, message: str, attempts: Sequence[Attempt]
) -> BedrockError | AllModelsFailedError:
    """Return the error of a chain whose failures have one cause.

    Args:
        last: The last failure; its facts become the error's.
        message: The error's text.
        attempts: All attempts.

    Returns:
        An ``AllModelsFailedError`` of the failure's own class too. The failure itself, with that
        text, if its class means that no model could have answered.
    """
    kind = _OF_ONE_CAUSE.get(type(last))
    if kind is None:
        last.attempts, last.args = tuple(attempts), (message,)
        return last
    error = kind(message, attempts, is_retryable=last.is_retryable)
    error.__dict__.update({**last.__dict__, "attempts": error.attempts})
    return error
