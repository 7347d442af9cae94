"""Findings about a model's lifecycle on Bedrock: active, legacy, retired or unknown."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, NamedTuple

from langchain_modelmgr.catalog.shipped import read_on, shipped_models
from langchain_modelmgr.runtime.masking import mask_account_ids

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from langchain_modelmgr.catalog import ModelCatalog, ModelConfig

OLD_DAYS = 60
"""Days after which the catalog's age is a warning: prices and lifecycles change in weeks."""


class Findings(NamedTuple):
    """Problems that keep a model from serving, and warnings."""

    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def life_of(
    model: ModelConfig, catalog: ModelCatalog, today: dt.date, is_served: Callable[[], bool]
) -> Findings:
    """Return the findings about a model's lifecycle, with their source and its date.

    Args:
        model: The model.
        catalog: The catalog, for the model's successor.
        today: The date to compare with.
        is_served: Returns whether a retired model is served all the same, as by the local AWS.
    """
    state = model.lifecycle_on(today)
    if state == "retired":
        text = _finding("retired", model.retirement_date and f"on {model.retirement_date}", model)
        text += _successor(model, catalog)
        return Findings(warnings=(text,)) if is_served() else Findings(problems=(text,))
    if state == "legacy":
        text = _finding("legacy:", _end(model.retirement_date, today), model)
        return Findings(warnings=(text + _successor(model, catalog),))
    if state is None and model.base_model_id in shipped_models():
        return Findings(warnings=("its lifecycle is unknown: no list has it",))
    return Findings()


def age_of_catalog(today: dt.date) -> Iterator[str]:
    """Yield a warning if the shipped catalog is old."""
    days = (today - read_on()).days
    if days > OLD_DAYS:
        yield (
            f"the catalog is of {read_on()}, {days} days old: prices and lifecycles may have "
            "changed; a newer langchain-modelmgr has newer ones"
        )


def _end(day: str | None, today: dt.date) -> str:
    if day is None:
        return "its end is announced"
    return f"retires on {day}, in {(dt.date.fromisoformat(day) - today).days} days"


def _finding(state: str, when: str | None, model: ModelConfig) -> str:
    checked = model.lifecycle_checked and f"checked {model.lifecycle_checked}"
    source = ", ".join(filter(None, (model.lifecycle_source, checked)))
    return " ".join(filter(None, (state, when, source and f"({source})")))


def _successor(model: ModelConfig, catalog: ModelCatalog) -> str:
    successor = catalog.successor_of(model.model_id)
    return f"; its successor: {mask_account_ids(successor)}" if successor else ""
