"""One attempt becomes the guide's metrics, under names that CloudWatch takes."""

from __future__ import annotations

import json
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_modelmgr.ledger.attempt_rows import AttemptRow
from langchain_modelmgr.metrics.series import (
    EXTRAS,
    METRICS,
    Datum,
    checked_namespace,
    dimension_value,
    indexes_of,
    observations,
    series_of,
    wire_value,
)
from langchain_modelmgr.runtime.masking import mask_account_ids

if TYPE_CHECKING:
    from tests.usage_records import MakeUsage

FIVE = indexes_of(())
SUCCEEDED, FAILED, LATENCY, INPUT, OUTPUT, COST = range(6)
DIMENSIONS = (("Agent", "sql_agent"), ("Model", "amazon.nova-pro-v1:0"))


def row(usage: Any) -> AttemptRow:
    return AttemptRow.of(usage)


def test_the_five_metrics_have_the_names_units_and_dimensions_of_the_guide() -> None:
    assert {
        tuple(series_of(METRICS[index], "sql_agent", "amazon.nova-pro-v1:0")) for index in FIVE
    } == {
        ("ModelLatency", "Milliseconds", DIMENSIONS),
        ("InputTokens", "Count", DIMENSIONS),
        ("OutputTokens", "Count", DIMENSIONS),
        ("ModelCost", "None", DIMENSIONS),
        ("ModelInvocations", "Count", (*DIMENSIONS, ("Success", "true"))),
        ("ModelInvocations", "Count", (*DIMENSIONS, ("Success", "false"))),
    }


def test_an_answered_attempt_publishes_all_five_metrics(usage: MakeUsage) -> None:
    found = observations(row(usage()), FIVE)

    assert found == [
        (SUCCEEDED, 1),
        (LATENCY, 812.5),
        (INPUT, 120),
        (OUTPUT, 30),
        (COST, 810_000_000),
    ]


def test_an_unpriced_attempt_publishes_no_cost(usage: MakeUsage) -> None:
    found = observations(row(usage(cost_usd=None)), FIVE)

    assert COST not in dict(found)
    assert len(found) == 4


def test_a_failed_attempt_publishes_its_failure_and_nothing_else(usage: MakeUsage) -> None:
    failed = usage(outcome="failed", success=False, has_usage=False, cost_usd=None)

    assert observations(row(failed), FIVE) == [(FAILED, 1)]


def test_a_failed_attempt_that_was_billed_publishes_what_it_cost(usage: MakeUsage) -> None:
    found = dict(observations(row(usage(outcome="failed", success=False)), FIVE))

    assert SUCCEEDED not in found
    assert found[COST] == 810_000_000


def test_an_abandoned_attempt_is_not_a_failure_and_its_unknown_usage_is_not_zero(
    usage: MakeUsage,
) -> None:
    aborted = usage(outcome="aborted", has_usage=False, input_tokens=0, output_tokens=0)

    assert observations(row(aborted), FIVE) == [(SUCCEEDED, 1)]


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        ("sql_agent", "sql_agent"),
        ("", "unknown"),
        ("   ", "unknown"),
        (":agent", "?agent"),
        ("Lagerverwalter für Köln", "Lagerverwalter f?r K?ln"),
        ("a\nb", "a?b"),
        ("x" * 2000, "x" * 1024),
    ],
)
def test_a_dimension_value_is_made_valid(text: str, valid: str) -> None:
    assert dimension_value(text) == valid


@given(st.text())
def test_every_dimension_value_is_one_that_cloudwatch_takes(text: str) -> None:
    value = dimension_value(text)

    assert 1 <= len(value) <= 1024
    assert value.isascii()
    assert value.isprintable()
    assert value.strip()
    assert not value.startswith(":")


def test_an_account_id_is_masked_in_an_arn_and_the_rest_is_kept() -> None:
    arn = "arn:aws:bedrock:eu-west-1:123456789012:application-inference-profile/abc1234def56"

    public = mask_account_ids(arn)

    assert "123456789012" not in public
    assert public.startswith("arn:aws:bedrock:eu-west-1:")
    assert public.endswith(":application-inference-profile/abc1234def56")
    assert dimension_value(public) == public


def test_a_model_id_is_published_as_it_is() -> None:
    assert mask_account_ids("eu.amazon.nova-pro-v1:0") == "eu.amazon.nova-pro-v1:0"


def test_a_value_too_small_for_cloudwatch_is_sent_as_zero() -> None:
    assert wire_value(LATENCY, 1e-200) == 0.0
    assert wire_value(LATENCY, 1e-100) == 1e-100


def test_money_is_counted_exactly_and_sent_in_usd() -> None:
    assert wire_value(COST, 810_000_000) == 0.00081


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0])
def test_a_negative_or_infinite_latency_is_unknown(usage: MakeUsage, value: float) -> None:
    assert LATENCY not in dict(observations(row(usage(latency_ms=value)), FIVE))


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-1", "1e30"])
def test_a_cost_that_is_not_an_amount_is_unknown(usage: MakeUsage, value: str) -> None:
    assert COST not in dict(observations(row(usage(cost_usd=Decimal(value))), FIVE))


@pytest.mark.parametrize("prefix", [":x", "a" * 300, "Köln", "a\n"])
def test_a_namespace_that_cloudwatch_refuses_is_refused_at_once(prefix: str) -> None:
    with pytest.raises(ValueError, match="invalid CloudWatch namespace"):
        checked_namespace(f"{prefix}/Models")


def test_a_namespace_of_awss_own_is_refused() -> None:
    with pytest.raises(ValueError, match="AWS/ is reserved"):
        checked_namespace("AWS/Models")


NUMBERS = st.floats(min_value=0, max_value=2.0**360)


@given(
    st.text(max_size=50),
    st.dictionaries(NUMBERS, st.integers(1, 10**12), min_size=1, max_size=150),
)
def test_the_size_of_a_datum_is_never_less_than_its_json(
    agent: str, values: dict[float, int]
) -> None:
    series = series_of(METRICS[LATENCY], agent, 'a"\\b')
    datum = Datum(*series, 1_700_000_000, tuple(values), tuple(values.values()), {})

    request = datum.to_request()

    text = json.dumps(request, default=datetime.timestamp)
    assert len(text) <= datum.size


def test_opt_in_metrics_are_published_beside_the_five(usage: MakeUsage) -> None:
    all_of_them = indexes_of(EXTRAS)
    rich = usage(
        cache_read_tokens=7,
        cache_write_5m_tokens=2,
        cache_write_1h_tokens=3,
        time_to_first_token_ms=120.5,
        is_fallback=True,
        cost_usd=None,
    )
    throttled = usage(
        outcome="failed", has_usage=False, cost_usd=None, error_message="BedrockRateLimitError"
    )
    wasted = usage(
        outcome="aborted",
        has_usage=False,
        cost_usd=None,
        estimated_wasted_cost_usd=Decimal("0.003"),
    )

    def named(record: Any, published: frozenset[int]) -> dict[str, float]:
        return {METRICS[i].name: value for i, value in observations(row(record), published)}

    assert named(rich, all_of_them) == {
        "ModelInvocations": 1,
        "ModelLatency": 812.5,
        "InputTokens": 120,
        "OutputTokens": 30,
        "TimeToFirstToken": 120.5,
        "CacheReadTokens": 7,
        "CacheWriteTokens": 5,
        "UnpricedAttempts": 1,
        "Fallbacks": 1,
    }
    assert "Fallbacks" not in named(usage(), all_of_them)
    assert "Fallbacks" not in named(usage(is_fallback=True, outcome="failed"), all_of_them)
    assert named(throttled, all_of_them) == {"ModelInvocations": 1, "Throttles": 1}
    assert named(wasted, all_of_them) == {"ModelInvocations": 1, "WastedCost": 3 * 10**9}
    assert named(rich, FIVE).keys().isdisjoint({"TimeToFirstToken", "Fallbacks"})
    assert named(wasted, indexes_of(["wasted_cost"]))["WastedCost"] == 3 * 10**9
    assert "Throttles" not in named(throttled, indexes_of(["wasted_cost"]))
