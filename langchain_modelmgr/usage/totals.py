"""UsageTotals: makes one record of each attempt, for the summary, the ledger and the sinks."""

from __future__ import annotations

import logging
import time
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from langchain_modelmgr.runtime.masking import mask_account_ids
from langchain_modelmgr.usage.estimate import least_tokens
from langchain_modelmgr.usage.pricing import TokenCounts, cost_of, pico_of, unpriced_because
from langchain_modelmgr.usage.record import AttemptStart, ModelUsageMetrics
from langchain_modelmgr.usage.tracks import Tracks

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from decimal import Decimal

    from langchain_modelmgr.catalog import ModelConfig
    from langchain_modelmgr.usage.meter import Meter
    from langchain_modelmgr.usage.record import Outcome
    from langchain_modelmgr.usage.sink_stats import SinkStats
    from langchain_modelmgr.usage.sinks import AttemptLog, SinkGroup
    from langchain_modelmgr.usage.summary import UsageSummary
    from langchain_modelmgr.usage.tracks import UsageTrack

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Run:
    """LangChain's run of a call, from its callbacks.

    Attributes:
        run_id: The run's id.
        tags: Its tags.
        metadata: Its metadata.
    """

    run_id: str | None = None
    tags: tuple[str, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)


CURRENT_RUN: ContextVar[Run | None] = ContextVar("modelmgr_run", default=None)
"""The run whose start was called back last in this context: ``BaseChatModel.stream`` calls
``_stream`` without a run manager (langchain-core 1.7.2), so this is how a stream knows its run."""


_MODELS_KEPT = 1024
"""Models in each cache: a call's ``model=`` can be a new one each time."""


class UsageTotals:
    """Records attempts and calls from any thread.

    Args:
        summary: The running totals.
        sinks: The sinks that get each record.
        ledger: The ledger, which gets each attempt first.
    """

    def __init__(self, summary: UsageSummary, sinks: SinkGroup, ledger: AttemptLog) -> None:
        self.summary = summary
        self.sinks = sinks
        self.ledger = ledger
        self._pico_per_token: dict[str, int | None] = {}
        self._tracks = Tracks()
        self._unpriced: set[tuple[str, str]] = set()

    def add(
        self,
        usage: ModelUsageMetrics,
        *,
        open_attempt: object | None = None,
        model: ModelConfig | None = None,
    ) -> None:
        """Record one attempt.

        Args:
            usage: Its record.
            open_attempt: What the ledger returned when the attempt started; None: it did not see
                the start.
            model: Its model; None: there is nothing to price.
        """
        unpriced = usage.outcome == "answered" and usage.has_usage and usage.cost_usd is None
        if model is not None and unpriced and not usage.usage_estimated:
            self._warn_unpriced(usage, model)
        self.ledger.attempt_ended(open_attempt, usage)
        self.summary.attempt(usage)
        self.sinks.record(usage)

    def add_once(self, mark: str, records: Iterable[ModelUsageMetrics]) -> bool:
        """Record attempts that belong together, each a call, unless the ledger has them.

        Args:
            mark: Names them among all that the ledger ever has.
            records: Their records. They may be read twice.

        Returns:
            False if the ledger had them: they were recorded before.
        """
        if not self.ledger.record_once(mark, records):
            return False
        for record in records:
            self.summary.attempt(record)
            self.summary.call(record.agent_name, answered=record.success, latency_ms=None)
            self.sinks.record(record)
        return True

    def input_pico_usd(self, model: ModelConfig) -> int | None:
        """Return the least price of an input token in pico USD; None if it is unknown."""
        known = self._pico_per_token
        if model.model_id in known:
            return known[model.model_id]
        if len(known) >= _MODELS_KEPT:
            known.clear()
        price = known[model.model_id] = pico_of(cost_of(TokenCounts(input_tokens=1), model))
        return price

    def flush(self, seconds: float) -> SinkStats:
        """Deliver what the ledger and the sinks have not delivered yet; return all counts."""
        end = time.monotonic() + seconds
        self.ledger.flush(seconds)
        self.sinks.flush(max(end - time.monotonic(), 0.0))
        return self.sinks.stats()

    def track(self, task: str | None = None) -> UsageTrack:
        """Return a track of the calls begun inside its ``with`` block, and of a task's calls."""
        return self._tracks.new(type(self.summary)(), task)

    def is_tracked(self, task: str) -> bool:
        """Return whether a track of a task is open."""
        return self._tracks.has_task(task)

    def tracks_of(self, run: Run) -> tuple[UsageTrack, ...]:
        """Return the tracks of a call that begins here."""
        return self._tracks.of_call(run.metadata)

    def _warn_unpriced(self, usage: ModelUsageMetrics, model: ModelConfig) -> None:
        why = unpriced_because(usage.tokens, model, usage.service_tier)
        if (usage.model_id, why) not in self._unpriced:
            if len(self._unpriced) >= _MODELS_KEPT:
                self._unpriced.clear()
            self._unpriced.add((usage.model_id, why))
            logger.warning(
                "the price of %s is unknown (%s): its cost is counted as unpriced, not as 0; "
                "give its prices (cost_per_1k_input_tokens, ...) under models:",
                mask_account_ids(usage.model_id),
                why,
            )


class CallUsage:
    """Records the attempts of one call: one agent, one run.

    Args:
        totals: The manager's totals.
        agent_name: The agent.
        run: LangChain's run of the call.
    """

    def __init__(self, totals: UsageTotals, agent_name: str, run: Run) -> None:
        self._totals = totals
        self._agent_name = agent_name
        self._run = run
        # Read where the call begins: its attempts may end on other threads.
        self._tracks = totals.tracks_of(run)
        self._fallback_tried = False
        self._left = 0
        self._call = 0
        self._kept: tuple[str | None, str | None] = None, None

    @property
    def run_id(self) -> str | None:
        """LangChain's run id of the call."""
        return self._run.run_id

    def add(
        self,
        record: ModelUsageMetrics,
        *,
        open_attempt: object | None = None,
        model: ModelConfig | None = None,
    ) -> None:
        """Record one attempt of this call."""
        self._totals.add(record, open_attempt=open_attempt, model=model)
        for track in self._tracks:
            track.attempt(record)

    def attempt_started(
        self, meter: Meter, model: ModelConfig, *, is_fallback: bool = False
    ) -> None:
        """Write that an attempt starts, so that a record remains if this process is killed."""
        ledger, price = self._totals.ledger, self._totals.input_pico_usd(model)
        if not self._left:
            self._call = ledger.next_call()
            self._kept = ledger.kept(self._run.metadata, self._run.tags)
        self._left += 1
        metadata, tags = self._kept
        meter.open_attempt = ledger.attempt_started(
            AttemptStart(
                self._agent_name, model.model_id, self._left, int(is_fallback), self._call,
                self._run.run_id, tags, metadata,
                None if price is None else least_tokens(meter.params) * price, ledger.now_ms(),
            )
        )  # fmt: skip

    def attempt_ended(
        self, meter: Meter, model: ModelConfig, *, is_fallback: bool = False
    ) -> ModelUsageMetrics:
        """Record one attempt as it ends; return its record."""
        self._fallback_tried |= is_fallback
        usage, wasted, tier = meter.usage, meter.wasted_usage, meter.service_tier
        estimated = meter.usage_estimated
        record = self.record(
            model.model_id,
            meter.outcome or "failed",
            usage=usage,
            cost_usd=None if usage is None or estimated else cost_of(usage, model, tier),
            latency_ms=meter.latency_ms,
            error=meter.error,
            request_id=meter.request_id,
            service_tier=tier,
            estimated_wasted_cost_usd=None if wasted is None else cost_of(wasted, model),
            time_to_first_token_ms=meter.time_to_first_token_ms,
            is_fallback=is_fallback,
            usage_estimated=estimated,
        )
        self.add(record, open_attempt=meter.open_attempt, model=model)
        return record

    def call_ended(
        self, *, answered: bool | None, latency_ms: float, fallback_used: bool = False
    ) -> None:
        """Record the end of the call: answered, failed (False) or cancelled (None)."""
        sums: tuple[UsageSummary | UsageTrack, ...] = (self._totals.summary, *self._tracks)
        for each in sums:
            each.call(
                self._agent_name,
                answered=answered,
                latency_ms=latency_ms,
                fallback_used=fallback_used,
                fallback_tried=self._fallback_tried,
            )

    def cached(self, model_id: str) -> None:
        """Record an answer of LangChain's response cache, which has no tokens and no cost."""
        self.add(self.record(model_id, "cached", usage=None))

    def record(  # noqa: PLR0913 - the facts of one attempt, keyword-only
        self,
        model_id: str,
        outcome: Outcome,
        *,
        usage: TokenCounts | None,
        cost_usd: Decimal | None = None,
        latency_ms: float = 0.0,
        error: str | None = None,
        request_id: str | None = None,
        **more: Any,
    ) -> ModelUsageMetrics:
        """Return the record of one attempt of this call."""
        tokens = usage or TokenCounts()
        return ModelUsageMetrics(
            agent_name=self._agent_name,
            model_id=model_id,
            timestamp=datetime.now(UTC),
            input_tokens=tokens.input_tokens,
            output_tokens=tokens.output_tokens,
            latency_ms=latency_ms,
            success=outcome != "failed",
            error_message=error if outcome == "failed" else None,
            cache_read_tokens=tokens.cache_read_tokens,
            cache_write_5m_tokens=tokens.cache_write_5m_tokens,
            cache_write_1h_tokens=tokens.cache_write_1h_tokens,
            request_id=request_id,
            outcome=outcome,
            has_usage=usage is not None,
            cost_usd=cost_usd,
            run_id=self._run.run_id,
            tags=self._run.tags,
            metadata=dict(self._run.metadata),
            **more,
        )


def tokens_of_message(usage: Mapping[str, Any]) -> TokenCounts:
    """Return LangChain's ``usage_metadata`` as disjoint counts.

    Its ``input_tokens`` include cache reads and writes, Bedrock's exclude them; with Bedrock's
    per-lifetime detail ``cache_creation`` is 0 and the writes are in ``ephemeral_*``
    (langchain-aws 1.9.1).
    """
    details: Mapping[str, Any] = usage.get("input_token_details") or {}
    read = int(details.get("cache_read") or 0)
    hour = int(details.get("ephemeral_1h_input_tokens") or 0)
    five = int(details.get("ephemeral_5m_input_tokens") or 0) + int(
        details.get("cache_creation") or 0
    )
    return TokenCounts(
        input_tokens=max(0, int(usage.get("input_tokens") or 0) - read - hour - five),
        output_tokens=int(usage.get("output_tokens") or 0),
        cache_read_tokens=read,
        cache_write_5m_tokens=five,
        cache_write_1h_tokens=hour,
    )
