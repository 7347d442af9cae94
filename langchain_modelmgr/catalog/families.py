"""The family rule: which model is the default fallback of another, and which succeeds it."""

from __future__ import annotations

import functools

from langchain_modelmgr.catalog.shipped import shipped_models


def stand_in(base: str | None, prefix: str | None) -> str | None:
    """Return the base model id of a model's fallback by the family rule, or None.

    Sonnet falls back to Haiku, and every other Claude model to Sonnet: of the same generation,
    else the newest earlier one, else the first later one. All other families fall back to the
    newest Sonnet that accepts a forced tool choice. Only active models are chosen, in the
    geography of ``prefix``.
    """
    entry = shipped_models().get(base or "", {})
    generation = _number(entry.get("generation"))
    if entry.get("model_family") != "Claude" or generation is None:
        able = [m for g, m in _claude("sonnet", prefix) if "any" in _choices(m)]
        return able[-1] if able else None
    wanted = "haiku" if entry.get("tier") == "sonnet" else "sonnet"
    of_tier = [(g, m) for g, m in _claude(wanted, prefix) if m != base]
    older = [m for g, m in of_tier if g <= generation]
    newer = [m for g, m in of_tier if g > generation]
    return older[-1] if older else newer[0] if newer else None


def successor_of(base: str | None, prefix: str | None) -> str | None:
    """Return the base model id of the newest active model of the same family and size, or None."""
    entry = shipped_models().get(base or "", {})
    if (named := entry.get("successor")) is not None:
        return str(named)
    family, tier = entry.get("model_family"), entry.get("tier")
    generation = _number(entry.get("generation")) or 0.0
    found = [
        (_number(other.get("generation")) or 0.0, model)
        for model, other in shipped_models().items()
        if tier
        and (other.get("model_family"), other.get("tier")) == (family, tier)
        and other.get("lifecycle") == "active"
        and "converse" in other["served_by"]
        and prefix in other["prefixes"]
        and model != base
    ]
    newest = max(found, default=(0.0, None))
    return newest[1] if newest[0] > generation else None


def newest(tier: str, prefix: str | None) -> str | None:
    """Return the base model id of the newest active Claude of a tier in a geography, or None."""
    found = _claude(tier, prefix)
    return found[-1][1] if found else None


@functools.cache
def _claude(tier: str, prefix: str | None) -> tuple[tuple[float, str], ...]:
    """Return the current Claude models of a tier in a geography, oldest generation first."""
    found = [
        (_number(entry.get("generation")) or 0.0, base)
        for base, entry in shipped_models().items()
        if entry.get("model_family") == "Claude"
        and entry.get("tier") == tier
        and prefix in entry["prefixes"]
        and entry.get("lifecycle") == "active"
        and "converse" in entry["served_by"]
        and "falls_back_to" not in entry
    ]
    return tuple(sorted(found))


def _choices(base: str) -> tuple[str, ...]:
    return tuple(shipped_models()[base].get("tool_choices", ()))


def _number(generation: str | None) -> float | None:
    return None if generation is None else float(generation)
