"""Converts money between USD and whole nano-USD, the unit of the stores."""

from __future__ import annotations

from decimal import ROUND_CEILING, Context, Decimal

NANO = 10**9
"""Nano-USD per USD."""

_UP = Context(prec=50, rounding=ROUND_CEILING)
# The application's decimal context may round, or raise on inexact results.
_EXACT = Context(prec=50)


def nano_of(usd: Decimal) -> int:
    """Return an amount in USD as whole nano-USD, rounded up."""
    return int(_UP.to_integral_value(_UP.scaleb(usd, 9)))


def usd_of_nano(nano: int) -> Decimal:
    """Return whole nano-USD as USD, exactly, without trailing zeros after the cents."""
    amount = _EXACT.scaleb(Decimal(nano), -9)
    cents = amount.quantize(Decimal("0.01"), context=_EXACT)
    return cents if cents == amount else amount.normalize(_EXACT)
