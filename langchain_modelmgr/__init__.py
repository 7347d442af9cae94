"""A drop-in LangChain chat model for Amazon Bedrock.

Every public name is imported when it is first used, so that importing the package is fast.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from langchain_modelmgr.batch import (
        Estimate,
        Job,
        JobStatus,
    )
    from langchain_modelmgr.budgets import (
        BudgetStatus,
        TaskBudget,
    )
    from langchain_modelmgr.callbacks import (
        UsageCallbackHandler,
    )
    from langchain_modelmgr.catalog import (
        ModelConfig,
    )
    from langchain_modelmgr.chat_model import (
        ManagedBedrockChat,
    )
    from langchain_modelmgr.config import (
        ConfigurationManager,
    )
    from langchain_modelmgr.errors import (
        AllModelsAPIError,
        AllModelsConnectionError,
        AllModelsFailedError,
        AllModelsNotFoundError,
        AllModelsPermissionDeniedError,
        AllModelsRateLimitError,
        AllModelsTimeoutError,
        Attempt,
        BedrockAPIError,
        BedrockAuthenticationError,
        BedrockConnectionError,
        BedrockContextOverflowError,
        BedrockError,
        BedrockInvalidRequestError,
        BedrockNotFoundError,
        BedrockPermissionDeniedError,
        BedrockRateLimitError,
        BedrockTimeoutError,
        BudgetExceededError,
        BudgetStoreError,
        ConfigurationError,
        JobError,
        LedgerError,
        ModelCompatibilityError,
        ModelManagerError,
    )
    from langchain_modelmgr.ledger import (
        UsageTable,
    )
    from langchain_modelmgr.manager import (
        ModelManager,
    )
    from langchain_modelmgr.metrics import (
        CloudWatchSink,
        EMFSink,
        MemorySink,
        MetricsSink,
    )
    from langchain_modelmgr.usage.record import (
        ModelUsageMetrics,
    )
    from langchain_modelmgr.usage.tracks import (
        UsageTrack,
    )

    __version__: str

__all__ = [
    "AllModelsAPIError",
    "AllModelsConnectionError",
    "AllModelsFailedError",
    "AllModelsNotFoundError",
    "AllModelsPermissionDeniedError",
    "AllModelsRateLimitError",
    "AllModelsTimeoutError",
    "Attempt",
    "BedrockAPIError",
    "BedrockAuthenticationError",
    "BedrockConnectionError",
    "BedrockContextOverflowError",
    "BedrockError",
    "BedrockInvalidRequestError",
    "BedrockNotFoundError",
    "BedrockPermissionDeniedError",
    "BedrockRateLimitError",
    "BedrockTimeoutError",
    "BudgetExceededError",
    "BudgetStatus",
    "BudgetStoreError",
    "CloudWatchSink",
    "ConfigurationError",
    "ConfigurationManager",
    "EMFSink",
    "Estimate",
    "Job",
    "JobError",
    "JobStatus",
    "LedgerError",
    "ManagedBedrockChat",
    "MemorySink",
    "MetricsSink",
    "ModelCompatibilityError",
    "ModelConfig",
    "ModelManager",
    "ModelManagerError",
    "ModelUsageMetrics",
    "TaskBudget",
    "UsageCallbackHandler",
    "UsageTable",
    "UsageTrack",
    "__version__",
]

_HOME = {
    "AllModelsAPIError": "errors",
    "AllModelsConnectionError": "errors",
    "AllModelsFailedError": "errors",
    "AllModelsNotFoundError": "errors",
    "AllModelsPermissionDeniedError": "errors",
    "AllModelsRateLimitError": "errors",
    "AllModelsTimeoutError": "errors",
    "Attempt": "errors",
    "BedrockAPIError": "errors",
    "BedrockAuthenticationError": "errors",
    "BedrockConnectionError": "errors",
    "BedrockContextOverflowError": "errors",
    "BedrockError": "errors",
    "BedrockInvalidRequestError": "errors",
    "BedrockNotFoundError": "errors",
    "BedrockPermissionDeniedError": "errors",
    "BedrockRateLimitError": "errors",
    "BedrockTimeoutError": "errors",
    "BudgetExceededError": "errors",
    "BudgetStatus": "budgets",
    "BudgetStoreError": "errors",
    "CloudWatchSink": "metrics",
    "ConfigurationError": "errors",
    "ConfigurationManager": "config",
    "EMFSink": "metrics",
    "Estimate": "batch",
    "Job": "batch",
    "JobError": "errors",
    "JobStatus": "batch",
    "LedgerError": "errors",
    "ManagedBedrockChat": "chat_model",
    "MemorySink": "metrics",
    "MetricsSink": "metrics",
    "ModelCompatibilityError": "errors",
    "ModelConfig": "catalog",
    "ModelManager": "manager",
    "ModelManagerError": "errors",
    "ModelUsageMetrics": "usage.record",
    "TaskBudget": "budgets",
    "UsageCallbackHandler": "callbacks",
    "UsageTable": "ledger",
    "UsageTrack": "usage.tracks",
}
"""The module of each public name. Configuration loads neither LangChain nor boto3."""


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    if name == "__version__":
        from importlib.metadata import version

        return version("langchain-modelmgr")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
