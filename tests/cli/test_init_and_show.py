"""``modelmgr init`` writes a configuration, and ``modelmgr show`` says what is resolved."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from langchain_modelmgr import ConfigurationManager, ModelManager
from tests.cli.command import CONFIG, modelmgr, run

if TYPE_CHECKING:
    from pathlib import Path

ARN = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc"


# -- init


@pytest.mark.parametrize(
    ("region", "prefix"),
    [
        ("eu-central-1", "eu."),
        ("us-east-1", "us."),
        ("us-gov-west-1", "us-gov."),
        ("ap-northeast-1", "jp."),
        ("ap-southeast-1", "apac."),
        ("sa-east-1", "global."),
    ],
)
def test_init_writes_todays_models_of_the_regions_geography(
    region: str, prefix: str, tmp_path: Path
) -> None:
    found = run("init", "--region", region, "--config-dir", str(tmp_path / "new"))

    assert found.exit_code == 0
    config = ConfigurationManager("dev", tmp_path / "new")
    assert found.stdout.strip() == str(tmp_path / "new" / "dev.yaml")
    assert config.aws.region == region
    with ModelManager(config, sinks=[]) as manager:
        checks = manager.check_chains()
    assert len(checks) == 4
    assert all(check.ok and check.model_id.startswith(prefix) for check in checks)
    assert not [w for check in checks for w in check.warnings if "retire" in w or "unknown" in w]


def test_init_never_overwrites_a_file(tmp_path: Path) -> None:
    (tmp_path / "prod.yaml").write_text("mine")

    found = run("init", "--region", "eu-west-1", "-e", "prod", "--config-dir", str(tmp_path))

    assert (found.exit_code, found.stdout) == (2, "")
    assert "prod.yaml exists, and init never overwrites a file" in found.stderr
    assert (tmp_path / "prod.yaml").read_text() == "mine"


def test_init_takes_the_region_of_the_aws_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-3")

    found = run("init", "--config-dir", str(tmp_path), "--json")

    assert json.loads(found.stdout)["region"] == "eu-west-3"
    assert ConfigurationManager("dev", tmp_path).aws.region == "eu-west-3"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--region", "eu-cental-1"], "unknown AWS region 'eu-cental-1'; did you mean 'eu-centr"),
        ([], "no region is set: write --region eu-central-1"),
        (["--region", "eu-west-1", "-e", "../x"], "'../x' is not a valid name"),
    ],
)
def test_a_mistake_writes_no_file(
    arguments: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_DEFAULT_REGION")

    found = run("init", *arguments, "--config-dir", str(tmp_path))

    assert found.exit_code == 2
    assert said in " ".join(found.stderr.replace("│", " ").split())
    assert list(tmp_path.iterdir()) == []


# -- show


def test_show_lists_each_chain_with_prices_and_verdicts() -> None:
    lines = run("show", "--config-dir", str(CONFIG)).stdout.splitlines()

    assert lines[0].startswith("environment dev, ")
    assert lines[0].endswith("region us-east-1 (AWS settings)")
    own = next(i for i, line in enumerate(lines) if line.startswith("sql_agent "))
    assert lines[own].split()[-1].endswith("dev.yaml:13")
    assert lines[own + 1].split() == [
        "anthropic.claude-3-5-sonnet-20241022-v2:0",
        "3.00",
        "15.00",
        "warning",
    ]


def test_show_says_from_which_line_each_setting_is(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("aws: {region: eu-west-1}\nagents:\n  default_model: x.y\n")
    (tmp_path / "dev.yaml").write_text(
        "agents:\n  a:\n    timeout_seconds: 5\n    fallbacks: [y.z]\n    temperature: 0.5\n"
    )

    found = json.loads(run("show", "a", "--config-dir", str(tmp_path), "--json").stdout)

    places = {key: setting["from"] for key, setting in found["settings"].items()}
    assert found["from"] == f"{tmp_path}/dev.yaml:2"
    assert places["model"] == f"{tmp_path}/base.yaml:3"
    assert places["timeout_seconds"] == f"{tmp_path}/dev.yaml:3"
    assert places["retries"] == "default"
    assert found["fallbacks_from"] == f"{tmp_path}/dev.yaml:4"
    assert [row["verdict"] for row in found["chain"]] == ["warning", "warning"]
    text = run("show", "a", "--config-dir", str(tmp_path)).stdout
    assert "eu-west-1" in text
    assert "not in the catalog" in text


def test_show_prints_no_account_id(tmp_path: Path) -> None:
    (tmp_path / "dev.yaml").write_text(f"agents: {{a: {{model: '{ARN}', fallbacks: []}}}}\n")

    for arguments in (["show"], ["show", "a"], ["show", "--json"]):
        found = run(*arguments, "--config-dir", str(tmp_path))
        assert found.exit_code == 0
        assert "123456789012" not in found.output


def test_show_of_an_unknown_agent_names_the_nearest() -> None:
    found = run("show", "sql_agnet", "--config-dir", str(CONFIG))

    assert found.exit_code == 2
    assert "unknown agent 'sql_agnet'" in found.stderr
    assert "sql_agent" in found.stderr


def test_show_in_json_has_money_as_text() -> None:
    found = json.loads(run("show", "--json", "-e", "aws", "--config-dir", str(CONFIG)).stdout)

    assert found["environment"] == "aws"
    first = found["agents"]["sql_agent"]["chain"][0]
    assert isinstance(first["cost_per_1k_input_tokens"], str)


@pytest.mark.parametrize("columns", [80, 120])
@pytest.mark.parametrize("arguments", [["show"], ["show", "sql_agent"]])
def test_show_fits_the_terminal_and_wraps_no_model_id(columns: int, arguments: list[str]) -> None:
    lines = modelmgr(*arguments, COLUMNS=str(columns)).stdout.splitlines()

    assert max(map(len, lines)) <= columns
    row = next(line for line in lines if "sonnet-20241022-v2:0" in line and "15.00" in line)
    assert row.split()[-2:] == ["15.00", "warning"]
