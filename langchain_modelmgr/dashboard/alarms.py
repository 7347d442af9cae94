"""Makes alarms for each agent, and one for metrics that no longer arrive."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from langchain_modelmgr.dashboard.queries import Query, by_model, calls, of_budget, total

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from langchain_modelmgr.dashboard.chains import Chain

MAX_METRICS = 10
"""Metrics that one alarm's expression may use. Source: AWS, "Creating an alarm based on a metric
math expression", read 2026-11-23."""

_MAX_DESCRIPTION = 1_024
"""Characters of an alarm's description. Source: AWS, PutMetricAlarm, in botocore's model."""

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
    "FailuresWithoutAnswer": {
        "Type": "Number",
        "Default": 0,
        "Description": "Failed attempts in an hour without any answer",
    },
    "UnpricedAttempts": {
        "Type": "Number",
        "Default": 0,
        "Description": "Answers a day whose price is unknown",
    },
    "BudgetUsedPercent": {
        "Type": "Number",
        "Default": 80,
        "Description": "Per cent of a budget that may be spent",
    },
    "SilentHours": {
        "Type": "Number",
        "Default": 24,
        "MinValue": 1,
        "MaxValue": 24,
        "Description": "Hours without any metric",
    },
    "FallbackPercent": {
        "Type": "Number",
        "Default": 5,
        "Description": "Answers in a hundred that a fallback gives",
    },
}
"""The template's parameters: values that teams choose."""

COST_EXTRAS = ("wasted_cost", "unpriced")
"""Names under ``metrics.extra`` that the alarms on cost use, if they are published."""

_FIVE_MINUTES, _HOUR, _DAY = 300, 3_600, 86_400

Alarm = tuple[str, dict[str, Any], int]
"""Logical id, resource, and how many metrics it is billed for."""


def alarms_of(chain: Chain, namespace: str, extra: frozenset[str]) -> Iterator[Alarm]:
    """Yield an agent's alarms.

    Args:
        chain: The agent and its models.
        namespace: The namespace of its metrics.
        extra: The names under ``metrics.extra``.
    """
    models = chain.models[: MAX_METRICS // 2]
    yield from _alarms_on_failures(chain, namespace, models)
    yield _alarm_on_latency(chain, namespace, models)
    yield from _alarms_on_cost(chain, namespace, models, extra)
    if len(models) > 1:
        answered = calls(chain, "true", prefix="a", models=models)
        share = f"100*{total(answered[1:])}/{total(answered)}"
        taken = f"IF({total(answered)}>=${{MinimumCalls}},{share},0)"
        yield _alarm(
            chain, "FallbackTookOver", "of its answers are a fallback's, for 15 minutes",
            answered, taken, namespace,
            threshold="FallbackPercent", period=_FIVE_MINUTES, periods=3,
        )  # fmt: skip


def budget_alarm(name: str, namespace: str) -> Alarm:
    """Return the alarm on what is spent of a budget, of its highest key."""
    queries = [of_budget(name, "b0")]
    properties = {
        **_properties(
            f"Budget {name}: more than the threshold per cent of it are spent",
            "Used", "b0", queries, namespace, _FIVE_MINUTES,
        ),
        "Threshold": {"Ref": "BudgetUsedPercent"},
        "ComparisonOperator": "GreaterThanThreshold",
        "EvaluationPeriods": 1,
        "DatapointsToAlarm": 1,
        "TreatMissingData": "notBreaching",
    }  # fmt: skip
    return f"Budget{_word(name)}", _resource(properties), len(queries)


def silence_alarm(chains: Sequence[Chain], namespace: str) -> Alarm:
    """Return the alarm on metrics that no longer arrive, from any agent.

    It watches the answers of the agents' own models: those of the first ten agents, since one
    expression takes ten metrics.
    """
    watched = chains[:MAX_METRICS]
    queries = [
        replace(calls(chain, "true", prefix="a", models=chain.models[:1])[0], id=f"a{i}")
        for i, chain in enumerate(watched)
    ]
    names = ", ".join(chain.agent for chain in watched)
    properties = {
        **_properties(
            f"No answer of {names} arrived in CloudWatch for as many hours as SilentHours: "
            "either no agent ran, or its metrics are not delivered",
            "Answers", total(queries), queries, namespace, _HOUR,
        ),
        "Threshold": 1,
        "ComparisonOperator": "LessThanThreshold",
        "EvaluationPeriods": {"Ref": "SilentHours"},
        "DatapointsToAlarm": {"Ref": "SilentHours"},
        "TreatMissingData": "breaching",
    }  # fmt: skip
    return "MetricsSilent", _resource(properties), len(queries)


def _alarms_on_failures(chain: Chain, namespace: str, models: Sequence[str]) -> Iterator[Alarm]:
    failed = calls(chain, "false", prefix="f", models=models)
    answered = calls(chain, "true", prefix="a", models=models)
    every = f"({total(failed)}+{total(answered)})"
    rate = f"IF({every}>=${{MinimumCalls}},100*{total(failed)}/{every},0)"
    yield _alarm(
        chain, "ErrorRate", "of its attempts fail", [*failed, *answered], rate, namespace,
        threshold="ErrorRatePercent", period=_FIVE_MINUTES, periods=3,
    )  # fmt: skip
    # An agent with few calls never reaches MinimumCalls, not even when all of them fail: with one
    # call an hour that is denied, an hour has one failed attempt.
    only_failures = f"IF({total(answered)}==0,{total(failed)},0)"
    yield _alarm(
        chain, "NothingAnswered", "attempts failed in an hour without an answer, twice in 6 hours",
        [*failed, *answered], only_failures, namespace,
        threshold="FailuresWithoutAnswer", period=_HOUR, periods=2, of=6,
    )  # fmt: skip


def _alarm_on_latency(chain: Chain, namespace: str, models: Sequence[str]) -> Alarm:
    latency = by_model(chain, "ModelLatency", prefix="l", models=models, stat="p95")
    slowest = f"MAX([{','.join(query.id for query in latency)}])"
    return _alarm(
        chain, "LatencyP95", "is its slowest model's p95", latency, slowest, namespace,
        threshold="LatencyP95Milliseconds", period=_FIVE_MINUTES, periods=3,
    )  # fmt: skip


def _alarms_on_cost(
    chain: Chain, namespace: str, models: Sequence[str], extra: frozenset[str]
) -> Iterator[Alarm]:
    cost = by_model(chain, "ModelCost", prefix="c", models=models)
    if "wasted_cost" in extra:
        cost += by_model(chain, "WastedCost", prefix="w", models=models)
    yield _alarm(
        chain, "DailyCost", "USD is what it costs a day", cost, total(cost), namespace,
        threshold="DailyCostUSD", period=_DAY, periods=1,
    )  # fmt: skip
    if "unpriced" in extra:
        unpriced = by_model(chain, "UnpricedAttempts", prefix="u", models=models)
        yield _alarm(
            chain, "Unpriced", "answers a day have no known price, so that no cost counts them",
            unpriced, total(unpriced), namespace,
            threshold="UnpricedAttempts", period=_DAY, periods=1,
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
    of: int | None = None,
) -> Alarm:
    """Return an alarm: it fires when ``periods`` of the last ``of`` are above the threshold."""
    description = f"Agent {chain.agent}: more than the threshold {what}"
    properties = {
        **_properties(description, name, expression, queries, namespace, period),
        "Threshold": {"Ref": threshold},
        "ComparisonOperator": "GreaterThanThreshold",
        "EvaluationPeriods": of or periods,
        "DatapointsToAlarm": periods,
        "TreatMissingData": "notBreaching",
    }
    return f"{name}{_word(chain.agent_name)}", _resource(properties), len(queries)


def _properties(  # noqa: PLR0913, PLR0917 - what all alarms have
    description: str,
    label: str,
    expression: str,
    queries: Sequence[Query],
    namespace: str,
    period: int,
) -> dict[str, Any]:
    formula: Any = {"Fn::Sub": expression} if "${" in expression else expression
    result = {"Id": "result", "Expression": formula, "Label": label, "ReturnData": True}
    topic = {"Fn::If": ["HasTopic", [{"Ref": "AlarmTopicArn"}], {"Ref": "AWS::NoValue"}]}
    return {
        "AlarmDescription": description[:_MAX_DESCRIPTION],
        "Metrics": [
            {**result, "Period": period},
            *(query.for_alarm(namespace, period) for query in queries),
        ],
        "AlarmActions": topic,
        "OKActions": topic,
    }


def _resource(properties: dict[str, Any]) -> dict[str, Any]:
    return {"Type": "AWS::CloudWatch::Alarm", "Properties": properties}


def _word(name: str) -> str:
    """Return an agent's name as part of a logical id, which may have letters and digits only.

    Different names give different ids: other characters are replaced by their code.
    """
    return re.sub(r"[^A-Za-z0-9]", lambda found: f"x{ord(found[0]):x}", name.capitalize())
