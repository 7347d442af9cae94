"""A month's usage and cost, for ``modelmgr report``."""

from __future__ import annotations

from langchain_modelmgr.report.month import MonthReport, month_report

__all__ = ["MonthReport", "month_report"]
