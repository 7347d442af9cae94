"""The durable log of attempts: written once, read by usage tables, reports and CloudWatch."""

from __future__ import annotations

from langchain_modelmgr.ledger.usage_table import UsageTable

__all__ = ["UsageTable"]
