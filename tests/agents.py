"""What the tests' agents are made of: a configuration, a tool, a schema."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from langchain_core.tools import tool
from pydantic import BaseModel

from langchain_modelmgr import ConfigurationManager

Configure: TypeAlias = Callable[..., ConfigurationManager]
"""The fixture ``configured``: makes a configuration from the YAML under ``agents:``."""


class Pallets(BaseModel):
    """Pallets in stock."""

    count: int


@tool
def count_pallets(warehouse: str) -> int:
    """Count the pallets of a warehouse."""
    return len(warehouse)
