"""Records of attempts, as tests and the scripts beside them need them."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Protocol

from langchain_modelmgr.usage.record import ModelUsageMetrics

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
