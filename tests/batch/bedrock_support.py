"""Jobs of an agent whose model takes batch inference jobs of the local AWS."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.batch.conftest import PROMPT, tickets

if TYPE_CHECKING:
    from pathlib import Path

    from langchain_modelmgr import Job, ModelManager

NOVA = "amazon.nova-lite-v1:0"
ROLE = "arn:aws:iam::123456789012:role/batch"
LABELER = f"labeler: {{model: '{NOVA}', fallbacks: [], retries: 0, max_tokens: 50}}"


def job_of(manager: ModelManager, into: Path | str, count: int = 120) -> Job:
    """Return the job of some rows."""
    return manager.batch("labeler", tickets(count), into=into, key="id", prompt=PROMPT)


def rows_of(job: Job) -> list[dict[str, Any]]:
    """Return the results."""
    found: list[dict[str, Any]] = job.results().to_table().to_pylist()
    return found


def ledger_of(manager: ModelManager) -> dict[str, Any]:
    """Return the sums of the ledger."""
    (row,) = manager.usage_sql(
        "SELECT count(*) AS attempts, sum(input_tokens) AS input, sum(output_tokens) AS output,"
        " min(service_tier) AS tier, count(latency_ms) AS timed FROM attempts"
    )
    return dict(row)
