"""Dashboard, alarms and IAM policy: valid, within AWS's limits, and about the right metrics."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from langchain_modelmgr import ConfigurationError, ConfigurationManager, ModelManager
from langchain_modelmgr.dashboard import iam_policy, template_of
from langchain_modelmgr.dashboard.chains import chains_of
from langchain_modelmgr.metrics import CloudWatchSink
from tests.models import HAIKU, SONNET
from tests.support import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from langchain_modelmgr.local import LocalAWS
    from tests.agents import Configure


CONFIG = ROOT / "config"
HAIKU_45 = "anthropic.claude-haiku-4-5-20251001-v1:0"
SONNET_45 = "anthropic.claude-sonnet-4-5-20250929-v1:0"
PROFILE = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc"


def _config(tmp_path: Path, text: str) -> ConfigurationManager:
    (tmp_path / "t.yaml").write_text(text)
    return ConfigurationManager("t", tmp_path)


def _resolved(part: Any, parameters: dict[str, Any]) -> Any:
    """Return a part of a template as CloudFormation deploys it, with the defaults."""
    if isinstance(part, list):
        return [_resolved(p, parameters) for p in part]
    if not isinstance(part, dict):
        return part
    if "Ref" in part:
        return parameters.get(part["Ref"], {"Default": ""})["Default"]
    if "Fn::Sub" in part:
        text: str = part["Fn::Sub"].replace("${AWS::Region}", "us-east-1")
        return re.sub(r"\$\{(\w+)\}", lambda m: str(parameters[m[1]]["Default"]), text)
    if "Fn::If" in part:
        return []
    return {key: _resolved(value, parameters) for key, value in part.items()}


@pytest.mark.parametrize("environment", ["dev", "staging", "prod", "aws"])
def test_the_template_is_clean_under_cfn_lint(environment: str, tmp_path: Path) -> None:
    assert _cfn_lint(ConfigurationManager(environment, CONFIG), tmp_path) == (0, "")


@pytest.mark.parametrize(
    "text",
    [
        f"agents: {{a: {{model: '{SONNET}'}}, b: {{model: '{HAIKU}', fallbacks: []}}}}",
        f"agents: {{a: {{model: '{SONNET}', fallbacks: []}}}}",
        f"agents: {{a: {{model: '{SONNET}'}}}}\nmetrics: {{extra: [unpriced]}}",
        f"agents: {{a: {{model: '{SONNET}'}}}}\nmetrics: {{extra: [rollup, wasted_cost]}}",
        "agents:\n" + "\n".join(f"  a{n}: {{model: '{SONNET}'}}" for n in range(12)),
        f"agents: {{a: {{model: '{SONNET}'}}}}\nmetrics: {{extra: [budgets]}}\n"
        "budgets: {b-1: {usd: 1, per: day}, c: {usd: 1, per: month}}",
    ],
)
def test_templates_of_all_sizes_and_bills_are_clean_under_cfn_lint(
    text: str, tmp_path: Path
) -> None:
    assert _cfn_lint(_config(tmp_path, text), tmp_path) == (0, "")


def _cfn_lint(config: ConfigurationManager, tmp_path: Path) -> tuple[int, str]:
    template = tmp_path / "template.json"
    template.write_text(json.dumps(template_of(config)))
    run = subprocess.run(
        [str(Path(sys.executable).with_name("cfn-lint")), str(template)],
        capture_output=True,
        text=True,
        check=False,
    )
    return run.returncode, run.stdout


@pytest.fixture
def moto(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        _, port = server.get_host_and_port()
        yield boto3.client("cloudwatch", endpoint_url=f"http://127.0.0.1:{port}")
    finally:
        server.stop()


def test_dashboard_and_alarms_round_trip(moto: Any) -> None:
    template = template_of(ConfigurationManager("dev", CONFIG))
    deployed = _resolved(template["Resources"], template["Parameters"])

    for logical_id, resource in deployed.items():
        properties = resource["Properties"]
        if resource["Type"] == "AWS::CloudWatch::Dashboard":
            moto.put_dashboard(**properties)
            shown = moto.get_dashboard(DashboardName=properties["DashboardName"])
            assert json.loads(shown["DashboardBody"]) == json.loads(properties["DashboardBody"])
        else:
            moto.put_metric_alarm(AlarmName=logical_id, **properties)
    alarms = {a["AlarmName"]: a for a in moto.describe_alarms(MaxRecords=100)["MetricAlarms"]}

    assert alarms.keys() == deployed.keys() - {"Dashboard"}
    for name, alarm in alarms.items():
        given = deployed[name]["Properties"]
        assert alarm["Threshold"] == given["Threshold"]
        assert [m["Id"] for m in alarm["Metrics"]] == [m["Id"] for m in given["Metrics"]]


def test_every_metric_that_is_watched_is_one_that_is_published(
    configured: Configure, local_aws: LocalAWS, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", local_aws.url)
    config = configured(f"a: {{model: '{SONNET}'}}")
    sink = CloudWatchSink(lambda: local_aws.client("cloudwatch"), config.namespace)
    manager = ModelManager(config, sinks=[sink])
    manager.chat_model("a").invoke("x")
    local_aws.fail(SONNET, "ThrottlingException")
    manager.chat_model("a").invoke("x")
    local_aws.fail(HAIKU, "ThrottlingException", times=3)
    local_aws.fail(SONNET, "ThrottlingException", times=3)
    with pytest.raises(Exception, match=r"every model failed|Throttling"):
        manager.chat_model("a").invoke("x")
    manager.flush_metrics()
    published = {(d.name, d.dimensions) for d in local_aws.metrics.datums}

    template = template_of(config)

    watched = {
        (m["MetricName"], tuple(sorted((d["Name"], d["Value"]) for d in m["Dimensions"])))
        for resource in template["Resources"].values()
        for query in resource["Properties"].get("Metrics", ())
        if "MetricStat" in query
        for m in [query["MetricStat"]["Metric"]]
    }
    body = json.loads(template["Resources"]["Dashboard"]["Properties"]["DashboardBody"]["Fn::Sub"])
    for widget in body["widgets"]:
        for row in widget["properties"]["metrics"]:
            if isinstance(row[0], str):
                pairs = row[2:-1]
                watched.add((row[1], tuple(sorted(zip(pairs[::2], pairs[1::2], strict=True)))))
    assert watched
    assert watched <= published


def test_each_agent_has_its_alarms_and_an_agent_without_fallback_one_less(tmp_path: Path) -> None:
    config = _config(
        tmp_path,
        f"agents:\n  sql-agent: {{model: '{SONNET}', fallbacks: ['{HAIKU}']}}\n"
        f"  sql_agent: {{model: '{SONNET}', fallbacks: []}}\n  off: {{model: x.y, enabled: false}}",
    )

    template = template_of(config)

    alarms = template["Resources"].keys() - {"Dashboard"}
    assert len(alarms) == 5 + 4 + 1
    assert all(re.fullmatch("[A-Za-z0-9]+", name) for name in alarms)
    rate = next(v for k, v in template["Resources"].items() if k.startswith("ErrorRate"))
    assert "${MinimumCalls}" in rate["Properties"]["Metrics"][0]["Expression"]["Fn::Sub"]
    takeover = next(v for k, v in template["Resources"].items() if k.startswith("FallbackTook"))
    period = takeover["Properties"]["Metrics"][0]["Period"]
    assert period * takeover["Properties"]["EvaluationPeriods"] == 15 * 60
    assert template["Metadata"]["MonthlyCostUSD"]["custom metrics"] == "5.40"


def _alarm(template: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(
        v["Properties"] for k, v in template["Resources"].items() if k.startswith(name)
    )
    return found


def test_cost_alarms_include_waste_and_unknown_prices_where_they_are_published(
    tmp_path: Path,
) -> None:
    agents = f"agents: {{a: {{model: '{SONNET}', fallbacks: []}}}}\n"
    plain = template_of(_config(tmp_path, agents))
    full = template_of(_config(tmp_path, agents + "metrics: {extra: [wasted_cost, unpriced]}"))

    expression = _alarm(full, "DailyCost")["Metrics"][0]["Expression"]
    assert expression == "(FILL(c0,0)+FILL(w0,0))"
    assert _alarm(full, "Unpriced")["Threshold"] == {"Ref": "UnpricedAttempts"}
    assert _alarm(plain, "DailyCost")["Metrics"][0]["Expression"] == "(FILL(c0,0))"
    assert not any(name.startswith("Unpriced") for name in plain["Resources"])


def test_few_calls_that_all_fail_raise_an_alarm(tmp_path: Path) -> None:
    template = template_of(_config(tmp_path, f"agents: {{a: {{model: '{SONNET}'}}}}"))

    alarm = _alarm(template, "NothingAnswered")

    expression = alarm["Metrics"][0]["Expression"]
    assert expression == ("IF((FILL(a0,0)+FILL(a1,0))==0,(FILL(f0,0)+FILL(f1,0)),0)")
    # One denied call an hour is one failed attempt in each hour.
    assert template["Parameters"]["FailuresWithoutAnswer"]["Default"] == 0
    assert (alarm["DatapointsToAlarm"], alarm["EvaluationPeriods"]) == (2, 6)


def test_silence_of_all_agents_raises_an_alarm(tmp_path: Path) -> None:
    agents = "\n".join(f"  a{n}: {{model: '{SONNET}'}}" for n in range(12))

    alarm = _alarm(template_of(_config(tmp_path, f"agents:\n{agents}")), "MetricsSilent")

    assert alarm["TreatMissingData"] == "breaching"
    assert alarm["ComparisonOperator"] == "LessThanThreshold"
    watched = [q["MetricStat"]["Metric"]["Dimensions"][0]["Value"] for q in alarm["Metrics"][1:]]
    assert watched == [f"a{n}" for n in range(10)]


def test_an_alarm_stays_within_ten_metrics(tmp_path: Path) -> None:
    fallbacks = ", ".join(f"acme.m{n}" for n in range(9))
    config = _config(tmp_path, f"agents: {{a: {{model: acme.own, fallbacks: [{fallbacks}]}}}}")

    template = template_of(config)

    for resource in template["Resources"].values():
        queries = [q for q in resource["Properties"].get("Metrics", ()) if "MetricStat" in q]
        assert len(queries) <= 10


@pytest.mark.parametrize(("agents", "what"), [(60, "metrics"), (160, "metrics")])
def test_more_than_aws_takes_is_an_error_that_says_so(
    tmp_path: Path, agents: int, what: str
) -> None:
    lines = "\n".join(
        f"  a{n}: {{model: '{SONNET}', fallbacks: ['{HAIKU}', x.y, x.z, x.w]}}"
        for n in range(agents)
    )
    config = _config(tmp_path, f"agents:\n{lines}")

    with pytest.raises(ConfigurationError, match=f"{what}.*enable fewer agents"):
        template_of(config)


# -- the policy


def _resources(policy: dict[str, Any], sid: str) -> list[str]:
    return next((s["Resource"] for s in policy["Statement"] if s["Sid"] == sid), [])


def test_each_form_of_an_id_gets_what_it_needs_and_no_more(tmp_path: Path) -> None:
    direct = f"arn:aws:bedrock:us-east-1::foundation-model/{HAIKU}"
    config = _config(
        tmp_path,
        f"""
aws: {{region: eu-west-1}}
project_prefix: shop
agents:
  a:
    model: eu.{SONNET_45}
    fallbacks: [{HAIKU_45}, {{model: acme.y, region: eu-north-1}}]
    parameters: {{guardrail_config: {{guardrailIdentifier: g1, guardrailVersion: "1"}}}}
  b: {{model: global.{HAIKU_45}, fallbacks: ['{direct}', '{PROFILE}']}}
""",
    )

    policy = iam_policy(config, account="111122223333")

    assert _resources(policy, "InvokeModels") == [
        "arn:aws:bedrock:eu-north-1::foundation-model/acme.y",
        f"arn:aws:bedrock:eu-west-1::foundation-model/{HAIKU_45}",
        direct,
    ]
    profiles = _resources(policy, "InvokeInferenceProfiles")
    assert profiles == [
        f"arn:aws:bedrock:eu-west-1:111122223333:inference-profile/eu.{SONNET_45}",
        f"arn:aws:bedrock:eu-west-1:111122223333:inference-profile/global.{HAIKU_45}",
        PROFILE,
    ]
    through = next(s for s in policy["Statement"] if s["Sid"] == "InvokeModelsThroughThem")
    assert through["Condition"]["StringLike"]["bedrock:InferenceProfileArn"] == profiles
    assert set(through["Resource"]) == {
        "arn:aws:bedrock:*::foundation-model/*",  # the model of the unresolved ARN
        f"arn:aws:bedrock:*::foundation-model/{HAIKU_45}",
        f"arn:aws:bedrock:*::foundation-model/{SONNET_45}",
        f"arn:aws:bedrock:::foundation-model/{HAIKU_45}",
    }
    assert _resources(policy, "FindModelsBehindProfiles") == [PROFILE]
    assert _resources(policy, "ApplyGuardrails") == [
        "arn:aws:bedrock:eu-west-1:111122223333:guardrail/g1"
    ]
    publish = next(s for s in policy["Statement"] if s["Sid"] == "PublishMetrics")
    assert publish["Condition"] == {"StringEquals": {"cloudwatch:namespace": "shop/Models"}}


def test_a_known_profile_needs_no_question_and_govcloud_is_its_own_partition(
    tmp_path: Path,
) -> None:
    profile = PROFILE.replace("aws:", "aws-us-gov:").replace("us-east-1", "us-gov-west-1")
    config = _config(
        tmp_path,
        f"metrics: {{sink: emf}}\nmodels: {{'{profile}': {{base_model: {HAIKU_45}}}}}\n"
        f"agents: {{a: {{model: '{profile}', fallbacks: [us-gov.{SONNET_45}]}}}}",
    )

    policy = iam_policy(config, "us-gov-west-1")

    sids = {statement["Sid"] for statement in policy["Statement"]}
    assert sids == {"InvokeInferenceProfiles", "InvokeModelsThroughThem"}
    assert f"arn:aws-us-gov:bedrock:us-gov-west-1:*:inference-profile/us-gov.{SONNET_45}" in (
        _resources(policy, "InvokeInferenceProfiles")
    )


@pytest.mark.parametrize(
    "fallbacks",
    [
        "",  # the family rule
        ", fallbacks: []",
        f", fallbacks: ['{HAIKU}', {{model: '{SONNET}', region: us-west-2}}]",
        f", fallbacks: [{{model: '{SONNET}', parameters: {{service_tier: flex}}}}, '{HAIKU}']",
    ],
)
def test_the_dashboard_lists_the_candidates_that_the_agent_calls(
    tmp_path: Path, fallbacks: str
) -> None:
    config = _config(tmp_path, f"agents: {{a: {{model: '{SONNET}'{fallbacks}}}}}")

    (listed,) = chains_of(config)
    called = ModelManager(config, sinks=[]).agent("a").chain().candidates

    assert [(m.model_id, m.region) for m in listed.candidates] == [
        (c.model_id, c.settings.region) for c in called
    ]
