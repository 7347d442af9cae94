"""The relay to CloudWatch: rows of the ledger become data points, batches and requests."""

from __future__ import annotations

from langchain_modelmgr.metrics.cloudwatch.client import cloudwatch_client
from langchain_modelmgr.metrics.cloudwatch.sink import CloudWatchSink

__all__ = ["CloudWatchSink", "cloudwatch_client"]
