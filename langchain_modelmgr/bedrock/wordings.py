"""What AWS's texts mean, where one error code stands for several failures."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

OVERFLOW = (
    "input is too long",
    "prompt is too long",
    "input tokens exceeded",
    "maximum context length",
    "context_length_exceeded",
    "exceeds the context window",
    "input tokens exceed the configured limit",
    "exceed model maximum",
    "too many input tokens",
    "is longer than the model's context length",
    "exceed context limit",
    "too many total text bytes",
)
"""The prompt is too long. Seen from Bedrock; langchain-aws 1.9.1 knows all but the last two."""

UNKNOWN_MODEL = (
    "model identifier is invalid",
    "on-demand throughput isn't supported",  # the model wants an inference profile
    "on-demand throughput is not supported",
    "support on-demand throughput",
    "could not resolve the foundation model",
    "doesn't support the model",  # "This action doesn't support the model that you provided."
    "reached the end of its life",
    "marked by provider as legacy",
    "model is not available in",
    "model isn't available in",
    "model is not supported in this region",
    "model isn't supported in this region",
)
"""There is no such model, here or any more."""

NO_ACCESS = (
    "unsupported countries",
    "use case details have not been submitted",
    "operation not allowed",
    "account is not authorized",
    "channel program accounts",
    "don't have access to the model",
)
"""The account, or the place it is called from, may not use the model."""

UNABLE_MODEL = (
    "this model doesn't support",
    "this model does not support",
    "model is unsupported for",
    "unsupported model",
    "not supported by this model",
    "not supported for this model",
)
"""The model can't do what is asked; another may."""

_DENIED_ACTION = re.compile(r"not authorized to perform: ([\w-]+:\w+)")
_REQUEST_ACTIONS = (
    "bedrock:applyguardrail",
    "bedrock:getprompt",
    "bedrock:invoketool",
    "bedrock:renderprompt",
    "kms:",
    "s3:",
)
_REQUEST_PARTS = re.compile(r"\b(?:guardrail|s3|kms)\b")
"""What only some requests use: where it is denied or missing, the model itself may be well."""

BAD_CREDENTIALS = ("authentication failed", "security token", "api key")

LASTING = (
    "per day",  # "Too many tokens per day, please wait before trying again."
    "daily",
    "agreement is being created",
    "subscription for this model cannot be completed",
    "if you recently fixed this issue, try again after",
)
"""The refusal stays for long. A wording that nobody knows counts as passing."""


def plain(text: str) -> str:
    """Return a text in lower case, with one kind of apostrophe: AWS writes both."""
    return text.lower().replace("\u2019", "'")


def says(text: str, wordings: Iterable[str]) -> bool:
    """Return whether a plain text has one of the wordings."""
    return any(words in text for words in wordings)


def is_of_the_request(text: str) -> bool:
    """Return whether a plain text says that a part of the request is denied or missing.

    A denial names the action, as ``not authorized to perform: bedrock:ApplyGuardrail``.
    """
    if action := _DENIED_ACTION.search(text):
        return action[1].startswith(_REQUEST_ACTIONS)
    return bool(_REQUEST_PARTS.search(text))
