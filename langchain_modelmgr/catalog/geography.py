"""Geographies: where a model may be served, and whether a fallback leaves the primary's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from langchain_modelmgr.catalog.ids import ASIA_PACIFIC, PREFIXES

if TYPE_CHECKING:
    from langchain_modelmgr.catalog.model import ModelConfig

GLOBAL = "global"
_INSIDE_APAC = frozenset(name for name, _ in ASIA_PACIFIC)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a model's requests may be served.

    Attributes:
        prefix: The geography prefix of the model's inference profile; None if it has none.
        region: Without a prefix, the region in which the model is called; None if unknown.
    """

    prefix: str | None
    region: str | None = None

    @property
    def geography(self) -> str | None:
        """The geography: the prefix, else that of the region; None if unknown."""
        return self.prefix or (None if self.region is None else geography_of_region(self.region))

    @property
    def is_known(self) -> bool:
        """True if the model id or the region determines the geography."""
        return self.geography is not None


def place_of(model: ModelConfig, region: str | None) -> Place:
    """Return where a model is served: by its prefix, else its ARN's region, else ``region``.

    Args:
        model: The model.
        region: The region in which its chain calls it; None if unknown.
    """
    if model.geography is not None:
        return Place(model.geography)
    arn = [*model.model_id.split(":", 4), "", "", ""]
    return Place(None, (arn[3] if arn[0] == "arn" else "") or region)


def geography_of_region(region: str) -> str:
    """Return the widest geography of a region, ``global`` aside: ``eu``, ``apac``, ``us-gov``.

    For a region outside all geographies this is the first part of its name, such as ``sa``.
    """
    for name in ("us-gov", "us-iso"):
        if region.startswith(f"{name}"):
            return name
    continent = region.partition("-")[0]
    return "apac" if continent == "ap" else continent


def why_outside(home: Place, other: Place) -> str | None:
    """Return why a model at ``other`` may not be a fallback for one at ``home``; None if it may.

    An unknown place is allowed, and so is a ``global`` profile as the fallback of a model id
    without a prefix. ``doubt_about`` returns a warning for both.
    """
    if home.geography in (None, GLOBAL) or not other.is_known or _is_inside(home, other):
        return None
    if other.prefix == GLOBAL and home.prefix is None:
        return None
    hint = f"an id that starts with {home.geography}., or " if home.geography in PREFIXES else ""
    return (
        f"a model in {home.geography!r} cannot fall back to one in {other.geography!r}, because "
        f"data would leave its geography: use {hint}a model in one of its regions"
    )


def doubt_about(home: Place, other: Place) -> str | None:
    """Return a warning about a fallback that ``why_outside`` allows, or None."""
    if home == other or home.geography == GLOBAL:
        return None
    if other.prefix == GLOBAL:
        where = f"in {home.geography!r} only" if home.is_known else "in one region"
        return f"may be served in any geography; the agent's own model is served {where}"
    if home.is_known and other.is_known:
        return None
    return "may be served outside the geography of the agent's own model: set aws.region"


def _is_inside(home: Place, other: Place) -> bool:
    names = {other.geography}
    if other.prefix in _INSIDE_APAC:
        names.add("apac")
    if other.prefix is None:
        names |= {name for name, regions in ASIA_PACIFIC if other.region in regions}
    return home.geography in names
