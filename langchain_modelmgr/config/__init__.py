"""The configuration: one YAML file an environment, read with errors that say what is right."""

from __future__ import annotations

from langchain_modelmgr.config.manager import ConfigurationManager
from langchain_modelmgr.config.schema import (
    AgentConfig,
    AWSConfig,
    FallbackConfig,
    MetricsConfig,
)

__all__ = ["AWSConfig", "AgentConfig", "ConfigurationManager", "FallbackConfig", "MetricsConfig"]
