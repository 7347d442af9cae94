"""Mistakes under budgets: are reported with file, line and key."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from langchain_modelmgr.errors import ConfigurationError

if TYPE_CHECKING:
    from tests.agents import Configure

AGENT = "sql: {model: anthropic.claude-3-5-sonnet-20241022-v2:0}"


@pytest.mark.parametrize(
    ("budget", "problem"),
    [
        ("{per: day}", "budgets.b: set one of usd and tokens"),
        ("{usd: 1, tokens: 1, per: day}", "budgets.b: set one of usd and tokens"),
        ("{usd: 1}", "budgets.b.per: is missing"),
        ("{usd: 1, per: dya}", "budgets.b.per: must be one of .*; did you mean 'day'"),
        ("{usd: 0, per: day}", "budgets.b.usd: must be more than 0"),
        ("{usd: 9000001, per: day}", "budgets.b.usd: must be at most 9000000"),
        ("{tokens: 0, per: day}", "budgets.b.tokens: must be more than 0"),
        ("{usd: 1, per: day, agent: sqll}", "budgets.b.agent: unknown agent 'sqll'; did you mean"),
        ("{usd: 1, per: day, by: tenant}", "budgets.b.by: must be agent, or metadata. and a key"),
        ("{usd: 1, per: day, timezone: Mars}", "budgets.b.timezone: must be the IANA name"),
        ("{usd: 1, per: day, warn_at: 2}", "budgets.b.warn_at: must be at most 1"),
        ("{usd: 1, per: day, degrade_to: x.y}", "budgets.b: degrade_to needs degrade_at"),
        ("{usd: 1, per: day, unprised: allow}", "unknown key; did you mean 'unpriced'"),
    ],
)
def test_a_mistake_is_named_with_its_line(configured: Configure, budget: str, problem: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"test.yaml:4: .*{problem}"):
        configured(AGENT, f"budgets:\n  b: {budget}")


def test_a_wrong_name_and_a_wrong_state_are_mistakes(configured: Configure) -> None:
    with pytest.raises(ConfigurationError, match="a budget's name must be 1 to 64 letters"):
        configured(AGENT, "budgets: {'x y': {usd: 1, per: day}}")
    with pytest.raises(
        ConfigurationError, match="state: must be auto, memory, or the URL of a Valkey server"
    ):
        configured(AGENT, "state: disk")
