"""Budgets: limits in USD or tokens that calls can't overshoot, and the stores that hold them."""

from __future__ import annotations

from langchain_modelmgr.budgets.limits import BudgetStatus
from langchain_modelmgr.budgets.tasks import TaskBudget

__all__ = ["BudgetStatus", "TaskBudget"]
