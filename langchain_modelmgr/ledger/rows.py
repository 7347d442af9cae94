"""One attempt as a row of the ledger, whatever brought it there."""

from __future__ import annotations

import math
from decimal import ROUND_HALF_EVEN, Context, Decimal
from typing import TYPE_CHECKING, NamedTuple

from langchain_modelmgr.privacy import mask_account_ids

if TYPE_CHECKING:
    from langchain_modelmgr.records import ModelUsageMetrics

OUTCOMES = ("answered", "failed", "aborted", "lost")
"""``lost``: its process died before it ended."""

PICO = 10**12
"""Parts of a USD that costs are counted in."""

MAX_INTEGER = 2**63 - 1
"""SQLite's largest."""

# The application's own decimal context may round, or trap what is inexact.
_EXACT = Context(prec=50, rounding=ROUND_HALF_EVEN)


class AttemptRow(NamedTuple):
    """A row of ``attempts``: the fields are its columns, in order."""

    time: str
    environment: str
    agent: str
    model: str
    outcome: str
    error: str | None
    input_tokens: int | None
    output_tokens: int | None
    cache_read_tokens: int | None
    cache_write_5m_tokens: int | None
    cache_write_1h_tokens: int | None
    cost_pico_usd: int | None
    estimated_wasted_cost_pico_usd: int | None
    latency_ms: float | None
    time_to_first_token_ms: float | None
    attempt: int
    is_fallback: int
    service_tier: str | None
    call_id: str
    run_id: str | None
    request_id: str | None
    metadata: str | None
    tags: str | None

    @classmethod
    def of(cls, usage: ModelUsageMetrics) -> AttemptRow:
        """Return a record as the row that the ledger would make of it, without its ids."""
        known = usage.has_usage
        return cls(
            time=usage.timestamp.isoformat(),
            environment="",
            agent=usage.agent_name,
            model=mask_account_ids(usage.model_id),
            outcome=usage.outcome,
            error=usage.error_message,
            input_tokens=usage.input_tokens if known else None,
            output_tokens=usage.output_tokens if known else None,
            cache_read_tokens=usage.cache_read_tokens if known else None,
            cache_write_5m_tokens=usage.cache_write_5m_tokens if known else None,
            cache_write_1h_tokens=usage.cache_write_1h_tokens if known else None,
            cost_pico_usd=pico_of(usage.cost_usd),
            estimated_wasted_cost_pico_usd=pico_of(usage.estimated_wasted_cost_usd),
            latency_ms=finite(usage.latency_ms),
            time_to_first_token_ms=finite(usage.time_to_first_token_ms),
            attempt=1,
            is_fallback=int(usage.is_fallback),
            service_tier=usage.service_tier,
            call_id="",
            run_id=usage.run_id,
            request_id=usage.request_id,
            metadata=None,
            tags=None,
        )

    @property
    def has_usage(self) -> bool:
        """True if the reply told its token counts."""
        return self.input_tokens is not None

    @property
    def is_unpriced(self) -> bool:
        """True if it was answered with its usage, but at an unknown price."""
        return self.has_usage and self.cost_pico_usd is None and self.outcome == "answered"


def pico_of(usd: Decimal | None) -> int | None:
    """Return an amount in whole pico USD; None if it is unknown, or no amount at all."""
    if usd is None or not usd.is_finite() or usd.is_signed() or usd.adjusted() > 6:  # noqa: PLR2004 - 10 million USD
        return None
    return int(_EXACT.to_integral_value(_EXACT.scaleb(usd, 12)))


def usd_of(pico: int) -> Decimal:
    """Return whole pico USD as USD, exactly."""
    return _EXACT.scaleb(Decimal(pico), -12)


def finite(value: float | None) -> float | None:
    """Return a measured value, or None for one that is no measure."""
    return value if value is not None and 0 <= value < math.inf else None
