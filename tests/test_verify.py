"""The guide's verification script, and its unit tests as the guide runs them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import verify_model_manager

if TYPE_CHECKING:
    import pytest

ROOT = Path(__file__).resolve().parents[1]


def test_the_verification_passes_line_by_line() -> None:
    run = subprocess.run(
        [sys.executable, "verify_model_manager.py"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )

    lines = run.stdout.splitlines()
    assert lines[-1] == "all passed"
    assert all(line.startswith("ok  ") for line in lines[:-1])
    assert len(lines) == 17


def test_a_failed_check_is_told_and_ends_in_status_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "dev.yaml").write_text(
        "agents: {a: {model: amazon.titan-text-premier-v1:0, requires: [tools], fallbacks: []}}"
    )

    status = verify_model_manager.main(["--config-dir", str(tmp_path)])
    missing = verify_model_manager.main(["--environment", "nowhere", "--config-dir", str(tmp_path)])

    told = capsys.readouterr().out
    assert (status, missing) == (1, 1)
    assert "FAIL  chain of a: ModelCompatibilityError" in told
    assert "FAIL  configuration: there is no file" in told


def test_the_guides_unit_tests_run_as_the_guide_runs_them() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "unittest", "tests.test_model_manager"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )

    assert "Ran 8 tests" in run.stderr
