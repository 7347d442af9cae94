"""Writes the tables of ``docs/fallback.md``: the policy's decisions, and the fault matrix.

python -m scripts.make_fallback_docs            change the page
python -m scripts.make_fallback_docs --check    exit 1 if it would change
"""

from __future__ import annotations

import math
import re
import sys
from pathlib import Path
from typing import Any

from langchain_modelmgr import errors
from langchain_modelmgr.chain.policy import (
    Decision,
    History,
    NextCandidate,
    Retry,
    decide,
    health_effect,
)
from tests.chain.fault_matrix import table as fault_matrix

PAGE = Path(__file__).parents[1] / "docs" / "fallback.md"
_KINDS: list[tuple[str, type[errors.BedrockError], dict[str, Any]]] = [
    ("throttled", errors.BedrockRateLimitError, {}),
    ("a day's or a service quota used up", errors.BedrockRateLimitError, {"is_lasting": True}),
    ("server error", errors.BedrockAPIError, {}),
    (
        "service unavailable, model not ready",
        errors.BedrockAPIError,
        {"code": "ServiceUnavailableException"},
    ),
    ("model failed over the request", errors.BedrockAPIError, {"code": "ModelErrorException"}),
    ("time-out", errors.BedrockTimeoutError, {}),
    ("connection failed or broke", errors.BedrockConnectionError, {}),
    (
        "connection closed before any byte",
        errors.BedrockConnectionError,
        {"code": "ConnectionClosedError"},
    ),
    ("access denied, to the account or in this place", errors.BedrockPermissionDeniedError, {}),
    ("agreement being created", errors.BedrockPermissionDeniedError, {"is_lasting": True}),
    ("no such model", errors.BedrockNotFoundError, {}),
    ("prompt too long", errors.BedrockContextOverflowError, {}),
    ("malformed request", errors.BedrockInvalidRequestError, {}),
    (
        "refused by a fallback, after a passing failure",
        errors.BedrockInvalidRequestError,
        {"is_substitute": True},
    ),
    (
        "the model can't do what the request needs",
        errors.BedrockInvalidRequestError,
        {"concerns_model": True},
    ),
    ("credentials", errors.BedrockAuthenticationError, {}),
]
_EFFECTS = {
    "none": "none",
    "counts": "the third in a row starts one",
    "opens": "starts one",
    "opens_long": "starts a long one",
}

_SCOPES = {"all": "", "agent": " for this agent", "prompt": ", with different prompts"}


def main() -> int:
    """Write the page, or check it; return the exit code."""
    text = PAGE.read_text("utf-8")
    made = _with(_with(text, "policy", policy()), "matrix", fault_matrix())
    if "--check" in sys.argv:
        return int(made != text)
    PAGE.write_text(made, "utf-8")
    return 0


def policy() -> str:
    """Return the table of the policy's decisions."""
    head = ["failure", "class", "a model is left", "none is left", "after content", "cooldown"]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for name, kind, facts in _KINDS:
        failure = kind("x")
        is_substitute = facts.get("is_substitute", False)
        for fact, value in facts.items():
            setattr(failure, fact, value)
        cells = [
            name,
            f"`{kind.__name__}`",
            _said(decide(failure, History(1, 1, 1, is_substitute=is_substitute), jitter=_most)),
            _said(decide(failure, History(1, 0, is_substitute=is_substitute), jitter=_most)),
            _said(decide(failure, History(1, 1, 1, content_delivered=True), jitter=_most)),
            _effect(failure),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _said(decision: Decision) -> str:
    if isinstance(decision, Retry):
        return f"again, within {decision.delay:g} s" if decision.delay else "again, at once"
    if isinstance(decision, NextCandidate):
        larger = " with a larger window" if decision.larger_window else ""
        return f"the next model{larger}"
    return "raise"


def _effect(failure: errors.BedrockError) -> str:
    effect = health_effect(failure, 60)
    longer = ", for calls that wait no longer" if math.isfinite(effect.waited) else ""
    return _EFFECTS[effect.kind] + _SCOPES[effect.scope] + longer


def _most(_: float, high: float) -> float:
    return high


def _with(text: str, name: str, table: str) -> str:
    block = re.compile(rf"(<!-- {name} -->\n).*?(\n<!-- /{name} -->)", re.DOTALL)
    return block.sub(lambda found: found[1] + table + found[2], text)


if __name__ == "__main__":
    sys.exit(main())
