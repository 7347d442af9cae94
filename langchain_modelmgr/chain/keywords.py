"""The keywords of a call: which there are, and what is said of others."""

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
"""What a call may set; the two that are left out hold for a whole model."""

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
"""What chat models bind, and what LangChain hands on."""

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
"""What a keyword's value must be, and what to call it."""

_CAPITAL = re.compile(r"(?<=[a-z])(?=[A-Z])")


def keywords_of(given: Mapping[str, Any], *, of: str, langchain: bool) -> dict[str, Any]:
    """Return a call's keywords by their own names: Bedrock's ``guardrailConfig`` is known too.

    Args:
        given: The call's keywords.
        of: What was called, for the error's text.
        langchain: Take LangChain's own keywords, too.

    Raises:
        ConfigurationError: A keyword is unknown, or its value of a wrong type or too small.
            LangChain would name its own private method instead.
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
    """Refuse a keyword's value that is of a wrong type; None is none.

    Raises:
        ConfigurationError: It is.
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
