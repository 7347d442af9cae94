"""Money of the stores: whole nano-USD, rounded up."""

from __future__ import annotations

from decimal import Decimal, localcontext

from hypothesis import given
from hypothesis import strategies as st

from langchain_modelmgr.budgets.money import NANO, nano_of, usd_of_nano
from langchain_modelmgr.config.budget_schema import MOST_USD


def test_money_is_rounded_up_to_a_nano_usd() -> None:
    assert nano_of(Decimal("0.0000000001")) == 1
    assert nano_of(Decimal("0.000000001")) == 1
    assert nano_of(Decimal(20)) == 20 * NANO


def test_the_largest_limit_is_exact_in_lua() -> None:
    assert MOST_USD * NANO < 2**53


def test_the_applications_decimal_context_changes_nothing() -> None:
    with localcontext() as context:
        context.prec = 2

        assert nano_of(Decimal("1.234567890123")) == 1_234_567_891
        assert usd_of_nano(1_234_567_891) == Decimal("1.234567891")


@given(st.integers(0, MOST_USD * NANO))
def test_whole_nano_usd_convert_both_ways(nano: int) -> None:
    assert nano_of(usd_of_nano(nano)) == nano
