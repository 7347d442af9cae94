"""Makes the CloudFormation template, and estimates its monthly cost."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from langchain_modelmgr.dashboard.alarms import PARAMETERS, alarms_of, budget_alarm, silence_alarm
from langchain_modelmgr.dashboard.chains import chains_of
from langchain_modelmgr.dashboard.widgets import (
    MAX_METRICS,
    MAX_METRICS_A_WIDGET,
    MAX_WIDGETS,
    metrics_in,
    widgets_of,
)
from langchain_modelmgr.errors import ConfigurationError
from langchain_modelmgr.metrics.series import BUDGETS, METRIC_USD_A_MONTH, ROLLUP, indexes_of

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from langchain_modelmgr.config import ConfigurationManager
    from langchain_modelmgr.dashboard.chains import Chain

ALARM_METRIC_USD, DASHBOARD_USD = Decimal("0.10"), Decimal("3.00")
"""USD a month: a metric of a standard alarm, a dashboard beyond the first three.
Source: AWS, "Amazon CloudWatch pricing", US East, read 2026-11-23."""

MAX_RESOURCES = 500
"""Resources of a template. Source: AWS, "CloudFormation quotas", read 2026-11-23."""


def template_of(config: ConfigurationManager) -> dict[str, Any]:
    """Return a CloudFormation template: a dashboard, alarms for each agent, and one for silence.

    Raises:
        ConfigurationError: No agent is enabled, or too many for one template.
    """
    chains = chains_of(config)
    extra = frozenset(config.metrics.extra)
    budgets = tuple(config.budgets.limits) if BUDGETS in extra else ()
    widgets = widgets_of(chains, config.namespace, budgets)
    _check_dashboard(widgets)
    resources: dict[str, Any] = {"Dashboard": _dashboard(config, widgets)}
    billed = 0
    alarms = [a for chain in chains for a in alarms_of(chain, config.namespace, extra)]
    alarms += [budget_alarm(name, config.namespace) for name in budgets]
    for logical_id, alarm, metrics in (*alarms, silence_alarm(chains, config.namespace)):
        resources[logical_id] = alarm
        billed += metrics
    if len(resources) > MAX_RESOURCES:
        raise ConfigurationError(
            f"{len(chains)} agents make {len(resources)} resources, and a template takes "
            f"{MAX_RESOURCES}: enable fewer agents in the environment that this is made of"
        )
    bill = monthly_bill(chains, extra, billed, budgets=len(budgets))
    return {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Description": f"Metrics {config.namespace} of langchain-modelmgr: dashboard and alarms",
        # As text: CloudFormation's metadata takes no decimal numbers (cfn-lint E4002).
        "Metadata": {"MonthlyCostUSD": {name: f"{usd:.2f}" for name, usd in bill.items()}},
        "Parameters": _used(PARAMETERS, resources),
        "Conditions": {"HasTopic": {"Fn::Not": [{"Fn::Equals": [{"Ref": "AlarmTopicArn"}, ""]}]}},
        "Resources": resources,
    }


def monthly_bill(
    chains: Sequence[Chain], extra: Collection[str], alarm_metrics: int, *, budgets: int = 0
) -> dict[str, Decimal]:
    """Return the largest cost by kind, in USD a month: first price tiers, without free tiers."""
    pairs = sum(len(chain.models) for chain in chains)
    if ROLLUP in extra:
        pairs += len({model for chain in chains for model in chain.models})
    series = pairs * len(indexes_of(extra)) + budgets
    bill = {
        "custom metrics": series * METRIC_USD_A_MONTH,
        "alarms": alarm_metrics * ALARM_METRIC_USD,
        "dashboard": DASHBOARD_USD,
    }
    return {**bill, "total": sum(bill.values(), Decimal(0))}


def _used(parameters: dict[str, Any], resources: dict[str, Any]) -> dict[str, Any]:
    """Return the parameters that resources refer to: cfn-lint warns about unused ones."""
    text = json.dumps(resources)
    return {
        name: parameter
        for name, parameter in parameters.items()
        if f'{{"Ref": "{name}"}}' in text or f"${{{name}}}" in text
    }


def _dashboard(config: ConfigurationManager, widgets: list[dict[str, Any]]) -> dict[str, Any]:
    name = "".join(c if c.isalnum() or c in "-_" else "-" for c in config.namespace)
    body = json.dumps({"widgets": widgets}, separators=(",", ":"))
    properties = {"DashboardName": name, "DashboardBody": {"Fn::Sub": body}}
    return {"Type": "AWS::CloudWatch::Dashboard", "Properties": properties}


def _check_dashboard(widgets: list[dict[str, Any]]) -> None:
    most = max(len(widget["properties"]["metrics"]) for widget in widgets)
    for count, limit, what in (
        (len(widgets), MAX_WIDGETS, "widgets"),
        (most, MAX_METRICS_A_WIDGET, "metrics in one widget"),
        (metrics_in(widgets), MAX_METRICS, "metrics"),
    ):
        if count > limit:
            raise ConfigurationError(
                f"the dashboard would have {count} {what}, and CloudWatch takes {limit}: enable "
                "fewer agents in the environment that it is made of"
            )
