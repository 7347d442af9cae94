"""The guide's verification script, and its unit tests as the guide runs them."""

from __future__ import annotations

import logging
import subprocess
import sys
from typing import TYPE_CHECKING

import verify_model_manager
from langchain_modelmgr import ConfigurationManager, ModelManager
from tests.support import ROOT

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


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
    assert len(lines) == 19
    (models,) = (line for line in lines if line.startswith("ok    models:"))
    assert "anthropic.claude-3-5-sonnet-20241022-v2:0 retired on 2026-07-30" in models
    assert "its successor: anthropic.claude-sonnet-5-5" in models


def test_a_failed_check_is_printed_and_the_exit_status_is_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "dev.yaml").write_text(
        "agents: {a: {model: amazon.titan-text-premier-v1:0, requires: [tools], fallbacks: []}}"
    )

    status = verify_model_manager.main(["--config-dir", str(tmp_path)])
    missing = verify_model_manager.main(["--environment", "nowhere", "--config-dir", str(tmp_path)])

    printed = capsys.readouterr().out
    assert (status, missing) == (1, 1)
    assert logging.getLogger("langchain_modelmgr").level == logging.NOTSET
    assert "FAIL  chain of a: ModelCompatibilityError" in printed
    assert "nowhere.yaml does not exist" in printed


def test_metrics_that_cloudwatch_does_not_accept_are_a_failed_check(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("AWS_DEFAULT_REGION")

    assert verify_model_manager.main(["--aws", "--config-dir", str(ROOT / "config")]) == 1

    printed = capsys.readouterr().out
    assert "FAIL  live call of sql_agent: ConfigurationError" in printed
    assert "FAIL  metrics: AssertionError: 0 attempts: 0 data points sent" in printed
    assert "ok    metrics" not in printed


def test_a_model_past_its_end_is_a_failed_check_where_no_file_says_otherwise(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://10.255.255.1:9")  # an address without a server
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    (tmp_path / "dev.yaml").write_text(
        "agents: {a: {model: anthropic.claude-3-haiku-20240307-v1:0, fallbacks: []}}"
    )
    config = ConfigurationManager("dev", tmp_path)

    failed = verify_model_manager.report(
        check
        for check in verify_model_manager.checks(ModelManager(config, sinks=[]), None)
        if check[0] == "models"
    )

    assert failed == 1
    assert (
        "anthropic.claude-3-haiku-20240307-v1:0 of a: retired on 2026-09-10"
        in capsys.readouterr().out
    )


def test_the_guides_unit_tests_run_as_the_guide_runs_them() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "unittest", "tests.test_model_manager"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )

    assert "Ran 8 tests" in run.stderr
