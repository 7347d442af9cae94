"""Budgets: limits in USD or tokens that calls can't overshoot, and the stores that hold them."""
