"""CloudWatch over HTTP: PutMetricData with AWS's limits, and the operations that read metrics."""

from __future__ import annotations

import json
import random
import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from langchain_modelmgr.local.limits import WrongDatumError, checked_datum
from langchain_modelmgr.local.shapes import violation
from langchain_modelmgr.local.statistics import Datum, series_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

MAX_DATUMS = 1_000
"""The most datums of one request. Source: AWS, PutMetricData API reference, read 2026-11-23."""

MAX_BYTES = 1_000_000
"""The most bytes of one request before compression. Source: as above (1 MB)."""

_STATUS = {"Throttling": 400, "ThrottlingException": 400, "InternalServiceFault": 500,
           "InternalServiceError": 500, "ServiceUnavailable": 503, "AccessDenied": 403,
           "ExpiredToken": 403}  # fmt: skip


_BROKEN = 0
"""Used in place of a status: the connection breaks without a reply."""


@dataclass(frozen=True)
class Reply:
    """One HTTP reply."""

    status: int
    body: str
    headers: Mapping[str, str]


class CloudWatchError(Exception):
    """Raised to send an error as the reply."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.code = code
        self.status = status


class CloudWatchStore:
    """The metrics that were received, and CloudWatch's operations on them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._datums: list[Datum] = []
        self._failures: deque[str] = deque()
        self._hang = 0.0
        self._stopped = threading.Event()
        self._rate = 0.0
        self._dice = random.Random(0)
        self._resets = 0
        self._poison: str | None = None
        self._requests = 0
        self._operations: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
            "PutMetricData": self._put,
            "GetMetricData": self._get_data,
            "GetMetricStatistics": self._get_statistics,
            "ListMetrics": self._list,
        }

    @property
    def datums(self) -> list[Datum]:
        """All accepted datums, in order."""
        with self._lock:
            return list(self._datums)

    @property
    def put_requests(self) -> int:
        """How many PutMetricData requests were received, including refused ones."""
        with self._lock:
            return self._requests

    def sum(self, namespace: str, name: str, **dimensions: str) -> float:
        """Return a metric's sum over all time and over all values of dimensions not given."""
        return float(
            sum(
                value * count
                for datum in self.datums
                if (datum.namespace, datum.name) == (namespace, name)
                and dimensions.items() <= dict(datum.dimensions).items()
                for value, count in datum.values
            )
        )

    def fail(self, code: str, times: int = 1) -> None:
        """Make the next PutMetricData requests fail with an AWS error code.

        Raises:
            ValueError: The code is not one of those that are known here.
        """
        if code not in _STATUS:
            raise ValueError(f"{code!r}: give one of {', '.join(_STATUS)}")
        with self._lock:
            self._failures.extend([code] * times)

    def hang(self, seconds: float) -> None:
        """Delay every PutMetricData request before it is accepted."""
        self._hang = seconds

    def throttle(self, rate: float, *, seed: int = 0) -> None:
        """Throttle a share of all PutMetricData requests from now on; 0 stops it."""
        with self._lock:
            self._rate, self._dice = rate, random.Random(seed)

    def reset(self, times: int = 1) -> None:
        """Accept the next PutMetricData requests, then break their connections without a reply."""
        with self._lock:
            self._resets += times

    def poison(self, dimension_value: str | None) -> None:
        """Refuse every datum with a dimension of this value, as AWS refuses an invalid one."""
        self._poison = dimension_value

    def clear_faults(self) -> None:
        """Remove all faults."""
        with self._lock:
            self._failures.clear()
            self._rate, self._resets, self._poison, self._hang = 0.0, 0, None, 0.0

    def begin(self) -> None:
        """Allow requests to hang from now on."""
        self._stopped.clear()

    def end(self) -> None:
        """Release hanging requests: their threads would keep the interpreter from exiting."""
        self._stopped.set()

    def respond(self, operation: str, raw: bytes) -> Reply:
        """Answer one request of the JSON protocol."""
        try:
            status, body = self.handle(operation, json.loads(raw or b"{}"), size=len(raw))
        except ValueError:
            status, body = 400, {"__type": "SerializationException", "message": "no JSON"}
        if status == _BROKEN:
            return Reply(_BROKEN, "", {})
        kind = str(body.get("__type", ""))
        headers = {"x-amzn-query-error": f"{kind};Sender"} if kind else {}
        return Reply(status, json.dumps(body), headers)

    def handle(
        self, operation: str, body: dict[str, Any], *, size: int = 0
    ) -> tuple[int, dict[str, Any]]:
        """Return status and JSON body of an operation.

        Args:
            operation: ``PutMetricData``, ``GetMetricData``, ...
            body: The request's JSON.
            size: The request's bytes before compression.
        """
        try:
            return 200, self._answer(operation, body, size)
        except (CloudWatchError, WrongDatumError) as error:
            status = error.status if isinstance(error, CloudWatchError) else 400
            return status, {"__type": error.code, "message": str(error)}

    def _answer(self, operation: str, body: dict[str, Any], size: int) -> dict[str, Any]:
        if operation not in self._operations:
            raise CloudWatchError("InvalidAction", f"no such operation: {operation}")
        if operation == "PutMetricData":
            self._before_put(size)
        if text := violation(body, operation, "cloudwatch"):
            raise CloudWatchError("ValidationError", text)
        return self._operations[operation](body)

    def _before_put(self, size: int) -> None:
        with self._lock:
            self._requests += 1
            code = self._failures.popleft() if self._failures else None
            if code is None and self._rate and self._dice.random() < self._rate:
                code = "Throttling"
        if self._hang:
            self._stopped.wait(self._hang)
        if code:
            raise CloudWatchError(code, "The request failed.", _STATUS[code])
        if size > MAX_BYTES:
            raise CloudWatchError("RequestEntityTooLarge", "The request is too large.", 413)

    def _put(self, body: dict[str, Any]) -> dict[str, Any]:
        namespace = body["Namespace"]
        if namespace.startswith("AWS/"):
            text = "The value AWS/ for parameter Namespace is invalid."
            raise CloudWatchError("InvalidParameterValue", text)
        given = body.get("MetricData") or []
        if not 1 <= len(given) <= MAX_DATUMS:
            text = f"The collection MetricData must have 1 to {MAX_DATUMS} members."
            raise CloudWatchError("InvalidParameterValue", text)
        # One bad datum fails the whole request: nothing is stored before all are checked.
        taken = [checked_datum(namespace, datum, time.time()) for datum in given]
        if any(value == self._poison for datum in taken for _, value in datum.dimensions):
            raise CloudWatchError("InvalidParameterValue", "A datum is poisoned.")
        with self._lock:
            self._datums += taken
            broken, self._resets = self._resets > 0, max(0, self._resets - 1)
        if broken:
            raise CloudWatchError("", "", _BROKEN)
        return {}

    def _get_data(self, body: dict[str, Any]) -> dict[str, Any]:
        results = []
        for query in body["MetricDataQueries"]:
            if "MetricStat" not in query:
                text = "Only MetricStat queries are served here."
                raise CloudWatchError("ValidationError", text)
            if query.get("ReturnData") is False:
                continue
            stat = query["MetricStat"]
            metric = stat["Metric"]
            points = self._points(metric, stat["Period"], body, stat["Stat"])
            if body.get("ScanBy", "TimestampDescending") == "TimestampDescending":
                points.reverse()
            results.append(
                {
                    "Id": query["Id"],
                    "Label": query.get("Label", metric["MetricName"]),
                    "Timestamps": [at for at, _ in points],
                    "Values": [value for _, value in points],
                    "StatusCode": "Complete",
                }
            )
        return {"MetricDataResults": results, "Messages": []}

    def _get_statistics(self, body: dict[str, Any]) -> dict[str, Any]:
        points: dict[float, dict[str, Any]] = {}
        for stat in body.get("Statistics", ()):
            for at, value in self._points(body, body["Period"], body, stat):
                point = points.setdefault(at, {"Timestamp": at, "Unit": body.get("Unit", "None")})
                point[stat] = value
        return {"Label": body["MetricName"], "Datapoints": list(points.values())}

    def _points(
        self, metric: Mapping[str, Any], period: int, window: Mapping[str, Any], stat: str
    ) -> list[tuple[float, float]]:
        wanted = (
            metric["Namespace"],
            metric["MetricName"],
            tuple(sorted((d["Name"], d["Value"]) for d in metric.get("Dimensions", ()))),
        )
        found = [d for d in self.datums if (d.namespace, d.name, d.dimensions) == wanted]
        try:
            return series_of(found, period, window["StartTime"], window["EndTime"], stat)
        except KeyError:
            raise CloudWatchError(
                "ValidationError", f"the statistic {stat} is not served"
            ) from None

    def _list(self, body: dict[str, Any]) -> dict[str, Any]:
        filters = body.get("Dimensions", ())
        found = {
            (d.namespace, d.name, d.dimensions): None
            for d in self.datums
            if body.get("Namespace") in (None, d.namespace)
            and body.get("MetricName") in (None, d.name)
            and all(_has(dict(d.dimensions), f) for f in filters)
        }
        metrics = [
            {
                "Namespace": namespace,
                "MetricName": name,
                "Dimensions": [{"Name": n, "Value": v} for n, v in dimensions],
            }
            for namespace, name, dimensions in found
        ]
        return {"Metrics": metrics}


def _has(dimensions: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    value = dimensions.get(wanted["Name"])
    return value is not None and wanted.get("Value") in (None, value)
