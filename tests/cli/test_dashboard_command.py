"""``modelmgr dashboard`` and ``modelmgr iam``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from langchain_modelmgr import ConfigurationManager
from langchain_modelmgr.dashboard import iam_policy, template_of
from tests.cli.command import CONFIG, run
from tests.models import SONNET

if TYPE_CHECKING:
    from pathlib import Path


def test_the_template_is_printed_and_its_price_on_standard_error() -> None:
    found = run("dashboard", "prod", "--config-dir", str(CONFIG))

    assert found.exit_code == 0
    assert json.loads(found.stdout) == template_of(ConfigurationManager("prod", CONFIG))
    assert found.stderr.startswith("about 28.50 USD a month: custom metrics 18.00, alarms 7.50")


def test_the_policy_names_region_and_account() -> None:
    where = ("--region", "eu-west-1", "--account", "111122223333")

    found = run("iam", "aws", "--config-dir", str(CONFIG), *where)

    assert found.exit_code == 0
    config = ConfigurationManager("aws", CONFIG)
    assert json.loads(found.stdout) == iam_policy(config, "eu-west-1", "111122223333")


def test_a_configuration_without_an_agent_to_show_is_a_mistake(tmp_path: Path) -> None:
    (tmp_path / "off.yaml").write_text(f"agents: {{a: {{model: '{SONNET}', enabled: false}}}}\n")

    found = run("dashboard", "off", "--config-dir", str(tmp_path))

    assert (found.exit_code, found.stdout) == (2, "")
