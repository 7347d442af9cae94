"""Where a value of the configuration is from: a file and a line."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from langchain_modelmgr.config import ConfigurationManager

DEFAULT = "default"


def relative(path: str) -> str:
    """Return a path relative to the working folder, if it is inside."""
    try:
        return str(Path(path).relative_to(Path.cwd()))
    except ValueError:
        return path


def place(config: ConfigurationManager, *keys: str) -> str:
    """Return ``file:line`` of a key; ``default`` if the files do not set it."""
    found = config.located(*keys)
    return DEFAULT if found is None else f"{relative(found.file)}:{found.line}"
