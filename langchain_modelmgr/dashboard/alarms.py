"""Four alarms for each agent."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from langchain_modelmgr.dashboard.queries import Query, by_model, calls, total

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from langchain_modelmgr.dashboard.chains import Chain

MAX_METRICS = 10
"""Metrics that one alarm's expression may use. Source: AWS, "Creating an alarm based on a metric
math expression", read 2026-11-23."""

PARAMETERS: dict[str, dict[str, Any]] = {
    "AlarmTopicArn": {
        "Type": "String",
        "Default": "",
        "Description": "SNS topic that alarms are sent to; empty: none",
    },
    "MinimumCalls": {
        "Type": "Number",
        "Default": 20,
        "Description": "Calls in five minutes below which no rate raises an alarm",
    },
    "ErrorRatePercent": {
        "Type": "Number",
        "Default": 5,
        "Description": "Failed attempts in a hundred",
    },
    "LatencyP95Milliseconds": {
        "Type": "Number",
        "Default": 30000,
        "Description": "p95 of an attempt's latency",
    },
    "DailyCostUSD": {
        "Type": "Number",
        "Default": 50,
        "Description": "USD that an agent may cost a day",
    },
    "FallbackPercent": {
        "Type": "Number",
        "Default": 5,
        "Description": "Answers in a hundred that another than the agent's own model gives",
    },
}
"""The template's parameters: what every team sets otherwise."""

_FIVE_MINUTES, _DAY = 300, 86_400


def alarms_of(chain: Chain, namespace: str) -> Iterator[tuple[str, dict[str, Any], int]]:
    """Yield an agent's alarms: logical id, resource, and how many metrics it is billed for."""
    models = chain.models[: MAX_METRICS // 2]
    failed = calls(chain, "false", prefix="f", models=models)
    answered = calls(chain, "true", prefix="a", models=models)
    every = f"({total(failed)}+{total(answered)})"
    rate = f"IF({every}>=${{MinimumCalls}},100*{total(failed)}/{every},0)"
    yield _alarm(
        chain, "ErrorRate", "of its attempts fail", [*failed, *answered], rate, namespace,
        threshold="ErrorRatePercent", period=_FIVE_MINUTES, periods=3,
    )  # fmt: skip
    latency = by_model(chain, "ModelLatency", prefix="l", models=models, stat="p95")
    slowest = f"MAX([{','.join(query.id for query in latency)}])"
    yield _alarm(
        chain, "LatencyP95", "is its slowest model's p95", latency, slowest, namespace,
        threshold="LatencyP95Milliseconds", period=_FIVE_MINUTES, periods=3,
    )  # fmt: skip
    cost = by_model(chain, "ModelCost", prefix="c", models=models)
    yield _alarm(
        chain, "DailyCost", "USD is what it costs a day", cost, total(cost), namespace,
        threshold="DailyCostUSD", period=_DAY, periods=1,
    )  # fmt: skip
    if len(models) > 1:
        share = f"100*{total(answered[1:])}/{total(answered)}"
        taken = f"IF({total(answered)}>=${{MinimumCalls}},{share},0)"
        yield _alarm(
            chain, "FallbackTookOver", "of its answers are a fallback's, for 15 minutes",
            answered, taken, namespace,
            threshold="FallbackPercent", period=_FIVE_MINUTES, periods=3,
        )  # fmt: skip


def _alarm(  # noqa: PLR0913, PLR0917 - the facts of one alarm
    chain: Chain,
    name: str,
    what: str,
    queries: Sequence[Query],
    expression: str,
    namespace: str,
    *,
    threshold: str,
    period: int,
    periods: int,
) -> tuple[str, dict[str, Any], int]:
    logical_id = f"{name}{_word(chain.agent_name)}"
    formula: Any = {"Fn::Sub": expression} if "${" in expression else expression
    result = {"Id": "result", "Expression": formula, "Label": name, "ReturnData": True}
    metrics = [query.for_alarm(namespace, period) for query in queries]
    topic = {"Fn::If": ["HasTopic", [{"Ref": "AlarmTopicArn"}], {"Ref": "AWS::NoValue"}]}
    properties = {
        "AlarmDescription": f"Agent {chain.agent}: more than the threshold {what}",
        "Metrics": [{**result, "Period": period}, *metrics],
        "Threshold": {"Ref": threshold},
        "ComparisonOperator": "GreaterThanThreshold",
        "EvaluationPeriods": periods,
        "DatapointsToAlarm": periods,
        "TreatMissingData": "notBreaching",
        "AlarmActions": topic,
        "OKActions": topic,
    }
    return logical_id, {"Type": "AWS::CloudWatch::Alarm", "Properties": properties}, len(queries)


def _word(name: str) -> str:
    """Return an agent's name as a part of a logical id, which takes letters and digits only.

    Two names never give the same: what is no letter or digit stands as its number.
    """
    return re.sub(r"[^A-Za-z0-9]", lambda found: f"x{ord(found[0]):x}", name.capitalize())
