"""``modelmgr migrate``: what breaks with a model's successor, and the YAML's diff."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from langchain_modelmgr import ConfigurationManager
from tests.cli.command import CONFIG, modelmgr, run
from tests.models import SONNET

if TYPE_CHECKING:
    from pathlib import Path

SONNET_37 = "eu.anthropic.claude-3-7-sonnet-20250219-v1:0"
SONNET_4 = "anthropic.claude-sonnet-4-20250514-v1:0"


def _write(folder: Path, text: str) -> None:
    (folder / "config").mkdir()
    (folder / "config" / "dev.yaml").write_text(text)


def test_the_successor_and_what_breaks_are_shown(tmp_path: Path) -> None:
    _write(
        tmp_path,
        f"agents:\n  a: {{model: '{SONNET_37}', temperature: 0.5, max_tokens: 200000}}\n",
    )

    found = run("migrate", "a", "--config-dir", str(tmp_path / "config"))

    text = found.stdout
    assert found.exit_code == 0
    assert f"{SONNET_37}  retired, 2026-04-28" in text
    assert "successor    eu.anthropic.claude-sonnet-5-5" in text
    assert "parameters   no longer takes temperature, top_p" in text
    assert "tool choices no longer takes any, tool" in text
    assert "window       context window of 1,000,000 tokens, was 200,000" in text
    assert "max_tokens 200,000 is capped at 128,000" in text
    assert "input $2.20 per million tokens, was $3.00 (-27 %)" in text


@pytest.mark.skipif(shutil.which("git") is None, reason="git applies the diff")
def test_the_diff_can_be_applied_and_keeps_comments(tmp_path: Path) -> None:
    _write(
        tmp_path,
        f"agents:\n  default_model: {SONNET_37}  # for SQL\n"
        f"  a:\n    fallbacks: [eu.{SONNET_4}, {{model: '{SONNET_4}', region: eu-west-1}}]\n"
        "  b: {}\n",
    )

    shown = modelmgr("migrate", "a", cwd=tmp_path)
    command = [str(shutil.which("git")), "apply"]
    subprocess.run(command, input=shown.stdout, text=True, check=True, cwd=tmp_path)

    lines = (tmp_path / "config" / "dev.yaml").read_text().splitlines()
    assert lines[1] == "  default_model: eu.anthropic.claude-sonnet-5-5  # for SQL"
    assert "model: 'anthropic.claude-sonnet-5-5', region: eu-west-1" in lines[3]
    assert "eu.anthropic.claude-sonnet-5-5 would be twice in the chain" in shown.stderr


def test_a_configuration_without_old_models_needs_no_migration() -> None:
    found = run("migrate", "sql_agent", "-e", "aws", "--config-dir", str(CONFIG))

    assert (found.exit_code, found.stdout) == (0, "no model of sql_agent is near its end\n")


def test_a_model_id_from_a_variable_is_to_be_changed_where_it_is_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SQL_MODEL", SONNET)
    _write(tmp_path, "agents:\n  a: {model: '${SQL_MODEL}'}\n")
    assert ConfigurationManager("dev", tmp_path / "config").agent("a").model == SONNET

    found = run("migrate", "a", "--config-dir", str(tmp_path / "config"))

    assert found.exit_code == 0
    assert "successor    anthropic.claude-sonnet-5-5" in found.stdout
    assert "dev.yaml:2: " in found.stderr
    assert "---" not in found.stdout


def test_the_json_has_the_changes_by_kind() -> None:
    given = ("migrate", "sql_agent", "-e", "prod", "--config-dir", str(CONFIG), "--json")
    found = json.loads(run(*given).stdout)

    (move,) = found["moves"]
    assert move["model_id"] == SONNET
    assert move["changes"]["tool choices"] == ["no longer takes any, tool"]
    assert "+    model: anthropic.claude-sonnet-5-5" in found["diff"]


def test_an_unknown_agent_is_a_mistake() -> None:
    found = run("migrate", "nope", "--config-dir", str(CONFIG))

    assert (found.exit_code, found.stdout) == (2, "")


@pytest.mark.parametrize("columns", [80, 120])
def test_the_findings_fit_the_terminal(columns: int) -> None:
    lines = modelmgr("migrate", "sql_agent", COLUMNS=str(columns)).stdout.splitlines()

    end = next(i for i, line in enumerate(lines) if line.startswith("---"))
    assert max(map(len, lines[:end])) <= columns
