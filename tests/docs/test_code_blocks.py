"""Every block of the README and the docs runs."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from typing import TYPE_CHECKING, Any

import pytest

from langchain_modelmgr import ConfigurationError, ConfigurationManager
from tests.support import BLOCK, ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from langchain_modelmgr.local import LocalAWS

UNTITLED = re.compile(
    r"^```python\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?", re.MULTILINE | re.DOTALL
)
"""Python that runs unchanged, and what it prints if a text block follows.

A block with a title is a file, which has its own test.
"""

TITLED_YAML = re.compile(
    r'^```yaml title="(config/\w+\.yaml)"\n(.*?)^```', re.MULTILINE | re.DOTALL
)
"""A file that the page's Python reads."""

DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.glob("*.md")), *sorted((DOCS / "howto").glob("*.md"))]


def blocks(page: Path, language: str) -> list[str]:
    return [text for kind, text in BLOCK.findall(page.read_text("utf-8")) if kind == language]


def without_times(text: str) -> str:
    return re.sub(r"\d+(\.\d+)? ms", "0 ms", text)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, local_aws: LocalAWS) -> Path:
    """Change to a folder with the shipped configuration and use the local AWS."""
    shutil.copytree(ROOT / "config", tmp_path / "config")
    monkeypatch.chdir(tmp_path)
    for name, value in local_aws.env().items():
        monkeypatch.setenv(name, value)
    return tmp_path


@pytest.mark.filterwarnings("ignore:Model .* does not support temperature:UserWarning")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_the_python_of_a_page_runs_from_top_to_bottom(
    page: Path, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    namespace: dict[str, Any] = {"__name__": "__main__"}
    for name, text in TITLED_YAML.findall(page.read_text("utf-8")):
        (project / name).write_text(text, "utf-8")

    for text, output in UNTITLED.findall(page.read_text("utf-8")):
        capsys.readouterr()
        exec(compile(text, str(page), "exec"), namespace)  # noqa: S102 - our own docs
        if output:
            assert without_times(capsys.readouterr().out) == without_times(output)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_the_yaml_of_a_page_is_a_configuration(page: Path, tmp_path: Path) -> None:
    for i, text in enumerate(blocks(page, "yaml")):
        (tmp_path / f"page{i}.yaml").write_text(text, "utf-8")

        config = ConfigurationManager(f"page{i}", tmp_path)

        assert config.agent_names


def test_the_mistakes_in_the_docs_are_reported_with_the_same_words(tmp_path: Path) -> None:
    (expected,) = blocks(ROOT / "docs" / "configuration.md", "text")
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "dev.yaml").write_text(
        "agents:\n  sql_agent:\n    modle: x\n    timeout_seconds: 901\n    requires: [tool]\n"
    )

    with pytest.raises(ConfigurationError) as caught:
        ConfigurationManager("dev", tmp_path / "config")

    assert str(caught.value).replace(f"{tmp_path}/", "") == expected.strip()


def test_links_between_pages_lead_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\((?!http)([^)#]+)\)", page.read_text("utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_commands_and_extras_of_the_readme_exist() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    makefile = (ROOT / "Makefile").read_text("utf-8")

    commands = [text for text in blocks(ROOT / "README.md", "bash") if "make " in text]

    assert re.findall(r"^make (\w+)", commands[0], re.MULTILINE) == ["demo", "test"]
    assert all(f"\n{name}:" in makefile for name in ("demo", "test"))
    table = readme.split("| extra | for |\n", 1)[1].split("\n\n", 1)[0]
    listed = [name for row in re.findall(r"^\|(.*?)\|", table, re.MULTILINE)
              for name in re.findall(r"`(\w+)`", row)]  # fmt: skip
    assert sorted(listed) == sorted(extras["project"]["optional-dependencies"])
    assert {*re.findall(r"'\.\[(\w+)\]'", readme)} <= {*listed}


def test_the_tables_of_the_docs_are_generated() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "scripts.make_fallback_docs", "--check"], cwd=ROOT, check=False
    )

    assert run.returncode == 0, "run python -m scripts.make_fallback_docs"


def test_the_page_of_public_names_is_up_to_date() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "scripts.make_api_docs", "--check"], cwd=ROOT, check=False
    )

    assert run.returncode == 0, "run make docs-api"


def test_no_line_of_the_page_of_public_names_is_too_long() -> None:
    lines = (ROOT / "docs" / "api.md").read_text().splitlines()

    assert [line for line in lines if len(line) > 120] == []
