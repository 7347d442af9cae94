"""Estimate: what the rows of a job take, before they are asked."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from decimal import Decimal
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from langchain_core.messages import HumanMessage, SystemMessage

from langchain_modelmgr.batch.answers import EXACT
from langchain_modelmgr.batch.asking import messages_of
from langchain_modelmgr.batch.bedrock_engine import MIN_HOURS, why_not
from langchain_modelmgr.batch.prices import batch_model
from langchain_modelmgr.batch.results import dataset_of
from langchain_modelmgr.batch.status import status_of
from langchain_modelmgr.usage.pricing import TokenCounts, cost_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from langchain_core.messages import BaseMessage

    from langchain_modelmgr.batch.chunks import Chunks
    from langchain_modelmgr.batch.rows import Row
    from langchain_modelmgr.catalog import ModelConfig
    from langchain_modelmgr.chain.candidate import Candidate

_SAMPLE = 20
_SAMPLED_CHUNKS = 3
_BYTES_PER_TOKEN = 4
_SECONDS_PER_ROW = 3.0
_CALLING = {"local": None, "dask": "distributed", "ray": "ray"}
"""The engines that ask rows as calls, with the module that each needs."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """What the rows that are still to be asked take with one engine.

    Attributes:
        rows: Their number.
        input_tokens: Tokens of their prompts.
        output_tokens: Tokens of their answers, at most.
        usd_low: USD if answers are as short as expected; None if a price is unknown.
        usd_high: USD if each answer has ``max_tokens``; None if a price or the limit is unknown.
        hours: Hours until the last answer.
        assumed: What was assumed, a sentence each.
    """

    rows: int
    input_tokens: int
    output_tokens: int | None
    usd_low: Decimal | None
    usd_high: Decimal | None
    hours: float
    assumed: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-safe dict: money as decimal strings."""
        low, high = self.usd_low, self.usd_high
        return {
            **asdict(self),
            "usd_low": None if low is None else str(low),
            "usd_high": None if high is None else str(high),
            "assumed": list(self.assumed),
        }


@dataclass(frozen=True, slots=True)
class Expected:
    """The tokens that the rows of a job are expected to have.

    Attributes:
        rows: The rows that are still to be asked.
        input_tokens: Tokens of their prompts.
        output_low: Tokens of their answers, as expected.
        output_high: Tokens of their answers, at most; None: unknown.
        assumed: What was assumed.
    """

    rows: int
    input_tokens: int
    output_low: int
    output_high: int | None
    assumed: tuple[str, ...]

    def usd(
        self, model: ModelConfig, service_tier: str | None = None
    ) -> tuple[Decimal | None, Decimal | None]:
        """Return what they cost, low and high; None where it is unknown."""
        if not self.rows:
            return Decimal(0), Decimal(0)
        found = []
        # Priced a row: a long prompt's price depends on its own length.
        for output, rounded in ((self.output_low, math.floor), (self.output_high, math.ceil)):
            cost = None
            if output is not None:
                row = (rounded(count / self.rows) for count in (self.input_tokens, output))
                cost = cost_of(TokenCounts(*row), model, service_tier)
            found.append(None if cost is None else EXACT.multiply(cost, self.rows))
        return found[0], found[1]


def estimates(manager: Any, chunks: Chunks) -> dict[str, Estimate]:
    """Return the estimates by engine.

    Args:
        manager: The manager.
        chunks: The job's chunks.
    """
    candidate: Candidate = manager.agent(chunks.plan.agent).chain().candidates[0]
    expected, model = expected_tokens(chunks, candidate), candidate.settings.model
    hours, assumed = _hours(manager, chunks, expected.rows)
    found = {
        engine: _estimate(expected, model, None, hours, assumed)
        for engine, module in _CALLING.items()
        if module is None or find_spec(module) is not None
    }
    if why_not(manager, chunks.plan) is None:
        priced, is_half = batch_model(model)
        half = ("batch inference costs half of the on-demand price",) if is_half else ()
        found["bedrock"] = _estimate(
            expected, priced, None, float(MIN_HOURS),
            (*half, "Bedrock answers within its shortest time-out"),
        )  # fmt: skip
    if "flex" in model.service_tiers:
        found["local, service tier flex"] = _estimate(
            expected, model, "flex", hours,
            (*assumed, "the agent has service_tier: flex; its requests may wait for longer"),
        )  # fmt: skip
    return found


def _estimate(
    expected: Expected,
    model: ModelConfig,
    tier: str | None,
    hours: float,
    assumed: tuple[str, ...],
) -> Estimate:
    low, high = expected.usd(model, tier)
    return Estimate(
        rows=expected.rows,
        input_tokens=expected.input_tokens,
        output_tokens=expected.output_high,
        usd_low=low,
        usd_high=high,
        hours=hours,
        assumed=(*expected.assumed, *assumed),
    )


def _hours(manager: Any, chunks: Chunks, rows: int) -> tuple[float, tuple[str, ...]]:
    status = status_of(chunks)
    if status.rows_per_second:
        return rows / status.rows_per_second / 3600, ()
    concurrency = manager.config.batch.concurrency
    text = f"a row takes {_SECONDS_PER_ROW:g} s, {concurrency} at once, and none is throttled"
    return rows * _SECONDS_PER_ROW / concurrency / 3600, (text,)


def expected_tokens(chunks: Chunks, candidate: Candidate) -> Expected:
    """Return the tokens that the rows of a job are expected to have.

    Args:
        chunks: The job's chunks.
        candidate: The agent's own model.
    """
    plan = chunks.plan
    rows = status_of(chunks).pending
    assumed: list[str] = []
    per_byte = _tokens_per_byte(chunks, candidate)
    if per_byte is None:
        size = (plan.prompt_bytes + plan.rows * len(plan.system)) / max(1, plan.prompt_bytes)
        per_byte = size / _BYTES_PER_TOKEN
        assumed.append(f"a token of a prompt has {_BYTES_PER_TOKEN} bytes: tokens can't be counted")
    settings = candidate.settings
    most = settings.request_fields.get("max_tokens") or settings.model.max_tokens
    least = _mean_output(chunks)
    if least is None:
        least = 1.0
        assumed.append("an answer has 1 token at least: no row is answered yet")
    return Expected(
        rows=rows,
        input_tokens=math.ceil(per_byte * plan.prompt_bytes * rows / plan.rows),
        output_low=math.ceil(least * rows),
        output_high=None if most is None else most * rows,
        assumed=tuple(assumed),
    )


def _sample(chunks: Chunks) -> Iterator[Row]:
    """Yield some rows of the first, a middle and the last chunk."""
    last = chunks.plan.chunks - 1
    for chunk in sorted({0, last // 2, last}):
        rows = chunks.plan.rows_of(chunks.store, chunk)
        step = max(1, len(rows) * _SAMPLED_CHUNKS // _SAMPLE)
        yield from rows[::step]


def _tokens_per_byte(chunks: Chunks, candidate: Candidate) -> float | None:
    """Return the tokens of a byte of a row, by CountTokens on a sample; None if it can't count."""
    tokens = size = 0
    system = [SystemMessage(chunks.plan.system)] if chunks.plan.system else []
    for row in _sample(chunks):
        try:
            found = candidate.model.get_num_tokens_from_messages([*system, *_messages(row)])
        except Exception:  # noqa: BLE001 - not every model counts, not every role may
            return None
        tokens += int(found)
        size += len(row.body)
    return tokens / size if size else None


def _messages(row: Row) -> list[BaseMessage]:
    return [
        HumanMessage(message["content"][0]["text"]) if isinstance(message, dict) else message
        for message in messages_of(row.body)
    ]


def _mean_output(chunks: Chunks) -> float | None:
    """Return the mean tokens of the first answers that there are; None: there is none."""
    head = dataset_of(chunks).head(1_000, columns=["output_tokens"])
    found = [count for count in head.column("output_tokens").to_pylist() if count is not None]
    return sum(found) / len(found) if found else None
