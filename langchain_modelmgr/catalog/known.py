"""ModelCatalog: finds what is known of a model, by any form of its id."""

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
_OWN_FACT = "models: in the configuration"

_KEPT = 1024
"""Models whose facts are kept: a call's own ``model=`` can be a new one each time."""


_Key = tuple[str, str | None, str | None]
"""A model id, the model behind it where the caller names it, and where AWS bills it."""


class ModelCatalog:
    """The models that are known, and what is assumed of others.

    Args:
        models: Facts by model id, over those that the package ships: changed or new ones, with
            the fields of ``ModelConfig``, and ``price_multiplier``. ``base_model_id`` alone
            makes an ARN a known model.
    """

    def __init__(self, models: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        self._given: Mapping[str, Mapping[str, Any]] = dict(models or {})
        self._found: dict[_Key, ModelConfig] = {}
        self._behind: dict[str, str] = {}
        self._warned: set[str] = set()

    def __iter__(self) -> Iterator[ModelConfig]:
        for model_id in {**shipped_models(), **self._given}:
            if (model := self.get(model_id)) is not None:
                yield model

    def get(self, model_id: str) -> ModelConfig | None:
        """Return what is known of a model; None if it is not in the catalog."""
        model = self._find(model_id)
        return model if model.in_catalog else None

    def resolve(
        self, model_id: str, base_model: str | None = None, region: str | None = None
    ) -> ModelConfig:
        """Return what is known of a model; of one outside the catalog, what langchain-aws knows.

        A fact that nobody knows is None, and allowed. One warning is logged per unknown model.

        Args:
            model_id: Model id, inference profile id, or ARN.
            base_model: The model id behind an ARN that does not name it.
            region: The AWS region it is called in: AWS GovCloud has prices of its own.
        """
        model = self._find(model_id, base_model, price_geography(model_id, region))
        hidden = model.base_model_id is None  # an ARN: GetInferenceProfile is asked when it is used
        if not model.in_catalog and not hidden and model_id not in self._warned:
            if len(self._warned) >= _KEPT:
                self._warned.clear()
            self._warned.add(model_id)
            logger.warning(
                "model %s is not in the catalog%s: its price is unknown, and capabilities that "
                "langchain-aws does not know are taken as given; describe it under models:",
                mask_account_ids(model_id),
                self.did_you_mean(model_id),
            )
        return model

    def look_up(self, model_id: str, base_model: str | None = None) -> ModelConfig:
        """Return what ``resolve`` does, without a warning about an unknown model."""
        return self._find(model_id, base_model)

    def like(self, text: str) -> list[str]:
        """Return the ids that hold a text, with its geography, else the one nearest to it."""
        prefix, name = split_prefix(text.strip().lower())
        known = {_spelled(i): i for i in self._plain_ids() if not self._find(i).not_served}
        wanted = _spelled(name)
        found = [spelled for spelled in known if wanted in spelled]
        found = found or difflib.get_close_matches(wanted, known, n=1)
        ids = [known[spelled] for spelled in found]
        return [i if prefix is None or split_prefix(i)[0] else f"{prefix}.{i}" for i in ids]

    def did_you_mean(self, model_id: str) -> str:
        """Return up to three known ids that an unknown one may stand for, as a question."""
        found = self.like(model_id)[:3]
        return f" (did you mean {' or '.join(found)}?)" if found else ""

    def mistake_in(self, model_id: str, base_model: str | None = None) -> str | None:
        """Return why a model id can't serve a call, whatever it is asked; None if it may.

        It is a typo, or a model that the Converse API does not serve.

        Args:
            model_id: Model id, inference profile id, or ARN.
            base_model: The model id behind an ARN that does not name it.
        """
        named = base_model or named_model(model_id)
        model = self._find(model_id, base_model)
        if named and not model.in_catalog and not profile_facts(named):
            wrong = typo_in(named, self._plain_ids())
            return wrong and f"{wrong} (a model that is new is described under models:)"
        return model.not_served and f"{model.not_served}{self._served_form_of(model)}"

    def _served_form_of(self, model: ModelConfig) -> str:
        """Return the id by which Converse serves a model, as a question."""
        base = model.base_model_id or ""
        longer = (i for i in self._plain_ids() if i.startswith(f"{base}-"))
        found = next((i for i in longer if not self._find(i).not_served), None)
        return f"; did you mean {found!r}?" if found else ""

    def learn(self, arn: str, model_id: str) -> None:
        """Take what an ARN was found to stand for: ``model_id``, its geography included."""
        self._behind[arn] = model_id
        forgotten = list(self._behind)[: max(0, len(self._behind) - _KEPT)]
        for changed in (arn, *forgotten):
            if changed != arn:
                self._behind.pop(changed, None)
            for key in [key for key in list(self._found) if key[0] == changed]:
                self._found.pop(key, None)

    def fallback_for(self, model_id: str) -> str | None:
        """Return the one fallback of the guide's family rule, in the primary's own geography.

        Sonnet falls to Haiku; Opus, Haiku, Titan, Llama and all others fall to Sonnet. None for
        a model that is not in the catalog: nobody knows what could stand in for it.
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
        """Return the id of what a model's maker offers in its place today, in its geography."""
        name, model = named_model(model_id), self._find(model_id)
        prefix, _ = split_prefix(name or "")
        base = model.successor or successor_of(model.base_model_id, prefix)
        return f"{prefix}.{base}" if base and prefix else base

    def _plain_ids(self) -> list[str]:
        """Return the known ids without ARNs, which may hold account ids."""
        return [i for i in {**shipped_models(), **self._given} if not i.startswith("arn:")]

    def _find(
        self, model_id: str, base_model: str | None = None, geography: str | None = None
    ) -> ModelConfig:
        key = (model_id, base_model, geography or price_geography(model_id))
        model = self._found.get(key)
        if model is None:
            behind = self._behind.get(model_id)
            model = self._found[key] = self._assemble(*key)
            # Without a lock, which could not be copied: whoever comes last takes out what is old.
            if self._behind.get(model_id) != behind:
                self._found.pop(key, None)
            for oldest in list(self._found)[: max(0, len(self._found) - _KEPT)]:
                self._found.pop(oldest, None)
        return model

    def _assemble(
        self, model_id: str, base_model: str | None, geography: str | None
    ) -> ModelConfig:
        own = dict(self._given.get(model_id, {}))
        told = own.get("base_model_id") or base_model or named_model(model_id)
        named = told or self._behind.get(model_id)
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
    """Return an id without the signs that people mix up: "Sonnet 4.5" is "sonnet-4-5"."""
    return name.replace(".", "-").replace(" ", "-").replace("_", "-")


def _priced_by_owner(given: Mapping[str, Any], listed: Mapping[str, Any]) -> dict[str, Any]:
    """Return the owner's facts; own prices and a multiplier take the place of the list's.

    The list's service tiers say nothing of a price that was agreed on: they are unknown then.
    """
    facts = {name: fact for name, fact in given.items() if name != "price_multiplier"}
    own = [name for name in _PRICES if facts.get(name) is not None]
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
    """Return what the owner says of a model's life: all of it takes the place of the list's."""
    named = {name: given.get(name) for name in ("lifecycle", "retirement_date")}
    if not any(named.values()):
        return {}
    return {**named, "lifecycle_source": _OWN_FACT, "lifecycle_checked": None}


def _times(price: float | None, factor: float) -> float | None:
    return None if price is None else float(Decimal(str(price)) * Decimal(str(factor)))
