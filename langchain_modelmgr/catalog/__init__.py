"""What is known of each model: capabilities, limits, prices, each with its source.

``python -m langchain_modelmgr.catalog check`` holds the prices against public lists.
"""

from langchain_modelmgr.catalog.ids import (
    PREFIXES,
    may_be_inference_profile,
    model_behind,
    named_model,
    split_prefix,
)
from langchain_modelmgr.catalog.known import ModelCatalog
from langchain_modelmgr.catalog.model import LongContext, ModelConfig, TokenPrices

__all__ = [
    "PREFIXES",
    "LongContext",
    "ModelCatalog",
    "ModelConfig",
    "TokenPrices",
    "may_be_inference_profile",
    "model_behind",
    "named_model",
    "split_prefix",
]
