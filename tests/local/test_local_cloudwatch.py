"""The local CloudWatch holds to AWS's limits, and gives back what was put."""

from __future__ import annotations

import math
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

from langchain_modelmgr.local.cloudwatch import CloudWatchStore

if TYPE_CHECKING:
    from langchain_modelmgr.local import LocalAWS


def datum(**changed: Any) -> dict[str, Any]:
    return {"MetricName": "M", "Value": 1.0, "Timestamp": time.time(), **changed}


def dimension(name: str = "Agent", value: str = "a") -> dict[str, str]:
    return {"Name": name, "Value": value}


def put(store: CloudWatchStore, *datums: dict[str, Any], namespace: str = "N") -> tuple[int, str]:
    status, body = store.handle(
        "PutMetricData", {"Namespace": namespace, "MetricData": list(datums)}
    )
    return status, str(body.get("__type", ""))


@pytest.mark.parametrize(
    "wrong",
    [
        {"Values": [1.0] * 151, "Value": None},
        {"Values": [1.0, 2.0], "Counts": [1.0], "Value": None},
        {"Values": [1.0]},
        {"Value": None},
        {"Value": math.nan},
        {"Value": math.inf},
        {"Value": 2.0**361},
        {"Values": [1.0], "Counts": [-1.0], "Value": None},
        {"Timestamp": time.time() - 15 * 86400},
        {"Timestamp": time.time() + 3 * 3600},
        {"Dimensions": [dimension(f"d{i}") for i in range(31)]},
        {"Dimensions": [dimension(), dimension()]},
        {"Dimensions": [dimension(value=" ")]},
        {"Dimensions": [dimension(value="x" * 1025)]},
        {"Dimensions": [dimension(value="é")]},
        {"Dimensions": [dimension(name=":x")]},
        {
            "StatisticValues": {"SampleCount": 1, "Sum": 1, "Minimum": 2, "Maximum": 1},
            "Value": None,
        },
        {"MetricName": ""},
        {"Unit": "Parsecs"},
    ],
)
def test_one_bad_datum_fails_the_whole_request(wrong: dict[str, Any]) -> None:
    store = CloudWatchStore()
    bad = {k: v for k, v in datum(**wrong).items() if v is not None}

    status, code = put(store, datum(), bad)

    assert status == 400
    assert code
    assert store.datums == []
    assert store.put_requests == 1


def test_a_request_has_its_own_limits() -> None:
    store = CloudWatchStore()

    assert put(store, *[datum()] * 1001)[0] == 400
    assert put(store)[0] == 400
    assert put(store, datum(), namespace="AWS/X")[0] == 400
    assert store.handle("PutMetricData", {"Namespace": "N"}, size=2_000_000)[0] == 413
    assert store.handle("DeleteAlarms", {})[0] == 400
    assert store.respond("PutMetricData", b"{").status == 400
    assert put(store, *[datum()] * 1000) == (200, "")


@pytest.mark.parametrize(
    ("form", "total", "count"),
    [
        ({"Value": 5.0}, 5, 1),
        ({"Values": [1.0, 2.0], "Counts": [3.0, 1.0]}, 5, 4),
        ({"Values": [1.0, 2.0]}, 3, 2),
        ({"StatisticValues": {"SampleCount": 4, "Sum": 10, "Minimum": 1, "Maximum": 4}}, 10, 4),
        ({"StatisticValues": {"SampleCount": 2, "Sum": 5, "Minimum": 1, "Maximum": 4}}, 5, 2),
        ({"StatisticValues": {"SampleCount": 1, "Sum": 4, "Minimum": 4, "Maximum": 4}}, 4, 1),
    ],
)
def test_every_form_of_a_datum_adds_up(
    local_aws: LocalAWS, form: dict[str, Any], total: float, count: float
) -> None:
    client = local_aws.client("cloudwatch")
    at = datetime.now(UTC)
    entry = {"MetricName": "M", "Timestamp": at, "Dimensions": [dimension()], **form}
    client.put_metric_data(Namespace="N", MetricData=[entry])

    reply = client.get_metric_statistics(
        Namespace="N",
        MetricName="M",
        Dimensions=[dimension()],
        StartTime=at - timedelta(hours=1),
        EndTime=at + timedelta(hours=1),
        Period=3600,
        Statistics=["Sum", "SampleCount", "Average", "Minimum", "Maximum"],
    )

    (point,) = reply["Datapoints"]
    assert (point["Sum"], point["SampleCount"]) == (total, count)
    assert point["Average"] == total / count
    assert point["Minimum"] <= point["Average"] <= point["Maximum"]
    assert local_aws.metrics.sum("N", "M", Agent="a") == total


def test_get_metric_data_returns_periods_in_the_requested_order(local_aws: LocalAWS) -> None:
    client = local_aws.client("cloudwatch")
    now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    for hours, value in ((2, 1.0), (1, 2.0), (1, 3.0)):
        at = now - timedelta(hours=hours)
        client.put_metric_data(
            Namespace="N", MetricData=[{"MetricName": "M", "Timestamp": at, "Value": value}]
        )
    stat = {"Metric": {"Namespace": "N", "MetricName": "M"}, "Period": 3600, "Stat": "Sum"}

    def ask(**more: Any) -> Any:
        return client.get_metric_data(
            MetricDataQueries=[
                {"Id": "m", "MetricStat": stat},
                {"Id": "h", "MetricStat": stat, "ReturnData": False},
            ],
            StartTime=now - timedelta(hours=3),
            EndTime=now,
            **more,
        )["MetricDataResults"]

    (newest_first,) = ask()
    (oldest_first,) = ask(ScanBy="TimestampAscending")
    assert newest_first["Values"] == [5.0, 1.0]
    assert oldest_first["Values"] == [1.0, 5.0]
    assert oldest_first["Timestamps"][0] == now - timedelta(hours=2)


def test_an_operation_that_is_not_served_is_a_clear_error(local_aws: LocalAWS) -> None:
    client = local_aws.client("cloudwatch")
    now = datetime.now(UTC)
    stat = {"Metric": {"Namespace": "N", "MetricName": "M"}, "Period": 60, "Stat": "TM(1%:99%)"}
    window = {"StartTime": now - timedelta(hours=1), "EndTime": now}

    with pytest.raises(ClientError, match="is not served"):
        client.get_metric_data(MetricDataQueries=[{"Id": "m", "MetricStat": stat}], **window)
    with pytest.raises(ClientError, match="Only MetricStat"):
        client.get_metric_data(MetricDataQueries=[{"Id": "m", "Expression": "1"}], **window)


def test_metrics_are_listed_by_filter(local_aws: LocalAWS) -> None:
    client = local_aws.client("cloudwatch")
    for name, agent in (("M", "a"), ("M", "b"), ("K", "a")):
        entry = {"MetricName": name, "Value": 1.0, "Dimensions": [dimension(value=agent)]}
        client.put_metric_data(Namespace="N", MetricData=[entry])

    def found(**filters: Any) -> int:
        return len(client.list_metrics(**filters)["Metrics"])

    assert found() == 3
    assert found(Namespace="N", MetricName="M") == 2
    assert found(Dimensions=[dimension()]) == 2
    assert found(Dimensions=[{"Name": "Agent"}]) == 3
    assert found(Dimensions=[{"Name": "Model"}]) == 0


@pytest.mark.parametrize(
    ("code", "status"), [("Throttling", 400), ("InternalServiceFault", 500), ("AccessDenied", 403)]
)
def test_a_planned_failure_occurs_once(local_aws: LocalAWS, code: str, status: int) -> None:
    client = local_aws.client("cloudwatch")
    local_aws.metrics.fail(code)
    local_aws.metrics.hang(0.01)
    request = {"Namespace": "N", "MetricData": [{"MetricName": "M", "Value": 1.0}]}

    with pytest.raises(ClientError) as caught:
        client.put_metric_data(**request)
    client.put_metric_data(**request)

    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == status
    assert local_aws.metrics.put_requests == 2
    with pytest.raises(ValueError, match="give one of"):
        local_aws.metrics.fail("Nonsense")


def test_a_large_compressed_request_is_read(local_aws: LocalAWS) -> None:
    client = local_aws.client("cloudwatch")
    entries = [{"MetricName": f"M{i}", "Value": 1.0} for i in range(1000)]

    client.put_metric_data(Namespace="N", MetricData=entries)

    assert len(local_aws.metrics.datums) == 1000
