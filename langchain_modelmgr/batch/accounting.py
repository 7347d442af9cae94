"""Accounts the records of a batch inference job once: in summary, metrics, ledger and budgets."""

from __future__ import annotations

import json
import os
import socket
import sqlite3
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from langchain_modelmgr.batch.answers import EXACT
from langchain_modelmgr.batch.prices import BATCH_TIER
from langchain_modelmgr.budgets.money import nano_of
from langchain_modelmgr.errors import JobError
from langchain_modelmgr.usage.pricing import TokenCounts, cost_of
from langchain_modelmgr.usage.record import ModelUsageMetrics

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from langchain_modelmgr.batch.records import Output
    from langchain_modelmgr.batch.store import Store
    from langchain_modelmgr.catalog import ModelConfig

ACCOUNTED = "accounted"


@dataclass(frozen=True, slots=True)
class JobRecords:
    """The record of each attempt that a job has made. They are formed when they are read.

    Attributes:
        outputs: What it has written.
        agent: The agent.
        model_id: The model.
        priced: The model, with the prices of batch inference.
        task: The metadata of the job's budget.
        now: The time of the records.
    """

    outputs: Iterable[Output]
    agent: str
    model_id: str
    priced: ModelConfig
    task: dict[str, Any]
    now: datetime = field(default_factory=lambda: datetime.now(UTC))

    def __iter__(self) -> Iterator[ModelUsageMetrics]:
        for output in self.outputs:
            tokens = output.usage or TokenCounts()
            yield ModelUsageMetrics(
                agent_name=self.agent,
                model_id=self.model_id,
                timestamp=self.now,
                input_tokens=tokens.input_tokens,
                output_tokens=tokens.output_tokens,
                latency_ms=None,
                success=output.error is None,
                error_message=None if output.error is None else "BatchRecordError",
                cache_read_tokens=tokens.cache_read_tokens,
                cache_write_5m_tokens=tokens.cache_write_5m_tokens,
                cache_write_1h_tokens=tokens.cache_write_1h_tokens,
                outcome="answered" if output.error is None else "failed",
                has_usage=output.usage is not None,
                cost_usd=cost_of_output(output, self.priced),
                metadata=self.task,
                service_tier=BATCH_TIER,
            )


def cost_of_output(output: Output, priced: ModelConfig) -> Decimal | None:
    """Return what a record cost in USD; None if it is unknown, or if it failed."""
    return None if output.usage is None else cost_of(output.usage, priced)


def account(
    manager: Any, store: Store, number: int, arn: str, records: Iterable[ModelUsageMetrics]
) -> None:
    """Record the attempts of a job, unless they were, or another host's ledger has to.

    Which ledger records them is settled first; in it, records and a mark are one transaction.
    Without a ledger on disk they are recorded at most once.

    Args:
        manager: The manager.
        store: The plan's store.
        number: The job's number.
        arn: Its ARN.
        records: The records. They may be read twice.

    Raises:
        JobError: The ledger can't be written.
    """
    folder = getattr(manager.ledger, "folder", None)
    ours = {"host": socket.gethostname(), "ledger": str(folder)}
    if folder is None:
        ours["process"] = f"{os.getpid()}-{id(manager)}"
    name = f"{ACCOUNTED}/{number:06}.json"
    if not store.write_new(name, json.dumps(ours).encode()):
        body = store.read(name)
        if body is None or json.loads(body) != ours:
            return
    try:
        manager.totals.add_once(f"batch/{arn.rpartition('/')[2]}", records)
    except (OSError, sqlite3.Error) as error:
        raise JobError(f"the ledger can't be written: {type(error).__name__}") from error


def settled_amount(unit: str, outputs: Iterable[Output], priced: ModelConfig) -> int | None:
    """Return what a job has used, in the unit of a budget; None if a cost is unknown."""
    if unit == "tokens":
        return sum(output.usage.total_tokens for output in outputs if output.usage is not None)
    total = Decimal(0)
    for output in outputs:
        if output.usage is None and output.error is not None:
            continue  # a record that failed reports no tokens
        cost = cost_of_output(output, priced)
        if cost is None:
            return None
        total = EXACT.add(total, cost)
    return nano_of(total)
