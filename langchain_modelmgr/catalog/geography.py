"""Geographies: where a model may be served, and whether a fallback would leave its primary's."""

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
        prefix: The geography that the model's inference profile names; None: it names none.
        region: Without such a name, the one region where the model is asked; None: not known.
    """

    prefix: str | None
    region: str | None = None

    @property
    def geography(self) -> str | None:
        """The geography: a prefix, or the first part of other regions' names; None: not known."""
        return self.prefix or (None if self.region is None else geography_of_region(self.region))

    @property
    def is_known(self) -> bool:
        """False if neither model id nor region tell where it is."""
        return self.geography is not None


def place_of(model: ModelConfig, region: str | None) -> Place:
    """Return where a model is served: by its prefix, else its ARN's region, else ``region``.

    Args:
        model: What is known of the model.
        region: The region that its chain asks it in; None: not known.
    """
    if model.geography is not None:
        return Place(model.geography)
    arn = [*model.model_id.split(":", 4), "", "", ""]
    return Place(None, (arn[3] if arn[0] == "arn" else "") or region)


def geography_of_region(region: str) -> str:
    """Return the widest geography of a region, ``global`` aside: ``eu``, ``apac``, ``us-gov``.

    Regions that no geography has are told apart by the first part of their names: ``sa``.
    """
    for name in ("us-gov", "us-iso"):
        if region.startswith(f"{name}"):
            return name
    continent = region.partition("-")[0]
    return "apac" if continent == "ap" else continent


def why_outside(home: Place, other: Place) -> str | None:
    """Return why a model at ``other`` may not stand in for one at ``home``; None if it may.

    What is not known is allowed. So is a ``global`` profile for a model that is asked in one
    region and names no geography itself: ``doubt_about`` tells both.
    """
    if home.geography in (None, GLOBAL) or not other.is_known or _is_inside(home, other):
        return None
    if other.prefix == GLOBAL and home.prefix is None:
        return None
    hint = f"an id that starts with {home.geography}., or " if home.geography in PREFIXES else ""
    return (
        f"a model of {home.geography!r} must not fall to one of {other.geography!r}: data would "
        f"leave its geography; give {hint}a model that is asked in a region of it"
    )


def doubt_about(home: Place, other: Place) -> str | None:
    """Return what a user should know of a fallback that ``why_outside`` allows."""
    if home == other or home.geography == GLOBAL:
        return None
    if other.prefix == GLOBAL:
        where = f"in {home.geography!r} only" if home.is_known else "in one region"
        return f"may be served in any geography; the agent's own model is served {where}"
    if home.is_known and other.is_known:
        return None
    return (
        "it is not known whether it stays in the geography of the agent's own model: set aws.region"
    )


def _is_inside(home: Place, other: Place) -> bool:
    names = {other.geography}
    if other.prefix in _INSIDE_APAC:
        names.add("apac")
    if other.prefix is None:
        names |= {name for name, regions in ASIA_PACIFIC if other.region in regions}
    return home.geography in names
