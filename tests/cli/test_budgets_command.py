"""``modelmgr budgets``: status and reset, in a process of its own."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from langchain_modelmgr import ModelManager
from tests.cli.command import modelmgr, run
from tests.models import SONNET

if TYPE_CHECKING:
    from pathlib import Path

    from tests.agents import Configure

BUDGETS = """budgets:
  daily: {usd: 1, per: day}
  tenants: {by: metadata.tenant, tokens: 2_000, per: total}"""


@pytest.fixture
def folder(configured: Configure, tmp_path: Path) -> str:
    manager = ModelManager(configured(f"a: {{model: '{SONNET}', fallbacks: []}}", BUDGETS))
    llm = manager.chat_model("a", max_tokens=10)
    for tenant in ("acme", "umbra"):
        llm.invoke("how many pallets?", {"metadata": {"tenant": tenant}})
    return str(tmp_path)


def test_budgets_shows_what_other_processes_spent(folder: str) -> None:
    heading, *rows = modelmgr("budgets", "test", "--config-dir", folder).stdout.splitlines()

    assert heading.split() == ["BUDGET", "KEY", "SPENT", "HELD", "LIMIT", "UNIT", "USED", "RESETS"]
    assert [row.split()[0] for row in rows] == ["daily", "tenants", "tenants"]
    assert "2,000  tokens" in rows[1]
    assert rows[1].endswith("never")
    assert rows[0].endswith("UTC")


def test_reset_sets_one_key_to_zero(folder: str) -> None:
    found = run(
        "budgets", "test", "--config-dir", folder, "--reset", "tenants", "--key", "acme", "--json"
    )

    spent = {
        (each["name"], each["key"]): each["spent"] for each in json.loads(found.stdout)["budgets"]
    }
    assert spent["tenants", "acme"] == 0
    assert spent["tenants", "umbra"] > 0
    assert spent["daily", None] != "0.00"


def test_a_mistake_is_named(folder: str) -> None:
    wrong = run("budgets", "test", "--config-dir", folder, "--reset", "tenant")

    assert wrong.exit_code == 2
    assert "unknown budget 'tenant'; did you mean 'tenants'?" in wrong.stderr
    assert run("budgets", "test", "--config-dir", folder, "--key", "acme").exit_code == 2


def test_without_budgets_it_says_so(configured: Configure, tmp_path: Path) -> None:
    configured(f"a: {{model: '{SONNET}'}}")

    found = run("budgets", "test", "--config-dir", str(tmp_path))

    assert "has no budgets" in found.stdout


def test_a_store_that_cant_be_reached_is_one_message(tmp_path: Path) -> None:
    (tmp_path / "test.yaml").write_text(
        "state: valkey://:secret@127.0.0.1:9/0\nbudgets: {daily: {usd: 1, per: day}}\n"
        "agents: {a: {model: us.anthropic.claude-sonnet-5-5}}"
    )

    for options in ([], ["--reset", "daily"]):
        found = run("budgets", "test", "--config-dir", str(tmp_path), *options)

        assert (found.exit_code, found.stdout) == (1, "")
        assert found.stderr == "the store of the budgets can't be used: ConnectionError\n"
