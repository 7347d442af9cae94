"""Checks the keywords of a call."""

from __future__ import annotations

import numbers
import re
from collections.abc import Mapping
from typing import Any

from langchain_modelmgr.config.parameters import plain_guardrail
from langchain_modelmgr.config.problems import nearest
from langchain_modelmgr.config.schema import REQUEST_FIELDS
from langchain_modelmgr.errors import ConfigurationError

_FIELDS = (REQUEST_FIELDS - {"system", "guard_last_turn_only"}) | {
    "cache_control",
    "max_tokens",
    "model",
    "response_format",
    "temperature",
    "timeout",
    "tool_choice",
}
"""Keywords of a call; the two excluded fields apply to a whole model."""

NOT_FOR_THE_WIRE = frozenset(
    {
        "tools",
        "tool_choice",
        "strict",
        "for_structured_output",
        "parallel_tool_calls",
        "max_tokens",
        "request_metadata",
        "cache_control",
        "stream",
        "ls_structured_output_format",
        "structured_output_format",
    }
)
"""Call keywords that are not passed on: they are converted here or are for LangChain only."""

FAST_TOKENS_PER_SECOND = 150
"""A fast model's speed: the warning is for requests that even such a model can't finish."""

_OF_LANGCHAIN = frozenset(
    {
        "disable_streaming",
        "for_structured_output",
        "ls_structured_output_format",
        "parallel_tool_calls",
        "stream",
        "strict",
        "structured_output_format",
        "tools",
    }
)
"""Keywords that chat models bind or that LangChain passes on."""

_NUMBER = (numbers.Number, "a number")
_MAP = (Mapping, "a map")
_KINDS: Mapping[str, tuple[Any, str]] = {
    "additional_model_request_fields": _MAP,
    "guardrail_config": _MAP,
    "max_tokens": (numbers.Integral, "a whole number"),
    "model": (str, "a model id"),
    "parallel_tool_calls": (bool, "true or false"),
    "performance_config": _MAP,
    "reasoning_effort": (str, "a string"),
    "request_metadata": _MAP,
    "service_tier": (str, "a string"),
    "stop_sequences": ((list, tuple), "a list of strings"),
    "temperature": _NUMBER,
    "timeout": _NUMBER,
    "top_p": _NUMBER,
}
"""Type of each keyword's value, and its name in errors."""

_CAPITAL = re.compile(r"(?<=[a-z])(?=[A-Z])")


def outlasts(max_tokens: int, seconds: float) -> bool:
    """Return whether even a fast model takes longer than some seconds for an answer this long."""
    return max_tokens / FAST_TOKENS_PER_SECOND > seconds


def keywords_of(given: Mapping[str, Any], *, of: str, langchain: bool) -> dict[str, Any]:
    """Return a call's keywords in snake case; Bedrock's ``guardrailConfig`` is accepted too.

    Args:
        given: The call's keywords.
        of: The method called, for errors.
        langchain: Accept LangChain's own keywords, too.

    Raises:
        ConfigurationError: A keyword is unknown, or its value has a wrong type or is too small.
            LangChain's own error would name a private method instead.
    """
    keywords: dict[str, Any] = {}
    for name, value in given.items():
        if langchain and name in _OF_LANGCHAIN:
            keywords[name] = value
        elif (known := _CAPITAL.sub("_", name).lower()) in _FIELDS:
            keywords[known] = value
        else:
            raise ConfigurationError(
                f"{of}: unknown request field {name!r}{nearest(name, _FIELDS)}"
            )
    for name, value in keywords.items():
        if name in _KINDS:
            check_kind(name, value, of=of)
    for name, least in (("max_tokens", "1 or more"), ("timeout", "more than 0")):
        value = keywords.get(name)
        if isinstance(value, int | float) and value <= 0:
            raise ConfigurationError(f"{of}: {name} must be {least}")
    if "guardrail_config" in keywords:
        keywords["guardrail_config"] = plain_guardrail(keywords["guardrail_config"])
    caching = keywords.get("cache_control") or {}
    if not isinstance(caching, Mapping) or caching.get("ttl") not in (None, "5m", "1h"):
        raise ConfigurationError(f"{of}: cache_control must be a map, its ttl '5m' or '1h'")
    return keywords


def check_kind(name: str, value: Any, *, of: str) -> None:
    """Check the type of a keyword's value; None is allowed.

    Raises:
        ConfigurationError: The value has a wrong type.
    """
    kinds, what = _KINDS[name]
    if value is None:
        return
    is_flag = isinstance(value, bool) and kinds is not bool  # for Python a number
    wrong = [value]
    if isinstance(value, kinds) and not is_flag:
        texts = value if name == "stop_sequences" else ()
        wrong = [text for text in texts if not isinstance(text, str)]
    if wrong:
        raise ConfigurationError(f"{of}: {name} must be {what}, got {type(wrong[0]).__name__}")
