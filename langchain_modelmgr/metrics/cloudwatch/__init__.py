"""The relay to CloudWatch: rows of the ledger become data points, batches and requests."""

from __future__ import annotations

from langchain_modelmgr.metrics.cloudwatch.sink import CloudWatchSink
from langchain_modelmgr.runtime.cloudwatch_client import cloudwatch_client

__all__ = ["CloudWatchSink", "cloudwatch_client"]
