"""The summary adds up calls and attempts, money exactly, and is always formattable."""

from __future__ import annotations

import contextlib
import threading
from contextlib import closing
from decimal import Decimal, localcontext
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_modelmgr import ConfigurationManager, ModelManager
from langchain_modelmgr.errors import ModelManagerError
from langchain_modelmgr.local import LocalAWS
from langchain_modelmgr.metrics import UsageSummary

if TYPE_CHECKING:
    from pathlib import Path

    from tests.usage_records import MakeUsage

SONNET = "anthropic.claude-3-5-sonnet-20241022-v2:0"
HAIKU = "anthropic.claude-3-5-haiku-20241022-v1:0"

KEYS = {
    "estimated_wasted_cost_usd",
    "total_invocations",
    "attempts",
    "total_cost_usd",
    "average_latency_ms",
    "success_rate",
    "input_tokens",
    "output_tokens",
    "total_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "unpriced_invocations",
    "aborted",
}
OF_CALLS = {"calls", "fallbacks", "fallback_calls"}


def test_an_unused_summary_has_every_key_and_can_be_formatted() -> None:
    summary = UsageSummary().as_dict()

    assert summary.keys() == KEYS | OF_CALLS | {"by_agent", "by_model", "by_agent_and_model"}
    assert f"{summary['total_cost_usd']:.4f}" == "0.0000"
    assert f"{summary['average_latency_ms']:.2f}" == "0.00"
    assert summary["success_rate"] == 1.0


def test_a_call_with_a_fallback_is_one_invocation_and_two_attempts(usage: MakeUsage) -> None:
    summary = UsageSummary()

    summary.attempt(usage(outcome="failed", success=False, has_usage=False, cost_usd=None))
    summary.attempt(usage(model_id=HAIKU, latency_ms=400.0))
    summary.call("sql_agent", answered=True, latency_ms=500.0, fallback_used=True)

    found = summary.as_dict()
    assert (found["total_invocations"], found["attempts"], found["fallbacks"]) == (1, 2, 1)
    assert (found["average_latency_ms"], found["success_rate"]) == (500.0, 1.0)
    assert found["by_agent"]["sql_agent"].keys() == KEYS | OF_CALLS
    assert found["by_model"][SONNET]["success_rate"] == 0.0
    assert found["by_model"][HAIKU]["average_latency_ms"] == 400.0
    assert found["by_model"][HAIKU]["total_invocations"] == 1
    assert found["by_model"][HAIKU].keys() == KEYS


def test_a_fallback_that_answers_is_distinguished_from_one_that_was_only_called() -> None:
    summary = UsageSummary()

    for answered in (True, False, None):
        summary.call("a", answered=answered, latency_ms=1.0, fallback_used=True)
    summary.call("a", answered=True, latency_ms=1.0, fallback_tried=True)  # the primary at last
    summary.call("a", answered=True, latency_ms=1.0)

    found = summary.as_dict()["by_agent"]["a"]
    assert (found["calls"], found["fallbacks"], found["fallback_calls"]) == (5, 1, 4)


def test_summary_and_cloudwatch_count_fallbacks_alike(tmp_path: Path) -> None:
    (tmp_path / "dev.yaml").write_text(
        f"metrics: {{sink: cloudwatch, extra: [fallbacks]}}\nagents: {{a: {{model: '{SONNET}', "
        f"fallbacks: ['{HAIKU}'], cooldown_seconds: 0, retries: 0}}}}\n"
    )
    with LocalAWS.running() as aws:
        manager = ModelManager(ConfigurationManager("dev", tmp_path))
        llm = manager.chat_model("a")
        aws.fail(SONNET, "ThrottlingException", rate=0.7, seed=3)
        aws.fail(HAIKU, "ThrottlingException", rate=0.5, seed=4)
        for i in range(40):
            chunks: Any = llm.stream("x y z")
            with contextlib.suppress(ModelManagerError), closing(chunks):
                next(chunks) if i % 3 == 0 else list(chunks)
        manager.flush_metrics()
        published = aws.metrics.sum(manager.config.namespace, "Fallbacks")

    found = manager.get_usage_summary()
    assert found["calls"] == 40
    assert 0 < found["fallbacks"] == published < found["fallback_calls"]
    assert found["by_model"][HAIKU]["attempts"] == found["fallback_calls"]


def test_a_call_that_its_caller_left_counts_but_not_for_the_success_rate() -> None:
    summary = UsageSummary()

    summary.call("a", answered=True, latency_ms=100.0)
    summary.call("a", answered=False, latency_ms=900.0)
    summary.call("a", answered=None, latency_ms=5.0)

    found = summary.as_dict()
    assert (found["total_invocations"], found["aborted"]) == (3, 1)
    assert (found["success_rate"], found["average_latency_ms"]) == (0.5, 100.0)


def test_tokens_are_counted_as_bedrock_counts_and_the_total_has_the_cache(
    usage: MakeUsage,
) -> None:
    summary = UsageSummary()

    summary.attempt(
        usage(cache_read_tokens=7, cache_write_5m_tokens=5, cache_write_1h_tokens=3),
    )

    found = summary.as_dict()
    assert (found["input_tokens"], found["output_tokens"], found["total_tokens"]) == (120, 30, 165)
    assert (found["cache_read_tokens"], found["cache_write_tokens"]) == (7, 8)


def test_an_attempt_without_a_price_is_counted_as_unpriced(usage: MakeUsage) -> None:
    summary = UsageSummary()

    summary.attempt(usage(cost_usd=None))
    summary.attempt(usage(cost_usd=Decimal("NaN")))
    summary.attempt(usage(cost_usd=None, outcome="aborted", has_usage=False))
    summary.attempt(usage(cost_usd=None, outcome="failed"))

    found = summary.as_dict()
    assert (found["unpriced_invocations"], found["total_cost_usd"]) == (2, 0.0)


def test_an_answer_from_the_cache_counts_nothing(usage: MakeUsage) -> None:
    summary = UsageSummary()

    summary.attempt(usage(outcome="cached"))

    assert summary.as_dict() == UsageSummary().as_dict()


@given(st.lists(st.decimals(min_value=0, max_value=10**6, places=12), max_size=200))
def test_money_is_added_exactly_whatever_the_applications_decimal_context(
    usage: MakeUsage, costs: list[Decimal]
) -> None:
    summary = UsageSummary()
    exact = float(sum(costs, Decimal(0)))

    with localcontext(prec=3):
        for cost in costs:
            summary.attempt(usage(cost_usd=cost))
        found = summary.as_dict()

    assert found["total_cost_usd"] == exact
    assert sum(a["total_cost_usd"] for a in found["by_agent"].values()) == pytest.approx(exact)


def test_a_latency_that_is_not_a_number_is_not_averaged() -> None:
    summary = UsageSummary()

    summary.call("a", answered=True, latency_ms=float("nan"))
    summary.call("a", answered=True, latency_ms=100.0)

    assert summary.as_dict()["average_latency_ms"] == 50.0


def test_names_beyond_the_cap_are_added_up_as_other(usage: MakeUsage) -> None:
    summary = UsageSummary(max_names=2)

    for name in ("a", "b", "c", "d", "a"):
        summary.attempt(usage(agent_name=name, model_id=name))

    found = summary.as_dict()
    assert {name: one["attempts"] for name, one in found["by_agent"].items()} == {
        "a": 2,
        "b": 1,
        "other": 2,
    }
    assert found["by_model"]["other"]["attempts"] == 2
    assert found["attempts"] == 5


def test_the_summary_names_no_account(usage: MakeUsage) -> None:
    summary = UsageSummary()

    summary.attempt(usage(model_id="arn:aws:bedrock:us-east-1:123456789012:inference-profile/x"))

    assert "123456789012" not in str(summary.as_dict())


def test_sixteen_threads_lose_nothing(usage: MakeUsage) -> None:
    summary = UsageSummary()
    record = usage()

    def work() -> None:
        for _ in range(300):
            summary.attempt(record)
            summary.call("sql_agent", answered=True, latency_ms=1.0)

    threads = [threading.Thread(target=work) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    found = summary.as_dict()
    assert (found["attempts"], found["total_invocations"]) == (4_800, 4_800)
    assert found["total_cost_usd"] == float(4_800 * Decimal("0.00081"))


def test_a_forked_child_starts_at_zero(usage: MakeUsage) -> None:
    summary = UsageSummary()
    summary.attempt(usage())

    summary.reset_after_fork()

    assert summary.as_dict() == UsageSummary().as_dict()
