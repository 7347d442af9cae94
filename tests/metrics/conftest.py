"""Records of attempts, and a clock that only moves when it is told to."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from langchain_modelmgr.metrics.delivery import Clock
from langchain_modelmgr.records import ModelUsageMetrics

if TYPE_CHECKING:
    from collections.abc import Callable

NOW = datetime.now(UTC).replace(second=10, microsecond=0)


class MakeUsage(Protocol):
    def __call__(self, **changes: Any) -> ModelUsageMetrics: ...


def make(**changes: Any) -> ModelUsageMetrics:
    facts: dict[str, Any] = {
        "agent_name": "sql_agent",
        "model_id": "anthropic.claude-3-5-sonnet-20241022-v2:0",
        "timestamp": NOW,
        "input_tokens": 120,
        "output_tokens": 30,
        "latency_ms": 812.5,
        "success": True,
        "cost_usd": Decimal("0.00081"),
        **changes,
    }
    return ModelUsageMetrics(**facts)


@pytest.fixture(scope="session")
def usage() -> MakeUsage:
    """Make the record of an answered attempt, changed as asked."""
    return make


@dataclass
class FakeClock:
    """Time that passes only in ``pass_time`` and in pauses."""

    now: float = 1_000.0
    pauses: list[float] = field(default_factory=list)
    during_pause: Callable[[], None] = lambda: None

    def clock(self) -> Clock:
        start = NOW.timestamp() - self.now
        return Clock(lambda: self.now, lambda: start + self.now, self._sleep)

    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    def _sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds
        self.during_pause()


@pytest.fixture
def fake_clock() -> FakeClock:
    return FakeClock()
