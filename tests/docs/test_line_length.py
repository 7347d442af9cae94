"""The lines of the documentation fit a terminal and a diff."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.support import ROOT

if TYPE_CHECKING:
    from pathlib import Path

MAX_CHARACTERS = 120
OUTPUT = re.compile(r"^```text.*?^```", re.MULTILINE | re.DOTALL)
"""What a program prints is quoted as it is."""

PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")]


def too_long(line: str) -> bool:
    """Whether a line is too long and could be wrapped; a table's row can't be."""
    is_row = line.startswith("|") and line.rstrip().endswith("|")
    return len(line) > MAX_CHARACTERS and not is_row and " " in line.strip().removeprefix("- ")


@pytest.mark.parametrize("page", sorted(PAGES), ids=lambda page: page.relative_to(ROOT).as_posix())
def test_no_line_of_a_page_is_longer_than_120_characters(page: Path) -> None:
    text = OUTPUT.sub(lambda block: "\n" * block[0].count("\n"), page.read_text("utf-8"))
    lines = enumerate(text.split("\n"), 1)

    assert [number for number, line in lines if too_long(line)] == []


def test_the_decisions_are_numbered_in_order() -> None:
    files = sorted((ROOT / "docs" / "decisions").glob("0*.md"))

    assert [int(file.name[:4]) for file in files] == list(range(1, len(files) + 1))
    for number, file in enumerate(files, 1):
        assert file.read_text("utf-8").startswith(f"# {number}. ")
