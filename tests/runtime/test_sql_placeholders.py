"""SQL works on every supported Python."""

from __future__ import annotations

import re

from tests.support import ROOT

NUMBERED = re.compile(r"\?[1-9]")


def test_no_statement_has_numbered_placeholders_which_python_3_12_deprecates() -> None:
    """With a sequence of values, 3.12 warns at ``?1``, and 3.14 raises an error."""
    found = [
        path.name
        for path in (ROOT / "langchain_modelmgr").rglob("*.py")
        if NUMBERED.search(path.read_text("utf-8"))
    ]

    assert found == []
