"""Runs ``modelmgr`` in a test: in this process, or in one of its own as a user does."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from typer.testing import CliRunner

from langchain_modelmgr.cli.app import app
from tests.support import ROOT

if TYPE_CHECKING:
    from pathlib import Path

CONFIG = ROOT / "config"


def run(*arguments: str) -> Any:
    """Run the command in this process; its output is not a terminal."""
    return CliRunner(env={"COLUMNS": None}).invoke(app, list(arguments))


def modelmgr(
    *arguments: str, cwd: Path = ROOT, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run the command to its end; ``environment`` is set over the test's own."""
    inherited = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    return subprocess.run(
        [sys.executable, "-m", "langchain_modelmgr", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        env={**inherited, "PYTHONPATH": str(ROOT), **environment},
    )
