"""AWS's limits on one datum of PutMetricData.

Source: AWS's API references of PutMetricData, MetricDatum, Dimension, StatisticSet (2026-11-23).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from langchain_modelmgr.local.statistics import Datum

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_VALUES = 150
MAX_DIMENSIONS = 30
MAX_DIMENSION_NAME = 255
MAX_DIMENSION_VALUE = 1_024
MAX_MAGNITUDE = 2.0**360
OLDEST_SECONDS = 14 * 24 * 3600
NEWEST_SECONDS = 2 * 3600


class WrongDatumError(Exception):
    """Raised if AWS would refuse a datum, and with it the whole request."""

    def __init__(self, text: str, code: str = "InvalidParameterValue") -> None:
        super().__init__(text)
        self.code = code


def checked_datum(namespace: str, given: Mapping[str, Any], now: float) -> Datum:
    """Return a datum as it is stored.

    Args:
        namespace: The request's namespace.
        given: The datum's JSON.
        now: The server's time, seconds since the epoch.

    Raises:
        WrongDatumError: The datum exceeds one of AWS's limits.
    """
    at = float(given.get("Timestamp", now))
    if not now - OLDEST_SECONDS <= at <= now + NEWEST_SECONDS:
        raise WrongDatumError("The parameter Timestamp must be within the past two weeks.")
    return Datum(
        namespace=namespace,
        name=given["MetricName"],
        dimensions=_dimensions(given.get("Dimensions") or ()),
        timestamp=at,
        unit=given.get("Unit", "None"),
        values=tuple(_values(given)),
    )


def _dimensions(given: Any) -> tuple[tuple[str, str], ...]:
    if len(given) > MAX_DIMENSIONS:
        raise WrongDatumError(f"The collection Dimensions must have at most {MAX_DIMENSIONS}.")
    for dimension in given:
        _word(dimension["Name"], "Name", MAX_DIMENSION_NAME)
        _word(dimension["Value"], "Value", MAX_DIMENSION_VALUE)
        if dimension["Name"].startswith(":"):
            raise WrongDatumError("A dimension's Name must not start with a colon.")
    names = [dimension["Name"] for dimension in given]
    if len(set(names)) != len(names):
        raise WrongDatumError("Dimension names must be unique.")
    return tuple(sorted((d["Name"], d["Value"]) for d in given))


def _word(text: str, what: str, limit: int) -> None:
    if not text.strip() or len(text) > limit:
        raise WrongDatumError(f"A dimension's {what} must have 1 to {limit} characters, not blank.")
    if not (text.isascii() and text.isprintable()):
        raise WrongDatumError(f"A dimension's {what} must be printable ASCII.")


def _values(given: Mapping[str, Any]) -> list[tuple[float, float]]:
    """Return pairs of value and count; a statistic set becomes its minimum, maximum and average."""
    forms = [key for key in ("Value", "Values", "StatisticValues") if key in given]
    if len(forms) != 1:
        raise WrongDatumError(
            "Exactly one of Value, Values and StatisticValues must be given.",
            "InvalidParameterCombination",
        )
    if forms == ["StatisticValues"]:
        return _of_set(given["StatisticValues"])
    values = given["Values"] if forms == ["Values"] else [given["Value"]]
    counts = given.get("Counts", [1.0] * len(values))
    if not 1 <= len(values) <= MAX_VALUES:
        raise WrongDatumError(f"The collection Values must have 1 to {MAX_VALUES} members.")
    if len(counts) != len(values):
        raise WrongDatumError(
            "Counts must have as many members as Values.", "InvalidParameterCombination"
        )
    return [(_finite(v), _count(c)) for v, c in zip(values, counts, strict=True)]


def _of_set(given: Mapping[str, float]) -> list[tuple[float, float]]:
    count = _count(given["SampleCount"])
    total, low, high = (_finite(given[k]) for k in ("Sum", "Minimum", "Maximum"))
    if low > high:
        raise WrongDatumError("Minimum must not be above Maximum.")
    if count <= 2:  # noqa: PLR2004 - its two ends are all there is
        return [(low, 1.0), (high, 1.0)] if count > 1 else [(total, 1.0)]
    return [(low, 1.0), (high, 1.0), ((total - low - high) / (count - 2), count - 2)]


def _finite(value: float) -> float:
    if not math.isfinite(value) or abs(value) > MAX_MAGNITUDE:
        raise WrongDatumError("A value must be a number within 2^360, not NaN or Infinity.")
    return float(value)


def _count(count: float) -> float:
    if not math.isfinite(count) or count < 0:
        raise WrongDatumError("A count must be 0 or more.")
    return float(count)
