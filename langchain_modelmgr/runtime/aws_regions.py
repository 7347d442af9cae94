"""The AWS regions that the installed botocore knows, without importing it."""

from __future__ import annotations

import difflib
import functools
import importlib.util
import json
from pathlib import Path

from langchain_modelmgr.runtime.spelling import is_a_letter_away


@functools.cache
def known_regions() -> frozenset[str]:
    """Return the regions of all partitions; empty if botocore's data file is not found."""
    package = importlib.util.find_spec("botocore")
    folders = package.submodule_search_locations if package else None
    path = Path(folders[0], "data", "partitions.json") if folders else None
    if path is None or not path.is_file():
        return frozenset()
    partitions = json.loads(path.read_text("utf-8"))["partitions"]
    return frozenset(region for partition in partitions for region in partition["regions"])


def nearest_region(region: str) -> str | None:
    """Return the known region closest to ``region`` in spelling, or None."""
    name = region.lower().replace("_", "-")
    if (meant := typo_in_region(name)) is not None:
        return meant
    return next(iter(difflib.get_close_matches(name, sorted(known_regions()), n=1)), None)


def typo_in_region(region: str) -> str | None:
    """Return the known region that differs from ``region`` by one letter, or None.

    None too if ``region`` is known, or differs by more: it may be a new region.
    """
    known = known_regions()
    if region in known:
        return None
    return next((other for other in sorted(known) if is_a_letter_away(region, other)), None)
