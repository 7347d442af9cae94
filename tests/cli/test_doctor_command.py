"""``modelmgr doctor``: each planted fault gives its finding, with a cure and an exit status."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from langchain_modelmgr import ConfigurationManager, ModelManager
from tests.cli.command import CONFIG, modelmgr, run
from tests.models import HAIKU, SONNET

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from langchain_modelmgr.local import LocalAWS

PROFILE = "us.anthropic.claude-sonnet-5-5"
BASE = "anthropic.claude-sonnet-5-5"
FALLBACK = "us.anthropic.claude-haiku-5-5"
GUARDRAIL = "gr12345678ab"
AGENTS = f"""
aws: {{region: us-east-1}}
project_prefix: doctor
agents:
  sql:
    model: {PROFILE}
    fallbacks: [{FALLBACK}]
    parameters:
      guardrail_config: {{guardrailIdentifier: {GUARDRAIL}, guardrailVersion: "1"}}
"""
SECRET = "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY"


@pytest.fixture
def folder(tmp_path: Path, local_aws: LocalAWS) -> Iterator[Path]:
    (tmp_path / "dev.yaml").write_text(AGENTS)
    with local_aws.environment():
        yield tmp_path


def _doctor(folder: Path, *options: str) -> tuple[int, list[dict[str, Any]]]:
    found = run("doctor", "--json", "--config-dir", str(folder), *options)
    return found.exit_code, json.loads(found.stdout)["findings"]


def _serious(findings: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [f for f in findings if f["status"] in {"problem", "warning"}]


def test_a_healthy_configuration_has_no_finding_but_what_was_not_asked(folder: Path) -> None:
    status, findings = _doctor(folder)

    assert status == 0
    assert _serious(findings) == []
    unchecked = [f for f in findings if f["status"] == "unchecked"]
    assert {f["check"]: f["cure"] for f in unchecked} == {
        "AWS": "modelmgr doctor --live",
        "calls": "modelmgr doctor --call",
    }


def test_without_live_nothing_is_sent(folder: Path, local_aws: LocalAWS) -> None:
    _doctor(folder)

    assert local_aws.calls() == []
    assert local_aws.metrics.put_requests == 0


def test_live_asks_and_changes_nothing(folder: Path, local_aws: LocalAWS) -> None:
    status, findings = _doctor(folder, "--live")

    assert (status, _serious(findings)) == (0, [])
    assert {call.operation for call in local_aws.calls()} == {
        "GetCallerIdentity",
        "GetFoundationModelAvailability",
        "GetGuardrail",
        "GetInferenceProfile",
        "ListFoundationModels",
    }
    assert local_aws.metrics.put_requests == 1
    assert local_aws.metrics.datums == []
    checked = {f["check"] for f in findings if f["status"] == "ok"}
    assert {"identity", "clock", "model access", "guardrail", "metrics"} <= checked


FAULTS: dict[str, tuple[Callable[[LocalAWS], None], str, str, str]] = {
    "denied": (
        lambda aws: aws.access(BASE, authorized=False),
        "problem",
        "the account is not authorized to use it",
        "Bedrock console of us-east-1",
    ),
    "not entitled": (
        lambda aws: aws.access(BASE, entitled=False),
        "problem",
        "the account is not entitled to it",
        "Bedrock console of us-east-1",
    ),
    "no agreement": (
        lambda aws: aws.access(BASE, agreed=False),
        "problem",
        "its agreement was not accepted",
        "Bedrock console of us-east-1",
    ),
    "wrong region": (
        lambda aws: aws.access(BASE, in_region=False),
        "problem",
        "this region does not have it",
        "Bedrock console of us-east-1",
    ),
    "not found": (
        lambda aws: aws.unknown(BASE),
        "problem",
        "GetFoundationModelAvailability: ResourceNotFoundException",
        "modelmgr models",
    ),
    "no profile": (
        lambda aws: aws.fail(PROFILE, "ResourceNotFoundException", at="profile", times=None),
        "problem",
        "GetInferenceProfile: ResourceNotFoundException",
        "modelmgr show sql -e dev",
    ),
    "legacy": (
        lambda aws: aws.lifecycle(BASE, "LEGACY"),
        "warning",
        "AWS says that it is legacy",
        "modelmgr migrate sql -e dev",
    ),
    "denied fallback": (
        lambda aws: aws.access(FALLBACK.removeprefix("us."), authorized=False),
        "warning",
        "the account is not authorized to use it",
        "Bedrock console of us-east-1",
    ),
    "missing guardrail": (
        lambda aws: aws.fail(GUARDRAIL, "ResourceNotFoundException", at="guardrail", times=None),
        "problem",
        "ResourceNotFoundException",
        "guardrail_config of sql in dev.yaml",
    ),
    "denied metrics": (
        lambda aws: aws.metrics.fail("AccessDenied"),
        "warning",
        "the role lacks cloudwatch:PutMetricData",
        "modelmgr iam dev",
    ),
    "slow clock": (
        lambda aws: aws.clock_skew(900),
        "problem",
        "behind AWS: AWS refuses its signatures",
        "timedatectl",
    ),
    "fast clock": (
        lambda aws: aws.clock_skew(-900),
        "problem",
        "ahead of AWS: AWS refuses its signatures",
        "timedatectl",
    ),
    "clock that drifts": (
        lambda aws: aws.clock_skew(120),
        "warning",
        "behind AWS",
        "timedatectl",
    ),
    "expired credentials": (
        lambda aws: aws.fail(None, "ExpiredTokenException", at="identity", times=None),
        "problem",
        "ExpiredTokenException",
        "aws sso login",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_planted_fault_gives_its_finding(
    folder: Path, local_aws: LocalAWS, fault: str
) -> None:
    plant, level, text, cure = FAULTS[fault]
    plant(local_aws)

    status, findings = _doctor(folder, "--live")

    (found,) = _serious(findings)
    assert found["status"] == level
    assert text in found["text"]
    assert cure in found["cure"]
    assert status == (level == "problem")


@pytest.mark.parametrize(
    ("place", "name", "operation"),
    [
        ("availability", None, "GetFoundationModelAvailability"),
        ("models", None, "ListFoundationModels"),
        ("profile", None, "GetInferenceProfile"),
        ("guardrail", GUARDRAIL, "GetGuardrail"),
    ],
)
def test_a_question_that_is_denied_is_unchecked_and_says_what_it_needs(
    folder: Path, local_aws: LocalAWS, place: Any, name: str | None, operation: str
) -> None:
    local_aws.fail(name, "AccessDeniedException", at=place, times=None)

    status, findings = _doctor(folder, "--live")

    denied = [f for f in findings if f["text"] == f"{operation} is denied"]
    assert denied
    assert {f["status"] for f in denied} == {"unchecked"}
    assert f"bedrock:{operation}" in denied[0]["cure"]
    assert status == 0


def test_an_unreachable_aws_ends_with_findings(tmp_path: Path) -> None:
    (tmp_path / "dev.yaml").write_text(AGENTS)

    done = modelmgr(
        "doctor",
        "--live",
        "--config-dir",
        str(tmp_path),
        AWS_ENDPOINT_URL="http://127.0.0.1:9",
        AWS_ACCESS_KEY_ID="AKIDEXAMPLE",
        AWS_SECRET_ACCESS_KEY=SECRET,
    )

    assert done.returncode == 0
    assert "STS did not answer" in done.stdout
    assert "could not be asked: EndpointConnectionError" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def test_call_says_first_what_it_costs_and_records_its_calls(
    folder: Path, local_aws: LocalAWS
) -> None:
    local_aws.fail(PROFILE, "AccessDeniedException", times=None)

    found = run("doctor", "--call", "--json", "--config-dir", str(folder))

    assert "sending one token to each of 2 models: at most $0.0000" in found.stderr
    calls = [f for f in json.loads(found.stdout)["findings"] if f["check"] == "call"]
    assert [f["status"] for f in calls] == ["problem", "ok"]
    assert "AccessDeniedException" in calls[0]["text"]
    assert found.exit_code == 1
    assert local_aws.metrics.sum("doctor/Models", "ModelInvocations") == 2


def test_calls_without_a_known_price_are_counted(folder: Path) -> None:
    arn = "arn:aws:bedrock:us-east-1:123456789012:imported-model/abc"
    (folder / "dev.yaml").write_text(f"agents: {{a: {{model: '{arn}', fallbacks: []}}}}")

    found = run("doctor", "--call", "--config-dir", str(folder))

    assert "at most $0.0000, and 1 with an unknown price" in found.stderr
    assert "123456789012" not in found.stdout + found.stderr


def test_no_region_and_no_credentials_are_findings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_DEFAULT_REGION", "AWS_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    (tmp_path / "dev.yaml").write_text(f"agents: {{a: {{model: {PROFILE}}}}}")

    status, findings = _doctor(tmp_path)

    serious = {f["check"]: f for f in _serious(findings)}
    assert serious["region"]["status"] == "problem"
    assert "set aws.region in dev.yaml" in serious["region"]["cure"]
    assert serious["credentials"]["status"] == "warning"
    assert "modelmgr doctor --live" in serious["credentials"]["cure"]
    assert status == 1


def test_a_profile_that_does_not_exist_is_a_finding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    (tmp_path / "dev.yaml").write_text(
        f"aws: {{profile: nowhere, region: us-east-1}}\nagents: {{a: {{model: {PROFILE}}}}}"
    )

    status, findings = _doctor(tmp_path)

    assert status == 1
    assert any(f["status"] == "problem" and "nowhere" in f["text"] for f in findings)


def test_credentials_are_never_printed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)

    found = run("doctor", "--live", "--call", "--config-dir", str(folder))

    assert SECRET not in found.stdout + found.stderr
    assert "AKIDEXAMPLE" not in found.stdout + found.stderr
    assert "123456789012" not in found.stdout + found.stderr


def test_a_time_out_that_max_tokens_outlast_is_a_warning(folder: Path) -> None:
    (folder / "dev.yaml").write_text(
        f"agents: {{a: {{model: {PROFILE}, max_tokens: 30000, timeout_seconds: 60}}}}"
    )

    _, findings = _doctor(folder)

    (found,) = [f for f in _serious(findings) if f["subject"] == f"a: {PROFILE}"]
    assert found["text"] == "30000 tokens without streaming take longer than 60 s"
    assert "raise timeout_seconds" in found["cure"]


@pytest.mark.parametrize(("required", "level"), [("true", "problem"), ("false", "warning")])
def test_a_store_of_budgets_that_cant_be_reached_is_a_finding(
    folder: Path, required: str, level: str
) -> None:
    state = f"state: valkey://:{SECRET}@127.0.0.1:9/0\nstate_required: {required}\n"
    (folder / "dev.yaml").write_text(f"{state}budgets: {{b: {{usd: 1, per: day}}}}\n{AGENTS}")

    offline = _serious(_doctor(folder)[1])
    status, findings = _doctor(folder, "--live")

    (found,) = [f for f in _serious(findings) if f["check"] == "budgets"]
    assert (found["status"], status) == (level, level == "problem")
    assert "can't be used: ConnectionError" in found["text"]
    assert SECRET not in str(findings)
    assert offline == []


def test_a_budget_without_anything_left_is_a_finding(folder: Path) -> None:
    (folder / "dev.yaml").write_text(f"budgets: {{b: {{tokens: 1, per: total}}}}\n{AGENTS}")
    config = ConfigurationManager("dev", folder)
    with ModelManager(config, sinks=[]) as manager:
        manager.budgets.add("sql", {}, cost_usd=None, tokens=1)

        (found,) = _serious(_doctor(folder)[1])

    assert (found["check"], found["subject"], found["status"]) == ("budgets", "b", "warning")
    assert "modelmgr budgets --reset b" in found["cure"]


def test_a_finding_about_several_agents_is_shown_once(folder: Path) -> None:
    (folder / "dev.yaml").write_text(
        "retired_models: warning\nagents:\n"
        f"  a: {{model: '{SONNET}', fallbacks: []}}\n  b: {{model: '{SONNET}', fallbacks: []}}\n"
        f"  c: {{model: '{HAIKU}', fallbacks: []}}\n"
    )

    _, findings = _doctor(folder)

    retired = [f["subject"] for f in findings if f["text"].startswith("retired")]
    assert retired == [f"{SONNET} of a, b", f"{HAIKU} of c"]


def test_the_last_lines_are_the_most_serious(folder: Path, local_aws: LocalAWS) -> None:
    local_aws.access(BASE, authorized=False)
    local_aws.lifecycle(BASE, "LEGACY")

    found = run("doctor", "--live", "--config-dir", str(folder))

    lines = [line for line in found.stdout.splitlines() if line]
    statuses = [line.split()[0] for line in lines[1:-1] if not line.startswith(" ")]
    order = ["ok", "unchecked", "warning", "problem"]
    assert statuses == sorted(statuses, key=order.index)
    assert lines[-1].startswith("1 problem, 1 warning, 1 unchecked, ")


@pytest.mark.parametrize("columns", ["80", "120"])
def test_the_findings_of_the_doctor_fit_the_terminal(columns: str) -> None:
    done = modelmgr("doctor", "--config-dir", str(CONFIG), COLUMNS=columns)

    assert max(map(len, done.stdout.splitlines())) <= int(columns)


def test_a_mistake_in_the_file_has_exit_status_2(folder: Path) -> None:
    (folder / "dev.yaml").write_text("agents: {a: {modle: x}}")

    found = run("doctor", "--config-dir", str(folder))

    assert (found.exit_code, found.stdout) == (2, "")
    assert "modle" in found.stderr
