"""The AWS Price List over HTTP: GetProducts, with the offers that a test adds."""

from __future__ import annotations

import json
from typing import Any

PRICE_LIST = "AWSPriceListService"


class PriceList:
    """Offers, as GetProducts returns them."""

    def __init__(self) -> None:
        self._offers: list[tuple[str, dict[str, str], str]] = []

    def offer(self, service_code: str, usd: str, unit: str, **attributes: str) -> None:
        """Add an on-demand offer.

        Args:
            service_code: ``AmazonBedrock`` or ``AmazonBedrockFoundationModels``.
            usd: USD per unit, as the list writes it.
            unit: ``1K tokens``, ``1M tokens`` or ``Units``.
            **attributes: The product's attributes.
        """
        term = {
            "product": {"attributes": attributes},
            "terms": {
                "OnDemand": {
                    "term": {
                        "priceDimensions": {"dim": {"unit": unit, "pricePerUnit": {"USD": usd}}}
                    }
                }
            },
        }
        self._offers.append((service_code, attributes, json.dumps(term)))

    def products(self, body: bytes) -> dict[str, Any]:
        """Answer one GetProducts request."""
        request = json.loads(body)
        wanted = {f["Field"]: f["Value"] for f in request.get("Filters", ())}
        found = [
            text
            for code, attributes, text in self._offers
            if code == request["ServiceCode"] and wanted.items() <= attributes.items()
        ]
        return {"FormatVersion": "aws_v1", "PriceList": found}
