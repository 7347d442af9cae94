"""A drop-in LangChain chat model for Amazon Bedrock; the public names, nothing else."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from langchain_modelmgr.callbacks import UsageCallbackHandler
    from langchain_modelmgr.catalog import ModelConfig
    from langchain_modelmgr.chat_model import ManagedBedrockChat
    from langchain_modelmgr.config import ConfigurationManager
    from langchain_modelmgr.errors import (
        AllModelsFailedError,
        Attempt,
        ConfigurationError,
        LedgerError,
        ModelCompatibilityError,
        ModelManagerError,
    )
    from langchain_modelmgr.ledger import UsageTable
    from langchain_modelmgr.manager import ModelManager
    from langchain_modelmgr.metrics import MetricsSink
    from langchain_modelmgr.usage.record import ModelUsageMetrics

__all__ = [
    "AllModelsFailedError",
    "Attempt",
    "ConfigurationError",
    "ConfigurationManager",
    "LedgerError",
    "ManagedBedrockChat",
    "MetricsSink",
    "ModelCompatibilityError",
    "ModelConfig",
    "ModelManager",
    "ModelManagerError",
    "ModelUsageMetrics",
    "UsageCallbackHandler",
    "UsageTable",
]

_HOME = {
    "AllModelsFailedError": "errors",
    "Attempt": "errors",
    "ConfigurationError": "errors",
    "ConfigurationManager": "config",
    "LedgerError": "errors",
    "ManagedBedrockChat": "chat_model",
    "MetricsSink": "metrics",
    "ModelCompatibilityError": "errors",
    "ModelConfig": "catalog",
    "ModelManager": "manager",
    "ModelManagerError": "errors",
    "ModelUsageMetrics": "usage.record",
    "UsageCallbackHandler": "callbacks",
    "UsageTable": "ledger",
}
"""Public name -> its module, imported on first use: configuration needs no LangChain, no boto3."""


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
