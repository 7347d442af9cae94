"""Checks of a configuration and of the AWS account that it uses, for ``modelmgr doctor``."""

from __future__ import annotations

from langchain_modelmgr.checks.calls import call_each_model, cost_of_calls
from langchain_modelmgr.checks.finding import Finding, worst
from langchain_modelmgr.checks.live import check_aws
from langchain_modelmgr.checks.offline import check_configuration

__all__ = [
    "Finding",
    "call_each_model",
    "check_aws",
    "check_configuration",
    "cost_of_calls",
    "worst",
]
