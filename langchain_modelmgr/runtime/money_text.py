"""Writes amounts and prices in USD as text, for tables."""

from __future__ import annotations

from decimal import Context, Decimal, localcontext

_CENT = Decimal("0.01")

_CONTEXT = Context(prec=50)
"""The application's own decimal context may round, or raise on inexact results."""


def usd(amount: Decimal) -> str:
    """Return an amount in USD: four decimals, six below a cent, more where that would be 0."""
    with localcontext(_CONTEXT):
        text = f"${amount:,.6f}" if 0 < abs(amount) < _CENT else f"${amount:,.4f}"
        return text if not amount or Decimal(text[1:].replace(",", "")) else f"${amount:f}"


def per_million(price_per_1k: float | str) -> str:
    """Return a price per 1,000 tokens as USD per million tokens: with cents, or all its digits."""
    with localcontext(_CONTEXT):
        price = 1000 * Decimal(str(price_per_1k))
        cents = round(price, 2)
        return f"{cents:.2f}" if cents == price else f"{price.normalize():f}"
