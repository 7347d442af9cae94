"""The program in docs/opentelemetry.md prints what the page says, and names are documented."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import TYPE_CHECKING

from langchain_modelmgr.tracing import names
from tests.support import BLOCK, ROOT

if TYPE_CHECKING:
    from pathlib import Path

DOC = (ROOT / "docs" / "opentelemetry.md").read_text(encoding="utf-8")


def test_the_program_prints_the_spans_of_the_page(tmp_path: Path) -> None:
    program, printed = re.findall(
        r'^```python title="traced.py"\n(.*?)^```\n\n```text\n(.*?)^```',
        DOC,
        re.MULTILINE | re.DOTALL,
    )[0]
    config = next(text for kind, text in BLOCK.findall(DOC) if kind == "yaml")
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "traced.yaml").write_text(
        config.replace("metrics:\n", "metrics:\n  sink: none\n")
    )

    run = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False
    )

    assert run.stdout == printed, run.stderr


def test_every_name_is_on_the_page() -> None:
    values = {v for v in vars(names).values() if isinstance(v, str)}
    standard = {v for v in values if re.fullmatch(r"(gen_ai|modelmgr|aws|error)\.[a-z_.]+", v)}

    missing = {v for v in standard if v not in DOC and f".{v.rpartition('.')[2]}`" not in DOC}

    assert len(standard) > 40
    assert missing == set()
