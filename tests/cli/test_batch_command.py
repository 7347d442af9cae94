"""``modelmgr batch``: a job from plan to results, in processes of their own."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from langchain_modelmgr.local.scripted import ScriptedReply
from tests.batch.conftest import AGENT
from tests.cli.command import run
from tests.support import ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from langchain_modelmgr.local import LocalAWS
    from tests.agents import Configure


@pytest.fixture
def where(configured: Configure, tmp_path: Path, local_aws: LocalAWS) -> list[str]:
    configured(AGENT)
    local_aws.script(lambda _: ScriptedReply(text="label"))
    rows = [json.dumps({"id": n, "text": f"ticket {n}"}) for n in range(30)]
    (tmp_path / "rows.jsonl").write_text("\n".join(rows))
    return ["--into", str(tmp_path / "job"), "-e", "test", "--config-dir", str(tmp_path)]


def plan(tmp_path: Path, where: list[str]) -> None:
    rows = str(tmp_path / "rows.jsonl")
    made = run("batch", "plan", "labeler", rows, "--key", "id", "--prompt", "{text}", *where)
    assert made.stdout.strip().endswith("30 rows in 1 chunks for agent labeler")


def test_a_job_from_plan_to_results(where: list[str], tmp_path: Path) -> None:
    plan(tmp_path, where)

    estimate = run("batch", "estimate", *where)
    assert estimate.stdout.splitlines()[0].split()[:2] == ["ENGINE", "ROWS"]
    assert "assumed: " in estimate.stderr
    before = json.loads(run("batch", "status", *where, "--json").stdout)
    assert (before["rows"], before["pending"], before["cost_usd"]) == (30, 30, "0")
    short = run("batch", "run", *where, "--max-usd", "0.0001")
    assert short.exit_code == 1
    assert "ended because max_usd: 0" in " ".join(short.stdout.split())
    done = run("batch", "run", *where, "--max-usd", "1", "--json")
    assert json.loads(done.stdout)["done"] == 30
    lines = run("batch", "results", *where).stdout.splitlines()
    assert [json.loads(line)["key"] for line in lines] == list(range(30))
    for suffix in ("parquet", "csv", "jsonl"):
        out = tmp_path / f"out.{suffix}"
        assert run("batch", "results", *where, "-o", str(out)).stdout.strip() == str(out)
        assert out.stat().st_size > 0
    assert "30 of 30 rows" in run("batch", "status", *where, "--watch").stdout
    assert "ends within" in run("batch", "stop", *where).stdout
    assert json.loads(run("batch", "retry", *where, "--json").stdout)["done"] == 30


def test_each_command_prints_json(where: list[str], tmp_path: Path) -> None:
    rows = str(tmp_path / "rows.jsonl")
    given = ["--key", "id", "--prompt", "{text}", *where, "--json"]

    made = json.loads(run("batch", "plan", "labeler", rows, *given).stdout)
    assert (made["agent"], made["rows"], made["chunks"]) == ("labeler", 30, 1)
    estimate = json.loads(run("batch", "estimate", *where, "--json").stdout)
    assert estimate["local"]["rows"] == 30
    assert json.loads(run("batch", "run", *where, "--json").stdout)["failed"] == 0
    out = str(tmp_path / "out.csv")
    assert json.loads(run("batch", "results", *where, "-o", out, "--json").stdout) == {"file": out}
    assert json.loads(run("batch", "stop", *where, "--json").stdout)["stopping"] is True


def test_a_status_names_what_a_reader_must_know(
    where: list[str], tmp_path: Path, local_aws: LocalAWS
) -> None:
    plan(tmp_path, where)
    local_aws.fail(None, "ValidationException", times=4)
    (tmp_path / "job" / "open" / "000000-0").mkdir(parents=True)
    (tmp_path / "job" / "open" / "000000-0" / "dead.jsonl").write_text("[29]\n")

    ended = run("batch", "run", *where, "--concurrency", "1")

    assert "failed" in ended.stdout
    assert "perhaps billed twice" in ended.stdout
    assert "modelmgr batch retry asks the failed rows again" in ended.stderr
    assert run("batch", "retry", *where).exit_code == 0


def test_mistakes_are_named_without_a_traceback(where: list[str], tmp_path: Path) -> None:
    rows = str(tmp_path / "rows.jsonl")

    missing = run("batch", "status", *where)
    assert missing.exit_code == 1
    assert "has no plan: make one with manager.batch(...)" in missing.stderr
    column = run("batch", "plan", "labeler", rows, "--prompt", "{txt}", *where)
    assert "line 1: prompt: there is no column 'txt'; did you mean 'text'?" in column.stderr
    plan(tmp_path, where)
    engine = run("batch", "run", *where, "--engine", "dask")
    assert engine.exit_code == 2
    assert "engine dask needs client" in engine.stderr
    output = run("batch", "results", *where, "-o", str(tmp_path / "out.txt"))
    assert output.exit_code == 2
    assert "give a .parquet, .csv or .jsonl file" in output.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM to catch")
def test_a_run_that_is_terminated_keeps_the_rows_that_are_out(
    where: list[str], tmp_path: Path, local_aws: LocalAWS
) -> None:
    local_aws.latency(None, 0.5)
    plan(tmp_path, where)
    command = [sys.executable, "-m", "langchain_modelmgr", "batch", "run", *where]
    with subprocess.Popen([*command, "--concurrency", "2"], cwd=ROOT) as process:
        while local_aws.requests() < 3:
            assert process.poll() is None
            time.sleep(0.01)
        process.terminate()

    found = json.loads(run("batch", "status", *where, "--json").stdout)
    assert process.returncode != 0
    assert found["done"] == local_aws.requests() < 30
    assert found["maybe_billed_twice"] == 0
