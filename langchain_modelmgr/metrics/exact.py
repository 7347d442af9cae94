"""Decimal arithmetic for money that does not depend on the application's own decimal context."""

from __future__ import annotations

from decimal import Context

EXACT = Context(prec=50)
"""50 digits: sums of prices stay exact far beyond any bill."""
