"""The CloudFormation template, and what it costs a month."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from langchain_modelmgr.dashboard.alarms import PARAMETERS, alarms_of
from langchain_modelmgr.dashboard.chains import chains_of
from langchain_modelmgr.dashboard.widgets import (
    MAX_METRICS,
    MAX_METRICS_A_WIDGET,
    MAX_WIDGETS,
    metrics_in,
    widgets_of,
)
from langchain_modelmgr.errors import ConfigurationError

if TYPE_CHECKING:
    from langchain_modelmgr.config import ConfigurationManager
    from langchain_modelmgr.dashboard.chains import Chain

METRIC_USD, ALARM_METRIC_USD, DASHBOARD_USD = 0.30, 0.10, 3.00
"""USD a month: a custom metric, a metric of a standard alarm, a dashboard beyond the first three.
Source: AWS, "Amazon CloudWatch pricing", US East, read 2026-11-23."""

_SERIES_A_MODEL = 6
MAX_RESOURCES = 500
"""Resources of a template. Source: AWS, "CloudFormation quotas", read 2026-11-23."""


def template_of(config: ConfigurationManager) -> dict[str, Any]:
    """Return a CloudFormation template: a dashboard, and four alarms for each agent.

    Raises:
        ConfigurationError: No agent is enabled, or more than AWS takes in one template.
    """
    chains = chains_of(config)
    widgets = widgets_of(chains, config.namespace)
    _check_dashboard(widgets)
    resources: dict[str, Any] = {"Dashboard": _dashboard(config, widgets)}
    billed = 0
    for chain in chains:
        for logical_id, alarm, metrics in alarms_of(chain, config.namespace):
            resources[logical_id] = alarm
            billed += metrics
    if len(resources) > MAX_RESOURCES:
        raise ConfigurationError(
            f"{len(chains)} agents make {len(resources)} resources, and a template takes "
            f"{MAX_RESOURCES}: enable fewer agents in the environment that this is made of"
        )
    bill = monthly_bill(chains, billed)
    return {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Description": f"Metrics {config.namespace} of langchain-modelmgr: dashboard and alarms",
        "Metadata": {"MonthlyCostUSD": bill},
        "Parameters": PARAMETERS,
        "Conditions": {"HasTopic": {"Fn::Not": [{"Fn::Equals": [{"Ref": "AlarmTopicArn"}, ""]}]}},
        "Resources": resources,
    }


def monthly_bill(chains: list[Chain], alarm_metrics: int) -> dict[str, float]:
    """Return USD a month by what it is for, at most: first tiers, no free ones."""
    series = sum(len(chain.models) * _SERIES_A_MODEL for chain in chains)
    bill = {
        "custom metrics": round(series * METRIC_USD, 2),
        "alarms": round(alarm_metrics * ALARM_METRIC_USD, 2),
        "dashboard": DASHBOARD_USD,
    }
    return {**bill, "total": round(sum(bill.values()), 2)}


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
