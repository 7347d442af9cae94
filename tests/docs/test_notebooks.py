"""Each notebook says what to install, leaves no server behind, and ends on Amazon Bedrock.

``make test`` runs the notebooks themselves.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from tests.support import ROOT

if TYPE_CHECKING:
    from pathlib import Path

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def cells(path: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(path.read_text("utf-8"))["cells"]
    return [{**cell, "source": "".join(cell["source"])} for cell in found]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_begins_with_its_installation_and_ends_on_bedrock(path: Path) -> None:
    first, *_, stop, last = cells(path)

    assert "pip install '.[notebook]'" in first["source"]
    assert stop["source"].endswith("aws.stop()")
    assert last["source"].startswith("## The same on Amazon Bedrock")
    (code,) = re.findall(r"^```python\n(.*?)^```", last["source"], re.MULTILINE | re.DOTALL)
    compile(code, str(path), "exec")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_outputs_of_a_notebook_name_no_error_and_no_folder_of_its_author(path: Path) -> None:
    outputs = [output for cell in cells(path) for output in cell.get("outputs", [])]

    assert outputs
    assert [output for output in outputs if output["output_type"] == "error"] == []
    assert re.findall(r"/(?:home|root|tmp|Users|work)/", json.dumps(outputs)) == []


def test_the_page_lists_every_notebook() -> None:
    page = (ROOT / "docs" / "notebooks.md").read_text("utf-8")

    assert re.findall(r"^- `notebooks/(.*?)\.ipynb`", page, re.MULTILINE) == [
        p.stem for p in NOTEBOOKS
    ]
