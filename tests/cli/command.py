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


def left_early(*arguments: str, lines: int = 0) -> tuple[int, str]:
    """Run the command, close its output after some lines; return its exit status and stderr."""
    with subprocess.Popen(
        [sys.executable, "-m", "langchain_modelmgr", *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        for _ in range(lines):
            assert process.stdout.readline()
        process.stdout.close()
        _, stderr = process.communicate()
    return process.returncode, stderr
