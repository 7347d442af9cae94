"""Configuration: one YAML file per environment, validated when it is read."""

from __future__ import annotations

from langchain_modelmgr.config.manager import ConfigurationManager
from langchain_modelmgr.config.metrics_schema import MetricsConfig
from langchain_modelmgr.config.schema import AgentConfig, AWSConfig, FallbackConfig

__all__ = ["AWSConfig", "AgentConfig", "ConfigurationManager", "FallbackConfig", "MetricsConfig"]
