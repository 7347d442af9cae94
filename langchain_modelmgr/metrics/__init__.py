"""Sinks of usage metrics (CloudWatch, EMF, memory), their protocol, and the running summary."""

from __future__ import annotations

from langchain_modelmgr.metrics.cloudwatch import CloudWatchSink, cloudwatch_client
from langchain_modelmgr.metrics.defaults import default_sinks, ledger_for
from langchain_modelmgr.metrics.emf import EMFSink
from langchain_modelmgr.metrics.memory import MemorySink
from langchain_modelmgr.metrics.opentelemetry import OpenTelemetrySink
from langchain_modelmgr.runtime.at_exit import exit_on_sigterm
from langchain_modelmgr.usage.sink_stats import SinkStats
from langchain_modelmgr.usage.sinks import MetricsSink, SinkGroup
from langchain_modelmgr.usage.summary import UsageSummary

__all__ = [
    "CloudWatchSink",
    "EMFSink",
    "MemorySink",
    "MetricsSink",
    "OpenTelemetrySink",
    "SinkGroup",
    "SinkStats",
    "UsageSummary",
    "cloudwatch_client",
    "default_sinks",
    "exit_on_sigterm",
    "ledger_for",
]
