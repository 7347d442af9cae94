"""Compares the catalog's prices with public price lists."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from langchain_modelmgr.catalog.known import ModelCatalog
from langchain_modelmgr.catalog.lists import FIELDS, aws_price_list, genai_prices, normalised
from langchain_modelmgr.catalog.shipped import shipped_models

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from langchain_modelmgr.catalog.model import ModelConfig


@dataclass(frozen=True, slots=True)
class Disagreement:
    """One difference between the catalog and a public list; prices in USD per 1,000 tokens.

    Attributes:
        model_id: The model id.
        kind: The kind of tokens.
        ours: The catalog's price.
        theirs: The list's price.
        listed_by: The name of the list.
        reason: Why the catalog keeps its price; None if that was not examined yet.
    """

    model_id: str
    kind: str
    ours: Decimal | None
    theirs: Decimal
    listed_by: str
    reason: str | None


def against_genai_prices() -> list[Disagreement]:
    """Return the differences between the catalog and genai-prices.

    Raises:
        ImportError: genai-prices is not installed.
    """
    return [
        found
        for model in _all_forms()
        for found in _differences(model, genai_prices(model.model_id).rates, "genai-prices")
    ]


def against_aws(client: Any, region: str) -> list[Disagreement]:
    """Return the differences between the catalog and the AWS Price List of a region.

    AWS's list has no model ids, so models are found by their display names. Models that are not
    found are skipped.

    Args:
        client: A boto3 client of ``pricing``.
        region: The region to whose prices the catalog's ids without a prefix are compared.
    """
    listed = aws_price_list(client, region)
    return [
        found
        for model in _all_forms()
        if model.name and not _is_geographic(model)
        for found in _differences(
            model,
            listed.get((normalised(model.name), model.model_id.startswith("global.")), {}),
            f"AWS Price List, {region}",
        )
    ]


def _is_geographic(model: ModelConfig) -> bool:
    return model.model_id != model.base_model_id and not model.model_id.startswith("global.")


def _all_forms() -> Iterator[ModelConfig]:
    catalog = ModelCatalog()
    for base, entry in shipped_models().items():
        for prefix in entry["prefixes"]:
            yield catalog.resolve(f"{prefix}.{base}" if prefix else base)


def _differences(
    model: ModelConfig, rates: Mapping[str, Decimal], listed_by: str
) -> Iterator[Disagreement]:
    for kind in FIELDS:
        price = getattr(model.prices, kind)
        ours = None if price is None else Decimal(str(price))
        if kind in rates and rates[kind] != ours:
            reason = model.price_disputed or model.price_unknown
            yield Disagreement(model.model_id, kind, ours, rates[kind], listed_by, reason)
