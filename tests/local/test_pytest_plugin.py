"""The pytest fixture, as the docs show it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

from tests.support import ROOT

if TYPE_CHECKING:
    from pathlib import Path

PAGE = (ROOT / "docs" / "local.md").read_text("utf-8")


def test_the_test_file_of_the_docs_passes(tmp_path: Path) -> None:
    (text,) = re.findall(r'^```python\n("""tests/.*?)^```', PAGE, re.MULTILINE | re.DOTALL)
    shutil.copytree(ROOT / "config", tmp_path / "config")
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_sql_agent.py").write_text(text, "utf-8")

    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert "3 passed" in run.stdout, run.stdout + run.stderr
