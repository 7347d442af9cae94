"""The catalog of models: capabilities, limits and prices, each with its source.

``modelmgr models --check`` compares the prices with public price lists.
"""

from langchain_modelmgr.catalog.ids import (
    PREFIXES,
    may_be_inference_profile,
    named_model,
    split_prefix,
    underlying_model,
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
    "named_model",
    "split_prefix",
    "underlying_model",
]

model_behind = underlying_model
"""The name of ``underlying_model`` before 0.2.0."""
