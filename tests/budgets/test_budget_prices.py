"""What is reserved: the dearest rates that a reply may name, ARNs, caches and reasoning budgets."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.caches import InMemoryCache

from langchain_modelmgr import ModelManager
from langchain_modelmgr.budgets.worst_case import output_cap, worst_case
from langchain_modelmgr.catalog import ModelCatalog
from langchain_modelmgr.catalog.model import LongContext
from langchain_modelmgr.usage.pricing import TokenCounts, cost_of
from tests.models import SONNET

if TYPE_CHECKING:
    from decimal import Decimal

    from langchain_modelmgr.local import LocalAWS
    from tests.agents import Configure
    from tests.budgets.conftest import Bills

ARN = "arn:aws:bedrock:us-east-1:111122223333:application-inference-profile/abc"
CACHED = "anthropic.claude-sonnet-4-5-20250929-v1:0"
TEXT = {"messages": [{"role": "user", "content": [{"text": "x" * 84}]}]}  # 100 tokens at most


def nano(usd: Decimal | None) -> int:
    assert usd is not None
    return int(usd * 10**9)


@pytest.mark.parametrize("ttl", ["5m", "1h"])
def test_cache_writes_are_reserved_at_their_price(ttl: str) -> None:
    model = ModelCatalog().resolve(CACHED)
    point = {"cachePoint": {"type": "default", "ttl": ttl}}
    params: Any = {"messages": [{"role": "user", "content": [{"text": "x" * 84}, point]}]}

    worst = worst_case(params, model, 50)

    written = {f"cache_write_{ttl}_tokens": 100}
    assert worst.tokens == 150
    assert worst.nano_usd == nano(cost_of(TokenCounts(output_tokens=50, **written), model))


def test_a_long_prompt_is_reserved_at_the_long_context_price() -> None:
    model = replace(
        ModelCatalog().resolve(SONNET), context_window=10**6, long_context=LongContext(100, 2, 1.5)
    )
    params: Any = {"messages": [{"role": "user", "content": [{"text": "x" * 85}]}]}

    assert worst_case(TEXT, model, 10).nano_usd == nano(
        cost_of(TokenCounts(cache_write_5m_tokens=100, output_tokens=10), model)
    )
    assert worst_case(params, model, 10).nano_usd == nano(
        cost_of(TokenCounts(cache_write_5m_tokens=101, output_tokens=10), model)
    )


def test_a_service_tier_without_a_price_is_unpriced() -> None:
    model = ModelCatalog().resolve(SONNET)

    assert worst_case({**TEXT, "serviceTier": {"type": "flex"}}, model, 10).nano_usd is None
    assert worst_case({**TEXT, "serviceTier": {"type": "default"}}, model, 10).nano_usd is not None


def test_what_has_no_bound_counts_as_the_context_window() -> None:
    model = ModelCatalog().resolve(SONNET)
    document = {"document": {"format": "pdf", "name": "d", "source": {"bytes": b"%PDF"}}}
    params: Any = {"messages": [{"role": "user", "content": [document]}]}
    huge: Any = {"messages": [{"role": "user", "content": [{"text": "x" * 10**6}]}]}

    assert model.context_window is not None
    assert worst_case(params, model, 10).tokens == model.context_window + 10
    assert worst_case(huge, model, 10).tokens == model.context_window + 10


def test_a_reasoning_budget_raises_the_cap_up_to_the_models_limit() -> None:
    model = ModelCatalog().resolve(CACHED)
    thinking = {"thinking": {"type": "enabled", "budget_tokens": 2_000}}

    assert output_cap(TEXT, model, 1_000) == 1_000
    assert output_cap({"additionalModelRequestFields": thinking}, model, 1_000) == 3_000
    assert output_cap(TEXT, model, 10**9) == model.max_tokens


def test_an_application_inference_profile_is_priced_by_its_model(
    configured: Configure,
    local_aws: LocalAWS,
    bills: Bills,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in local_aws.env().items():
        monkeypatch.setenv(name, value)
    local_aws.inference_profile(ARN, SONNET)
    manager = ModelManager(
        configured(
            f"a: {{model: '{ARN}', fallbacks: [], max_tokens: 100}}",
            "budgets: {t: {usd: 1, per: day}}",
        )
    )

    manager.chat_model("a").invoke("x")

    (status,) = manager.budget_status()
    assert status.spent > 0
    assert status.uncertain == 0


def test_an_answer_of_the_response_cache_costs_nothing(configured: Configure, bills: Bills) -> None:
    manager = ModelManager(
        configured(
            f"a: {{model: '{SONNET}', fallbacks: [], max_tokens: 100}}",
            "budgets: {t: {tokens: 1000, per: day}}",
        )
    )
    llm = manager.chat_model("a", cache=InMemoryCache())

    for _ in range(3):
        llm.invoke("x")

    (status,) = manager.budget_status()
    assert status.spent == 30
