"""The keywords of a call: which there are, and what is said of others."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from langchain_modelmgr.config.problems import nearest
from langchain_modelmgr.config.schema import REQUEST_FIELDS
from langchain_modelmgr.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

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

_CAPITAL = re.compile(r"(?<=[a-z])(?=[A-Z])")


def keywords_of(given: Mapping[str, Any], *, of: str, langchain: bool) -> dict[str, Any]:
    """Return a call's keywords by their own names: Bedrock's ``guardrailConfig`` is known too.

    Args:
        given: The call's keywords.
        of: What was called, for the error's text.
        langchain: Take LangChain's own keywords, too.

    Raises:
        ConfigurationError: A keyword is unknown, or ``max_tokens`` or ``timeout`` too small.
            LangChain would name its own private method instead.
    """
    keywords: dict[str, Any] = {}
    for name, value in given.items():
        if langchain and name in _OF_LANGCHAIN:
            keywords[name] = value
        elif (known := _CAPITAL.sub("_", name).lower()) in _FIELDS:
            keywords[known] = value
        else:
            raise ConfigurationError(f"{of}: {name!r} is no request field{nearest(name, _FIELDS)}")
    for name, least in (("max_tokens", "1 or more"), ("timeout", "more than 0")):
        value = keywords.get(name)
        if isinstance(value, int | float) and value <= 0:
            raise ConfigurationError(f"{of}: {name} must be {least}")
    return keywords
