"""Reads the shipped facts of models, and the model profiles of langchain-aws."""

from __future__ import annotations

import functools
import importlib.util
import json
from datetime import date
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langchain_modelmgr.catalog.ids import split_prefix
from langchain_modelmgr.catalog.model import LongContext, TokenPrices

if TYPE_CHECKING:
    from collections.abc import Mapping

_PRICE_FIELDS = ("input", "output", "cache_read", "cache_write_5m", "cache_write_1h")


_OTHER_FLAGS = frozenset(
    {
        "claude-code-20250219",
        "effort-2025-11-24",
        "tool-examples-2025-10-29",
        "tool-search-tool-2025-10-19",
    }
)
"""Flags that are in AWS's table or in the reports below, but in no model's list, because the lists
of the models that accept them are incomplete. Source: BerriAI/litellm#19877,
anthropics/claude-code#49370 and #49648, read 2026-11-26."""


@functools.cache
def shipped() -> Mapping[str, Any]:
    """Return the contents of ``data/models.json``: ``sources``, and ``models`` by base model id."""
    text = resources.files("langchain_modelmgr").joinpath("data/models.json").read_text("utf-8")
    catalog: dict[str, Any] = json.loads(text)
    return catalog


def shipped_models() -> Mapping[str, Mapping[str, Any]]:
    """Return the shipped facts by base model id, as they are in the file."""
    models: Mapping[str, Mapping[str, Any]] = shipped()["models"]
    return models


@functools.cache
def known_request_fields() -> frozenset[str]:
    """Return the fields of ``additionalModelRequestFields`` that some model is known to accept."""
    return frozenset(
        name for model in shipped_models().values() for name in model.get("request_fields", ())
    )


@functools.cache
def known_beta_flags() -> tuple[str, ...]:
    """Return the flags of ``anthropic_beta`` that some model is known to accept or to reject."""
    flags = (f for model in shipped_models().values() for f in model.get("beta_flags", ()))
    return tuple(sorted(_OTHER_FLAGS.union(flags)))


def shipped_facts(prefix: str | None, base: str) -> dict[str, Any]:
    """Return the shipped facts of a model as fields of ``ModelConfig``; empty if there are none."""
    entry = shipped_models().get(base)
    if entry is None:
        return {}
    facts = {
        name: tuple(fact) if isinstance(fact, list) else fact
        for name, fact in entry.items()
        if name not in ("prices", "prefixes", "sources")
    }
    return facts | _lifecycle_source(entry) | _price_facts(_price(entry, prefix))


def read_on() -> date:
    """Return the day on which the sources of the shipped file were read."""
    return date.fromisoformat(shipped()["read_on"])


def _lifecycle_source(entry: Mapping[str, Any]) -> dict[str, Any]:
    name = entry["sources"].get("lifecycle")
    source = shipped()["sources"].get(name, {})
    return {"lifecycle_source": source.get("what"), "lifecycle_checked": source.get("date")}


def _price(entry: Mapping[str, Any], prefix: str | None) -> Mapping[str, Any]:
    """Return the prices for a geography prefix; None means in-region."""
    by_class: Mapping[str, Mapping[str, Any]] = entry["prices"]
    if prefix == "global":
        return by_class.get("global") or {"unknown": "no public list has a price for its global id"}
    special = by_class.get("in-region" if prefix is None else prefix)
    if special is not None:
        return special
    differs = by_class.keys() - {"regional", "global", "in-region", "us-gov"}
    if prefix == "us-gov" or (prefix and prefix not in entry["prefixes"] and differs):
        return {"unknown": "prices differ by geography, and no public list has this one"}
    return by_class.get("regional") or {"unknown": "no public list has a price"}


def _price_facts(price: Mapping[str, Any]) -> dict[str, Any]:
    if "unknown" in price:
        return {"price_unknown": price["unknown"]}
    facts: dict[str, Any] = {f"cost_per_1k_{n}_tokens": price.get(n) for n in _PRICE_FIELDS}
    if long := price.get("long_context"):
        facts["long_context"] = LongContext(**long)
    if tiers := price.get("service_tiers"):
        facts["service_tiers"] = {name: TokenPrices(**rates) for name, rates in tiers.items()}
    sources = shipped()["sources"]
    named = [sources[source] for source in price["source"].split(", ")]
    facts["price_source"] = " and ".join(source["what"] for source in named)
    facts["price_date"] = max(source["date"] for source in named)
    facts["price_disputed"] = price.get("disputed")
    return facts


def profile_facts(model_id: str) -> dict[str, Any]:
    """Return the facts in langchain-aws's model profiles, for a model newer than our file."""
    profiles = installed_profiles()
    profile = profiles.get(model_id) or profiles.get(split_prefix(model_id)[1]) or {}
    facts = {
        "max_tokens": profile.get("max_output_tokens"),
        "context_window": profile.get("max_input_tokens"),
        "supports_tools": profile.get("tool_calling"),
        "supports_images": profile.get("image_inputs"),
        "supports_documents": profile.get("pdf_inputs"),
        "supports_video": profile.get("video_inputs"),
        "supports_audio": profile.get("audio_inputs"),
        "supports_structured_output": profile.get("structured_output"),
        "supports_reasoning": profile.get("reasoning_output"),
    }
    return {name: fact for name, fact in facts.items() if fact is not None}


@functools.cache
def installed_profiles() -> Mapping[str, Mapping[str, Any]]:
    """Load langchain-aws's model profiles directly from their file.

    Importing the package would take 0.8 s and patch boto3 (langchain-aws 1.9.1).
    """
    package = importlib.util.find_spec("langchain_aws")
    folders = package.submodule_search_locations if package else None
    path = Path(folders[0], "data", "_profiles.py") if folders else None
    if path is None or not path.is_file():
        return {}
    spec = importlib.util.spec_from_file_location("_modelmgr_langchain_aws_profiles", path)
    if spec is None or spec.loader is None:
        return {}
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    profiles: Mapping[str, Mapping[str, Any]] = getattr(module, "_PROFILES", {})
    return profiles
