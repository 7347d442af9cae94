"""Public price lists, read alike: genai-prices, and with credentials the AWS Price List."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

FIELDS = ("input", "output", "cache_read", "cache_write_5m", "cache_write_1h")
"""The kinds of tokens that have a price; ``TokenPrices`` has the same names."""

_GENAI = {
    "input": "input_mtok",
    "output": "output_mtok",
    "cache_read": "cache_read_mtok",
    "cache_write_5m": "cache_write_mtok",
    "cache_write_1h": "cache_write_1h_mtok",
}

_USAGE_TYPES = (
    ("cache_write_1h", re.compile(r"cache.?write.*(1h|one.?hour)", re.IGNORECASE)),
    ("cache_write_5m", re.compile(r"cache.?write", re.IGNORECASE)),
    ("cache_read", re.compile(r"cache.?read", re.IGNORECASE)),
    ("input", re.compile(r"input.?token", re.IGNORECASE)),
    ("output", re.compile(r"output.?token", re.IGNORECASE)),
)
_OTHER_TIERS = re.compile(
    r"batch|flex|priority|latency|provisioned|reserved|custom|long.?context|_lctx|audio|image|video"
    r"|speech|grounding",
    re.IGNORECASE,
)
"""Usage types that are not the plain price of text."""

_PER_UNIT = {"1k tokens": Decimal(1), "1m tokens": Decimal("0.001"), "units": Decimal("0.001")}
"""Units -> factor to USD per 1,000 tokens; Marketplace's "Units" are millions of tokens."""

_SERVICES = ("AmazonBedrock", "AmazonBedrockFoundationModels")
"""AWS's own and openly licensed models; those sold through Marketplace."""


@dataclass(frozen=True, slots=True)
class Listed:
    """The prices of one model id in a public list.

    Attributes:
        rates: USD per 1,000 tokens by kind.
        entry: The list's name of the entry.
        long_context: The fields of ``LongContext``; None if there is no such tier.
    """

    rates: Mapping[str, Decimal]
    entry: str = ""
    long_context: Mapping[str, Any] | None = field(default=None)


def genai_prices(model_id: str, at: datetime | None = None) -> Listed:
    """Return the prices of a model id in genai-prices; no rates if it is not listed.

    Args:
        model_id: A Bedrock model id.
        at: The time at which the prices are valid; None means now.

    Raises:
        ImportError: genai-prices is not installed: ``pip install genai-prices``.
        ValueError: An entry has a shape that this code can't read.
    """
    from genai_prices.data_snapshot import get_snapshot

    aws = next(p for p in get_snapshot().providers if p.id == "aws")
    if (model := aws.find_model(model_id)) is None:
        return Listed({})
    prices = model.get_prices(at or datetime.now(UTC))
    given = {name: getattr(prices, key, None) for name, key in _GENAI.items()}
    rates = {
        name: Decimal(str(getattr(price, "base", price))) / 1000
        for name, price in given.items()
        if price is not None
    }
    return Listed(rates, model.id, _long_context(given))


def _long_context(given: Mapping[str, Any]) -> dict[str, Any] | None:
    tiered = {name: price for name, price in given.items() if getattr(price, "tiers", None)}
    if not tiered:
        return None
    ratios = {n: round(p.tiers[0].price / p.base, 6) for n, p in tiered.items()}
    inputs = {ratio for name, ratio in ratios.items() if name != "output"}
    if len(inputs) != 1 or any(len(price.tiers) > 1 for price in tiered.values()):
        raise ValueError(f"genai-prices has a long-context tier in an unknown shape: {given}")
    return {
        "above": tiered["input"].tiers[0].start,
        "input_multiplier": float(inputs.pop()),
        "output_multiplier": float(ratios["output"]),
    }


def aws_price_list(client: Any, region: str) -> dict[tuple[str, bool], dict[str, Decimal]]:
    """Return AWS's own prices in a region: (normalised name, is global) -> rates.

    Args:
        client: A boto3 client of ``pricing``, available in us-east-1, eu-central-1, ap-south-1.
        region: The region.

    Raises:
        botocore.exceptions.ClientError: AWS refused the request, for example because
            ``pricing:GetProducts`` is not allowed.
    """
    found: dict[tuple[str, bool], dict[str, Decimal]] = {}
    for service in _SERVICES:
        pages = client.get_paginator("get_products").paginate(
            ServiceCode=service,
            Filters=[{"Type": "TERM_MATCH", "Field": "regionCode", "Value": region}],
        )
        for page in pages:
            for text in page["PriceList"]:
                _take(found, json.loads(text))
    return found


def _take(found: dict[tuple[str, bool], dict[str, Decimal]], offer: dict[str, Any]) -> None:
    attributes = offer["product"]["attributes"]
    usage = f"{attributes.get('usagetype', '')} {attributes.get('inferenceType', '')}"
    name = attributes.get("model") or attributes.get("titanModel") or attributes.get("servicename")
    tier = attributes.get("service_tier", "standard")
    if not name or tier != "standard" or _OTHER_TIERS.search(usage):
        return
    kind = next((kind for kind, pattern in _USAGE_TYPES if pattern.search(usage)), None)
    price = next(_prices(offer), None)
    if kind and price is not None:
        found.setdefault((normalised(name), "global" in usage.lower()), {})[kind] = price


def _prices(offer: dict[str, Any]) -> Iterator[Decimal]:
    for term in offer.get("terms", {}).get("OnDemand", {}).values():
        for dimension in term["priceDimensions"].values():
            factor = _PER_UNIT.get(dimension["unit"].lower())
            usd = Decimal(dimension["pricePerUnit"].get("USD", "0"))
            if factor is not None and usd:
                yield (usd * factor).normalize()


def normalised(name: str) -> str:
    """Return a model's display name in a form that is equal in all lists.

    >>> normalised("Claude Sonnet 4.5 (Amazon Bedrock Edition)")
    'claude sonnet 4.5'
    """
    bare = re.sub(r"\(.*?\)|\binstruct\b", " ", name.lower())
    return " ".join(re.sub(r"[^a-z0-9.]+", " ", bare).split())
