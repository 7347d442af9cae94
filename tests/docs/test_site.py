"""The documentation's site builds without a broken link, and every page can be found."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.support import ROOT

if TYPE_CHECKING:
    from pathlib import Path

DOCS = ROOT / "docs"
PAGES = sorted(p.relative_to(DOCS).as_posix() for p in DOCS.rglob("*.md"))
DECISIONS = [page for page in PAGES if page.startswith("decisions/0")]
HOW_TO = [page for page in PAGES if page.startswith("howto/") and page != "howto/index.md"]
GUIDES = ["tutorial.md", "troubleshooting.md", "local.md", "services.md", "dashboard.md"]
LINK = re.compile(r"\]\((?!http)([^)#]+)(?:#[\w-]*)?\)")


def in_navigation(entry: Any) -> list[str]:
    """Return the pages of a part of the navigation, in order."""
    if isinstance(entry, str):
        return [entry]
    if isinstance(entry, dict):
        entry = list(entry.values())
    return [page for part in entry for page in in_navigation(part)]


def linked(page: Path) -> set[Path]:
    return {(page.parent / target).resolve() for target in LINK.findall(page.read_text("utf-8"))}


def test_the_site_builds_without_a_broken_link(tmp_path: Path) -> None:
    pytest.importorskip("zensical", reason="the extra docs is not installed")
    settings = (ROOT / "mkdocs.yml").read_text("utf-8").replace("site_dir: site", "site_dir: out")
    (tmp_path / "mkdocs.yml").write_text(settings)
    shutil.copytree(DOCS, tmp_path / "docs")

    run = subprocess.run(
        [sys.executable, "-m", "zensical", "build", "--strict"],
        cwd=tmp_path,
        check=False,
        capture_output=True,
        encoding="utf-8",
    )

    assert run.returncode == 0, run.stdout + run.stderr
    assert (tmp_path / "out" / "index.html").exists()


def test_every_page_is_once_in_the_navigation() -> None:
    settings = yaml.safe_load((ROOT / "mkdocs.yml").read_text("utf-8"))

    assert sorted(in_navigation(settings["nav"]) + DECISIONS) == PAGES


def test_every_page_is_within_two_links_of_the_readme() -> None:
    first = linked(ROOT / "README.md")
    second = {target for page in first if page.suffix == ".md" for target in linked(page)}

    assert [page for page in PAGES if DOCS / page not in first | second | {DOCS / "index.md"}] == []


def test_the_decisions_are_all_listed() -> None:
    listed = linked(DOCS / "decisions" / "index.md")

    assert listed == {DOCS / page for page in DECISIONS}


@pytest.mark.parametrize("page", [*GUIDES, *HOW_TO])
def test_a_page_for_a_task_begins_with_when_to_use_it(page: str) -> None:
    _, _, text = (DOCS / page).read_text("utf-8").partition("\n\n")

    assert text.startswith("Use this when ")
