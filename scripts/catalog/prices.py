"""Chooses a price for every region class of a model from two public lists that differ.

The rules, first to last:

1. The design guide's figures stay as they are; where the lists say otherwise they are disputed.
2. Both lists agree: that price.
3. One list knows a price: that price.
4. They differ on a bare id: the one that tells region classes apart wins. AWS bills in-region and
   geographic requests of newer models 10 % above global ones; LiteLLM prices bare ids as global.
5. They differ on a geographic id: LiteLLM, where genai-prices has one price for all geographies.
6. AWS GovCloud: LiteLLM, from the id with us-gov., else from its region us-gov-west-1.

A price that was chosen against another list is disputed, and says why.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from langchain_modelmgr.catalog.lists import FIELDS, Listed, genai_prices

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

COMMERCIAL = ("eu", "apac", "jp", "au", "ca", "in")
"""Geographies beside the US. GovCloud is a separate partition: its prices do not apply to these."""

Rates = dict[str, Decimal]

_LITELLM = {
    "input": "input_cost_per_token",
    "output": "output_cost_per_token",
    "cache_read": "cache_read_input_token_cost",
    "cache_write_5m": "cache_creation_input_token_cost",
    "cache_write_1h": "cache_creation_input_token_cost_above_1hr",
}
_AS_GLOBAL = "LiteLLM prices the bare id at the global rate; AWS bills in-region requests 10 % more"
_ONE_FOR_ALL = "genai-prices has one price for all geographies; LiteLLM tells them apart"
_ONE_ONLY = (
    "genai-prices has one price for all geographies; LiteLLM tells them apart, and lacks this one"
)
_GOV_DIFFERS = "LiteLLM's prices of us-gov-west-1 and us-gov-east-1 differ; this is the former"
_GOV_REGIONS = ("us-gov-west-1", "us-gov-east-1")
MANTLE = "bedrock_mantle/"
"""Prefix of LiteLLM's ids of models that the endpoint bedrock-mantle serves."""
_MANTLE_APIS = {"chat": ["chat_completions", "responses"], "responses": ["responses"]}
"""LiteLLM's mode of such an id -> the APIs that serve it."""
_LONG = "only LiteLLM has a price for long contexts"


class Lists:
    """The two lists, each by model id.

    Args:
        litellm: LiteLLM's entries.
        read_on: The day at which prices of genai-prices are read.
    """

    def __init__(self, litellm: Mapping[str, Mapping[str, Any]], read_on: date) -> None:
        self._litellm = litellm
        self._at = datetime.combine(read_on, time(12), UTC)

    def litellm_of(self, base: str, prefixes: Iterable[str | None]) -> dict[str, Any]:
        """Return LiteLLM's entry of a model, under any form of its id."""
        forms = [*_forms(base, prefixes), MANTLE + base]
        return dict(next((self._litellm[form] for form in forms if form in self._litellm), {}))

    def other_apis(self, base: str, prefixes: Iterable[str | None]) -> list[str] | None:
        """Return the APIs of a model that only bedrock-mantle serves; None for all others."""
        entry = self._litellm.get(MANTLE + base)
        if entry is None or any(form in self._litellm for form in _forms(base, prefixes)):
            return None
        return _MANTLE_APIS[entry["mode"]]

    def gov(self, base: str) -> dict[str, Any] | None:
        """Return the price of a model in AWS GovCloud."""
        west, east = (f"{region}/{base}" for region in _GOV_REGIONS)
        known = [form for form in (f"us-gov.{base}", west, east) if self.litellm(form)[0]]
        if not known:
            return None
        rates, long, tiers = self.litellm(known[0])
        price = _price(rates, "litellm", long, tiers)
        listed = self.genai(f"us-gov.{base}").rates
        if any(listed[name] != rates[name] for name in listed.keys() & rates.keys()):
            price["disputed"] = _ONE_FOR_ALL
        if {west, east} <= set(known) and self.litellm(west)[0] != self.litellm(east)[0]:
            price["disputed"] = _GOV_DIFFERS
        return price

    def litellm(self, model_id: str) -> tuple[Rates, dict[str, Any] | None, dict[str, Rates]]:
        """Return LiteLLM's rates, long-context tier and service tiers of an id."""
        entry = self._litellm.get(model_id) or self._litellm.get(MANTLE + model_id, {})
        rates = _rates(entry, _LITELLM)
        tiers = {
            tier: _rates(entry, {f: f"{key}_{tier}" for f, key in _LITELLM.items()})
            for tier in ("priority", "flex")
        }
        return rates, _long_of_litellm(entry, rates), {t: r for t, r in tiers.items() if r}

    def genai(self, model_id: str) -> Listed:
        """Return the prices of an id in genai-prices."""
        return genai_prices(model_id, self._at)


def _forms(base: str, prefixes: Iterable[str | None]) -> list[str]:
    return [base, *(f"{prefix}.{base}" for prefix in prefixes if prefix)]


def prices_of(
    base: str, prefixes: list[str | None], lists: Lists, own: Mapping[str, tuple[Any, str]]
) -> dict[str, Any]:
    """Return the prices of a model by region class.

    Args:
        base: The base model id.
        prefixes: The prefixes that it is known with; None is the bare id.
        lists: The public lists.
        own: The overlay's prices: ``cost_per_1k_input_tokens`` -> value and source.

    Returns:
        ``regional`` for in-region and geographic ids, ``global``, and single geographies where
        they differ from ``regional``; only the classes that are known.
    """
    by_class = {"regional": _own(base, lists, own)} if own else _listed(base, prefixes, lists)
    by_class.pop("us-gov", None)
    gov = lists.gov(base)
    return {**by_class, "us-gov": gov} if gov and by_class else by_class


def _listed(base: str, prefixes: list[str | None], lists: Lists) -> dict[str, Any]:
    chosen = {prefix: _choose(base, prefix, prefixes, lists) for prefix in prefixes}
    priced = {prefix: price for prefix, price in chosen.items() if price}
    by_class: dict[str, Any] = {}
    if (everywhere := priced.pop("global", None)) is not None:
        by_class["global"] = everywhere
    regional = priced.get("us") or priced.get(None) or next(iter(priced.values()), None)
    if regional is None:
        return by_class
    by_class = {"regional": regional, **by_class}
    differ = any(p in COMMERCIAL and _rates_of(priced[p]) != _rates_of(regional) for p in priced)
    for prefix, price in priced.items():
        name = prefix or "in-region"
        if prefix in COMMERCIAL and differ and price["source"] == "genai-prices":
            by_class[name] = {**price, "disputed": _ONE_ONLY}
        elif _rates_of(price) != _rates_of(regional):
            by_class[name] = price
        elif price.get("disputed") != regional.get("disputed"):
            by_class[name] = {**regional, "source": price["source"]}
            if "disputed" in price:
                by_class[name]["disputed"] = price["disputed"]
    return by_class


def _choose(
    base: str, prefix: str | None, prefixes: list[str | None], lists: Lists
) -> dict[str, Any] | None:
    model_id = f"{prefix}.{base}" if prefix else base
    genai = lists.genai(model_id)
    ours, long_ours, entry = dict(genai.rates), genai.long_context, genai.entry
    theirs, long_theirs, tiers = lists.litellm(model_id)
    if prefix == "global" and not entry.startswith("global."):
        ours, long_ours = {}, None
    if prefix is None and not ours and "us" in prefixes and _is_global(base, theirs, lists):
        return _noted(_choose(base, "us", prefixes, lists), _AS_GLOBAL)
    in_region = prefix is None and entry.startswith("regional.")
    rates, source, reasons = _settle(ours, theirs, in_region=in_region)
    if not rates:
        return None
    if in_region and reasons:
        tiers = {}
    if (long := long_ours or long_theirs) and not long_ours and ours:
        reasons.append(_LONG)
    price = _price(rates, source, long, tiers)
    if reasons:
        price["disputed"] = "; ".join(reasons)
    return price


def _price(
    rates: Rates, source: str, long: Mapping[str, Any] | None, tiers: Mapping[str, Rates]
) -> dict[str, Any]:
    """Return a price in the form of the catalog."""
    price: dict[str, Any] = {name: float(rates[name]) for name in FIELDS if name in rates}
    if long:
        price["long_context"] = long
    if tiers:
        price["service_tiers"] = {t: {n: float(x) for n, x in r.items()} for t, r in tiers.items()}
    return {**price, "source": source}


def _settle(ours: Rates, theirs: Rates, *, in_region: bool) -> tuple[Rates, str, list[str]]:
    """Return the chosen rates, their lists, and why they are disputed."""
    if not (ours and theirs):
        return (ours, "genai-prices", []) if ours else (theirs, "litellm", [])
    if all(ours[name] == theirs[name] for name in ours.keys() & theirs.keys()):
        return {**theirs, **ours}, "genai-prices, litellm", []
    if in_region:
        return ours, "genai-prices", [_AS_GLOBAL]
    return theirs, "litellm", [_ONE_FOR_ALL]


def _is_global(base: str, rates: Rates, lists: Lists) -> bool:
    everywhere, _, _ = lists.litellm(f"global.{base}")
    return bool(rates) and rates.get("input") == everywhere.get("input")


def _noted(price: dict[str, Any] | None, reason: str) -> dict[str, Any] | None:
    return None if price is None else {**price, "disputed": reason}


def _own(base: str, lists: Lists, own: Mapping[str, tuple[Any, str]]) -> dict[str, Any]:
    """Return the guide's prices, completed by the lists' prices for the cache."""
    names = {f"cost_per_1k_{name}_tokens": name for name in FIELDS}
    given = {names[key]: value for key, (value, _) in own.items()}
    listed = lists.genai(base).rates or lists.litellm(base)[0]
    price: dict[str, Any] = {
        name: given.get(name, float(listed[name]) if name in listed else None) for name in FIELDS
    }
    price = {name: value for name, value in price.items() if value is not None}
    price["source"] = "guide"
    differing = [
        f"{name} {listed[name].normalize()}"
        for name in FIELDS
        if name in given and name in listed and Decimal(str(given[name])) != listed[name]
    ]
    if differing:
        price["disputed"] = f"the design guide's price; the public lists say {', '.join(differing)}"
    return price


def _rates_of(price: Mapping[str, Any]) -> dict[str, Any]:
    return {name: price[name] for name in FIELDS if name in price}


def _rates(entry: Mapping[str, Any], keys: Mapping[str, str]) -> Rates:
    """Return USD per 1,000 tokens, as exact as the list's digits."""
    return {
        name: (Decimal(repr(entry[key])) * 1000).normalize()
        for name, key in keys.items()
        if entry.get(key)
    }


def _long_of_litellm(entry: Mapping[str, Any], rates: Rates) -> dict[str, Any] | None:
    for key, value in entry.items():
        if key.startswith("input_cost_per_token_above_") and value:
            above = key.removeprefix("input_cost_per_token_above_").removesuffix("k_tokens")
            output = entry[f"output_cost_per_token_above_{above}k_tokens"]
            return {
                "above": int(above) * 1000,
                "input_multiplier": _ratio(Decimal(repr(value)) * 1000, rates["input"]),
                "output_multiplier": _ratio(Decimal(repr(output)) * 1000, rates["output"]),
            }
    return None


def _ratio(price: Decimal, base: Decimal) -> float:
    return float(round(Decimal(str(price)) / Decimal(str(base)), 6))
