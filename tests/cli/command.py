"""Runs ``modelmgr`` as a process, as a user does."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

from tests.support import ROOT

if TYPE_CHECKING:
    from pathlib import Path

CONFIG = ROOT / "config"


def modelmgr(
    *arguments: str, cwd: Path = ROOT, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run the command to its end; ``environment`` is set over the test's own."""
    return subprocess.run(
        [sys.executable, "-m", "langchain_modelmgr", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
    )
