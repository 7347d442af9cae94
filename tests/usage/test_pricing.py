"""What tokens cost: the arithmetic, worked examples of every price class, and real replies."""

from __future__ import annotations

from dataclasses import astuple
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_modelmgr.catalog import LongContext, ModelCatalog, ModelConfig, TokenPrices
from langchain_modelmgr.usage.meter import LATENCY_OPTIMIZED
from langchain_modelmgr.usage.pricing import TokenCounts, cost_of, unpriced_because
from tests.models import HAIKU, SONNET

CATALOG = ModelCatalog()
_KINDS = ("input", "output", "cache_read", "cache_write_5m", "cache_write_1h")

micro_dollars = st.integers(min_value=0, max_value=200_000_000)
"""Prices per million tokens in whole micro-dollars: 0 to 200 USD."""
tokens = st.integers(min_value=0, max_value=20_000_000)
counts = st.builds(TokenCounts, tokens, tokens, tokens, tokens, tokens)
rates = st.lists(micro_dollars, min_size=5, max_size=5)
factors = st.sampled_from([1.0, 1.5, 2.0, 5.0])


def _model(prices: list[int], long: LongContext | None = None) -> ModelConfig:
    a, b, c, d, e = (float(Decimal(p) / 10**9) for p in prices)
    return ModelConfig("x.y", "X", None, None, None, None, a, b, c, d, e, long_context=long)


def _by_hand(usage: TokenCounts, prices: list[int], into: float = 1, out: float = 1) -> Fraction:
    """USD in whole numbers: tokens x micro-dollars per million."""
    amounts = (
        usage.input_tokens,
        usage.output_tokens,
        usage.cache_read_tokens,
        usage.cache_write_5m_tokens,
        usage.cache_write_1h_tokens,
    )
    units = sum(
        (
            Fraction(n * p) * Fraction(out if kind == "output" else into)
            for n, p, kind in zip(amounts, prices, _KINDS, strict=True)
        ),
        Fraction(0),
    )
    return units / 10**12


@given(counts, rates)
def test_the_cost_is_the_sum_in_whole_micro_dollars(usage: TokenCounts, prices: list[int]) -> None:
    cost = cost_of(usage, _model(prices))

    assert cost is not None
    assert Fraction(cost) == _by_hand(usage, prices)
    assert cost >= 0


@given(counts, rates, st.sampled_from(range(5)), st.integers(1, 10_000), factors, factors, tokens)
def test_more_tokens_never_cost_less(
    usage: TokenCounts, prices: list[int], kind: int, more: int, into: float, out: float, above: int
) -> None:
    model = _model(prices, LongContext(above, into, out))
    amounts = [getattr(usage, field) for field in TokenCounts.__slots__]
    amounts[kind] += more

    first, second = cost_of(usage, model), cost_of(TokenCounts(*amounts), model)

    assert first is not None
    assert second is not None
    assert second >= first


@given(counts, counts, rates)
def test_costs_within_a_tier_add_up(
    one: TokenCounts, other: TokenCounts, prices: list[int]
) -> None:
    model = _model(prices)
    both = TokenCounts(*(getattr(one, f) + getattr(other, f) for f in TokenCounts.__slots__))

    costs = [cost_of(usage, model) for usage in (one, other, both)]

    assert Fraction(costs[0] or 0) + Fraction(costs[1] or 0) == Fraction(costs[2] or 0)


@given(counts, rates, factors, factors, tokens)
def test_a_long_prompt_reprices_all_its_tokens(
    usage: TokenCounts, prices: list[int], into: float, out: float, above: int
) -> None:
    cost = cost_of(usage, _model(prices, LongContext(above, into, out)))

    prompt = sum(astuple(usage)) - usage.output_tokens
    assert (usage.prompt_tokens, usage.total_tokens) == (prompt, prompt + usage.output_tokens)
    long = prompt > above
    assert Fraction(cost or 0) == _by_hand(usage, prices, into if long else 1, out if long else 1)


@pytest.mark.parametrize(
    ("model_id", "usage", "tier", "usd"),
    [
        # The design guide: 0.003 and 0.015 per 1,000.
        (SONNET, TokenCounts(1_000, 1_000), None, "0.018"),
        # The guide's Haiku, with the cache in Anthropic's ratios: 0.0001 and 0.00125.
        (HAIKU, TokenCounts(1_000, 1_000, 10_000, 2_000), None, "0.0095"),
        # genai-prices 0.2.3 and LiteLLM 1.109.1: 1.1, 5.5, 0.11, 1.375 and 2.2 a million.
        (
            "us.anthropic.claude-haiku-4-5-20251001-v1:0",
            TokenCounts(1_000, 200, 5_000, 3_000, 4_000),
            None,
            "0.01567500",  # 0.0011 + 0.0011 + 0.00055 + 0.004125 + 0.0088
        ),
        # The same through the global profile costs a tenth less: 1, 5, 0.1, 1.25 and 2.
        (
            "global.anthropic.claude-haiku-4-5-20251001-v1:0",
            TokenCounts(1_000, 200, 5_000, 3_000, 4_000),
            None,
            "0.01425000",
        ),
        # In-region is priced as geographic: AWS bills both 10 % above global.
        ("anthropic.claude-sonnet-4-6", TokenCounts(1_000_000), None, "3.3"),
        # eu. and apac. of Nova have prices of their own (LiteLLM 1.109.1).
        ("amazon.nova-lite-v1:0", TokenCounts(1_000_000, 1_000_000), None, "0.30"),
        ("eu.amazon.nova-lite-v1:0", TokenCounts(1_000_000, 1_000_000), None, "0.39"),
        ("apac.amazon.nova-lite-v1:0", TokenCounts(1_000_000, 1_000_000), None, "0.315"),
        # GovCloud: 20 % above global.
        ("us-gov.anthropic.claude-sonnet-5", TokenCounts(1_000_000, 1_000_000), None, "14.4"),
        # 272,000 prompt tokens at the plain price; one more, a cached one, reprices them all.
        ("us.openai.gpt-6-sol", TokenCounts(272_000, 1_000), None, "0.6094"),
        ("us.openai.gpt-6-sol", TokenCounts(272_000, 1_000, 1), None, "1.21330044"),
        # Service tiers as served: priority 1.75 times, flex half (LiteLLM 1.109.1).
        ("us.amazon.nova-pro-v1:0", TokenCounts(1_000_000, 1_000_000), "default", "4.0"),
        ("us.amazon.nova-pro-v1:0", TokenCounts(1_000_000, 1_000_000), "priority", "7.0"),
        ("us.amazon.nova-pro-v1:0", TokenCounts(1_000_000, 1_000_000), "flex", "2.0"),
        # An unknown price is never 0.
        ("us.amazon.nova-pro-v1:0", TokenCounts(1), "reserved", None),
        ("us.amazon.nova-pro-v1:0", TokenCounts(1), LATENCY_OPTIMIZED, None),
        ("global.openai.gpt-6-sol", TokenCounts(cache_write_1h_tokens=1), None, None),
        ("ca.amazon.nova-micro-v1:0", TokenCounts(1), None, None),
        ("acme.unheard-of-v1:0", TokenCounts(1), None, None),
        # A price that is not needed may be unknown.
        ("acme.unheard-of-v1:0", TokenCounts(), None, "0"),
    ],
)  # fmt: skip
def test_worked_examples(
    model_id: str, usage: TokenCounts, tier: str | None, usd: str | None
) -> None:
    cost = cost_of(usage, CATALOG.resolve(model_id), tier)

    assert cost == (None if usd is None else Decimal(usd))


def test_a_tier_without_a_price_for_a_kind_is_unknown_for_it() -> None:
    tiers = {"flex": TokenPrices(input=0.001)}
    model = ModelConfig("x.y", "X", None, None, None, None, 0.002, 0.002, service_tiers=tiers)

    assert cost_of(TokenCounts(1_000), model, "flex") == Decimal("0.001")
    assert cost_of(TokenCounts(1_000, 1), model, "flex") is None


@pytest.mark.parametrize(
    ("usage", "tier", "reason"),
    [
        (TokenCounts(1, 1), None, "it is in no price list"),
        (TokenCounts(1, 1), "flex", "service tier flex"),
    ],
)
def test_without_any_price_the_list_or_the_tier_is_the_reason(
    usage: TokenCounts, tier: str | None, reason: str
) -> None:
    unpriced = ModelConfig("x.y", "X", None, None, None, None, None, None)

    assert cost_of(usage, unpriced, tier) is None
    assert unpriced_because(usage, unpriced, tier) == reason


def test_the_kinds_of_tokens_without_a_price_are_the_reason() -> None:
    model = ModelConfig("x.y", "X", None, None, None, None, 0.002, 0.002)
    usage = TokenCounts(1, 1, cache_write_5m_tokens=1)

    assert cost_of(usage, model) is None
    assert unpriced_because(usage, model, None) == (
        "no price list has its price of 5-minute cache write tokens"
    )
