"""ModelCatalog: looks up the facts of a model by any form of its id."""

from __future__ import annotations

import difflib
import logging
from dataclasses import fields
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from langchain_modelmgr.catalog.families import stand_in, successor_of
from langchain_modelmgr.catalog.ids import named_model, price_geography, split_prefix
from langchain_modelmgr.catalog.model import ModelConfig, TokenPrices
from langchain_modelmgr.catalog.shipped import profile_facts, shipped_facts, shipped_models
from langchain_modelmgr.catalog.typos import typo_in
from langchain_modelmgr.runtime.masking import mask_account_ids

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

logger = logging.getLogger(__name__)

_PRICES = tuple(f.name for f in fields(ModelConfig) if f.name.startswith("cost_per_1k_"))
_BATCH_PRICES = ("cost_per_1k_batch_input_tokens", "cost_per_1k_batch_output_tokens")
_OWN_FACT = "models: in the configuration"

_KEPT = 1024
"""Largest number of cached models: each call may pass a different ``model=``."""


_Key = tuple[str, str | None, str | None]
"""A model id, the underlying model if the caller names it, and the geography of its prices."""


class ModelCatalog:
    """The facts of known models, and those that are assumed of unknown ones.

    Args:
        models: Facts by model id that override or extend the shipped ones: fields of
            ``ModelConfig``, and ``price_multiplier``. For an ARN, ``base_model_id`` alone is
            enough.
    """

    def __init__(self, models: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        self._given: Mapping[str, Mapping[str, Any]] = dict(models or {})
        self._found: dict[_Key, ModelConfig] = {}
        self._resolved: dict[str, str] = {}
        self._warned: set[str] = set()

    def __iter__(self) -> Iterator[ModelConfig]:
        for model_id in {**shipped_models(), **self._given}:
            if (model := self.get(model_id)) is not None:
                yield model

    def get(self, model_id: str) -> ModelConfig | None:
        """Return the facts of a model; None if it is not in the catalog."""
        model = self._find(model_id)
        return model if model.in_catalog else None

    def resolve(
        self, model_id: str, base_model: str | None = None, region: str | None = None
    ) -> ModelConfig:
        """Return the facts of a model; for one outside the catalog, those that langchain-aws has.

        An unknown fact is None, and an unknown capability is taken as given. One warning is
        logged per unknown model.

        Args:
            model_id: Model id, inference profile id, or ARN.
            base_model: The foundation model id of an ARN that does not contain it.
            region: The AWS region in which it is called: prices in AWS GovCloud differ.
        """
        model = self._find(model_id, base_model, price_geography(model_id, region))
        # An ARN without a model id is resolved by GetInferenceProfile when it is first called.
        unresolved = model.base_model_id is None
        if not model.in_catalog and not unresolved and model_id not in self._warned:
            if len(self._warned) >= _KEPT:
                self._warned.clear()
            self._warned.add(model_id)
            logger.warning(
                "model %s is not in the catalog%s: its price is unknown, and its capabilities are "
                "assumed unless langchain-aws lists them; describe it under models:",
                mask_account_ids(model_id),
                self.did_you_mean(model_id),
            )
        return model

    def look_up(self, model_id: str, base_model: str | None = None) -> ModelConfig:
        """Return the same facts as ``resolve``, without a warning about an unknown model."""
        return self._find(model_id, base_model)

    def like(self, text: str) -> list[str]:
        """Return the ids that contain a text, else the closest one; a geography prefix is kept."""
        prefix, name = split_prefix(text.strip().lower())
        known = {_spelled(i): i for i in self._plain_ids() if not self._find(i).not_served}
        wanted = _spelled(name)
        found = [spelled for spelled in known if wanted in spelled]
        found = found or difflib.get_close_matches(wanted, known, n=1)
        ids = [known[spelled] for spelled in found]
        return [i if prefix is None or split_prefix(i)[0] else f"{prefix}.{i}" for i in ids]

    def did_you_mean(self, model_id: str) -> str:
        """Return a question with up to three known ids similar to an unknown one, or no text."""
        found = self.like(model_id)[:3]
        return f" (did you mean {' or '.join(found)}?)" if found else ""

    def mistake_in(self, model_id: str, base_model: str | None = None) -> str | None:
        """Return why a model id can't serve any call; None if it may.

        The reason is a typo, or that the Converse API does not serve the model.

        Args:
            model_id: Model id, inference profile id, or ARN.
            base_model: The foundation model id of an ARN that does not contain it.
        """
        named = base_model or named_model(model_id)
        model = self._find(model_id, base_model)
        if named and not model.in_catalog and not profile_facts(named):
            wrong = typo_in(named, self._plain_ids())
            return wrong and f"{wrong} (describe a new model under models:)"
        return model.not_served and f"{model.not_served}{self._served_form_of(model)}"

    def _served_form_of(self, model: ModelConfig) -> str:
        """Return a question with the id under which Converse serves a model, or no text."""
        base = model.base_model_id or ""
        longer = (i for i in self._plain_ids() if i.startswith(f"{base}-"))
        found = next((i for i in longer if not self._find(i).not_served), None)
        return f"; did you mean {found!r}?" if found else ""

    def learn(self, arn: str, model_id: str) -> None:
        """Store the model id that an ARN was resolved to, including its geography prefix."""
        self._resolved[arn] = model_id
        evicted = list(self._resolved)[: max(0, len(self._resolved) - _KEPT)]
        for changed in (arn, *evicted):
            if changed != arn:
                self._resolved.pop(changed, None)
            for key in [key for key in list(self._found) if key[0] == changed]:
                self._found.pop(key, None)

    def fallback_for(self, model_id: str) -> str | None:
        """Return a model's fallback by the guide's family rule, in the model's own geography.

        Sonnet falls back to Haiku; Opus, Haiku, Titan, Llama and all others to Sonnet. A model
        that is not in the catalog has no fallback (None).
        """
        model = self._find(model_id)
        if not model.in_catalog or model.base_model_id is None:
            return None
        prefix = model.geography
        fallback = model.falls_back_to or stand_in(model.base_model_id, prefix)
        if fallback is None or fallback == model.base_model_id:
            return None
        return f"{prefix}.{fallback}" if prefix else fallback

    def successor_of(self, model_id: str) -> str | None:
        """Return the id of the model that replaces a model, in its geography; None if unknown."""
        name, model = named_model(model_id), self._find(model_id)
        prefix, _ = split_prefix(name or "")
        base = model.successor or successor_of(model.base_model_id, prefix)
        return f"{prefix}.{base}" if base and prefix else base

    def _plain_ids(self) -> list[str]:
        """Return the known ids without ARNs, which may contain account ids."""
        return [i for i in {**shipped_models(), **self._given} if not i.startswith("arn:")]

    def _find(
        self, model_id: str, base_model: str | None = None, geography: str | None = None
    ) -> ModelConfig:
        key = (model_id, base_model, geography or price_geography(model_id))
        model = self._found.get(key)
        if model is None:
            resolved = self._resolved.get(model_id)
            model = self._found[key] = self._assemble(*key)
            # There is no lock, which could not be copied: an entry that another thread's `learn`
            # made stale is removed here.
            if self._resolved.get(model_id) != resolved:
                self._found.pop(key, None)
            for oldest in list(self._found)[: max(0, len(self._found) - _KEPT)]:
                self._found.pop(oldest, None)
        return model

    def _assemble(
        self, model_id: str, base_model: str | None, geography: str | None
    ) -> ModelConfig:
        own = dict(self._given.get(model_id, {}))
        given_id = own.get("base_model_id") or base_model or named_model(model_id)
        named = given_id or self._resolved.get(model_id)
        prefix, base = split_prefix(named) if named else (None, None)
        shipped = shipped_facts(prefix or geography, base) if base else {}
        given = {**self._given.get(base or "", {}), **own}
        listed = shipped or (profile_facts(named) if named else {})
        facts = {**listed, **_priced_by_owner(given, listed), **_lifecycle_of_owner(given)}
        provider = facts.get("provider") or (base.partition(".")[0] if base else None)
        unknown = {f.name: None for f in fields(ModelConfig)[:8]}
        return ModelConfig(
            **{
                **unknown,
                "model_family": provider or "unknown",
                **facts,
                "model_id": model_id,
                "provider": provider,
                "base_model_id": base,
                "geography": prefix,
                "in_catalog": bool(shipped or given),
            }
        )


def _spelled(name: str) -> str:
    """Return a name with ``-`` for dots, spaces and underscores: "sonnet 4.5" is "sonnet-4-5"."""
    return name.replace(".", "-").replace(" ", "-").replace("_", "-")


def _priced_by_owner(given: Mapping[str, Any], listed: Mapping[str, Any]) -> dict[str, Any]:
    """Return the configured facts; configured prices and a multiplier replace the shipped prices.

    With configured prices, the prices of service tiers are unknown.
    """
    facts = {name: fact for name, fact in given.items() if name != "price_multiplier"}
    own = [n for n in _PRICES if n not in _BATCH_PRICES and facts.get(n) is not None]
    factor = given.get("price_multiplier")
    if own:
        facts["service_tiers"] = {}
    if factor is not None:
        merged = {**listed, **facts}
        facts |= {n: _times(merged.get(n), factor) for n in _PRICES}
        facts["service_tiers"] = {
            tier: TokenPrices(*(_times(getattr(rates, f.name), factor) for f in fields(rates)))
            for tier, rates in merged.get("service_tiers", {}).items()
        }
    if own or factor is not None:
        facts |= {"price_source": _OWN_FACT, "price_date": None}
        facts |= {"price_disputed": None, "price_unknown": None}
    return facts


def _lifecycle_of_owner(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the configured lifecycle of a model, which replaces the shipped one completely."""
    named = {name: given.get(name) for name in ("lifecycle", "retirement_date")}
    if not any(named.values()):
        return {}
    return {**named, "lifecycle_source": _OWN_FACT, "lifecycle_checked": None}


def _times(price: float | None, factor: float) -> float | None:
    return None if price is None else float(Decimal(str(price)) * Decimal(str(factor)))
