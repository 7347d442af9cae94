"""What `make demo` prints, and the picture of it in the docs."""

from __future__ import annotations

import html
import os
import re
import subprocess
import sys

import pytest

from tests.support import ROOT

ESCAPE = "\x1b["
PICTURE = ROOT / "docs" / "demo.svg"


def run(**environment: str) -> str:
    """Run the demo as `make demo` does; its standard output goes to a pipe."""
    settings = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("AWS_", "MODELMGR_", "FORCE_COLOR", "NO_COLOR"))
    }
    command = [sys.executable, "-m", "langchain_modelmgr", "demo"]
    env = {**settings, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8", **environment}
    return subprocess.run(
        command, cwd=ROOT, env=env, check=True, capture_output=True, encoding="utf-8"
    ).stdout


@pytest.fixture(scope="module")
def output() -> str:
    return run()


def test_no_line_is_wider_than_100_columns(output: str) -> None:
    assert [line for line in output.splitlines() if len(line) > 100] == []


def test_each_call_has_one_line(output: str) -> None:
    calls = re.findall(r"^  \d  (.*)$", output, re.MULTILINE)

    assert [re.sub(r"\d+ ms", "0 ms", call) for call in calls] == [
        "Sonnet 5.5 throttled 0 ms -> Haiku 5.5 answered 0 ms  $0.00002585",
        "Sonnet 5.5 throttled 0 ms -> Haiku 5.5 answered 0 ms  $0.00003839",
        "Sonnet 5.5 answered 0 ms  $0.0006336",
    ]


def test_calls_without_a_fallback_are_counted(output: str) -> None:
    assert "2 of 3 calls failed" in output


def test_the_warm_up_is_in_no_figure(output: str) -> None:
    assert "3 calls in 5 attempts" in output


def test_there_is_no_colour_where_standard_output_is_not_a_terminal(output: str) -> None:
    assert ESCAPE not in output


def test_the_names_in_the_next_steps_exist(output: str) -> None:
    steps = output.partition("What to do next\n")[2]
    files = re.findall(r"([\w/.-]+\.(?:md|py|ipynb))", steps)

    assert files
    assert [name for name in files if not (ROOT / name).exists()] == []


def test_the_picture_in_the_docs_shows_what_the_demo_prints(output: str) -> None:
    texts = re.findall(r"<text[^>]*>(.*?)</text>", PICTURE.read_text("utf-8"), re.DOTALL)
    shown = html.unescape("".join(texts)).replace("\xa0", " ")

    assert _letters(output) in _letters(shown), "run python -m scripts.make_demo_picture"


def _letters(text: str) -> str:
    """Return a text's letters, without figures, which differ from run to run."""
    return re.sub(r"[^A-Za-z_]", "", text)
