"""What all commands of ``modelmgr`` have in common: options, errors, streams, help."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import typer

from langchain_modelmgr.cli.app import app
from tests.cli.command import CONFIG, left_early, modelmgr, run
from tests.support import ROOT

if TYPE_CHECKING:
    from pathlib import Path

PAGE = (ROOT / "docs" / "cli.md").read_text("utf-8")
COMMANDS: dict[str, Any] = dict(typer.main.get_command(app).commands)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "arguments",
    [
        ["-e", "prod", "--config-dir", str(CONFIG), "iam"],
        ["iam", "-e", "prod", "--config-dir", str(CONFIG)],
        ["--config-dir", str(CONFIG), "iam", "prod"],
        ["-e", "dev", "iam", "--environment", "prod", "--config-dir", str(CONFIG)],
        ["--json", "iam", "prod", "--config-dir", str(CONFIG)],
        ["iam", "prod", "--json", "--config-dir", str(CONFIG)],
    ],
)
def test_options_of_all_commands_may_be_before_or_after_the_command(arguments: list[str]) -> None:
    found = run(*arguments)

    assert found.exit_code == 0
    assert "supply-chain-prod/Models" in found.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["iam", "nope", "--config-dir", str(CONFIG)], "nope.yaml does not exist; known: aws, dev"),
        (["iam", "../x", "--config-dir", str(CONFIG)], "is not a valid name: use letters"),
        (["iam", "--nope"], "No such option: --nope"),
        (["imm"], "No such command 'imm'"),
        (["iam", "--account", "12"], "an AWS account id has 12 digits"),
    ],
)
def test_a_users_mistake_is_one_message_on_standard_error(arguments: list[str], said: str) -> None:
    found = run(*arguments)

    assert found.exit_code == 2
    assert found.stdout == ""
    assert said in found.stderr
    assert "Traceback" not in found.stderr


def test_a_mistake_in_a_file_is_reported_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "dev.yaml").write_text("agents:\n  a: {modle: x.y}\n")

    found = run("iam", "--config-dir", str(tmp_path))

    assert found.exit_code == 2
    assert f"{tmp_path}/dev.yaml:2: agents.a.modle: unknown key" in found.stderr


def test_without_a_command_the_commands_are_listed() -> None:
    found = run()

    assert all(name in found.stdout for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_each_command_has_an_example_that_is_in_the_docs(name: str) -> None:
    found = run(name, "--help")
    example = COMMANDS[name].epilog

    assert found.exit_code == 0
    assert re.fullmatch(rf"Example: `modelmgr {name}\b[^`]*`", example)
    assert example.removeprefix("Example: ").strip("`") in PAGE
    assert "bool" not in found.stdout.lower(), "a flag takes no value"


@pytest.mark.parametrize("name", COMMANDS)
def test_the_docs_name_every_option_of_a_command(name: str) -> None:
    section = PAGE.split(f"\n## modelmgr {name}\n")[1].split("\n## ")[0]
    options = {o for p in COMMANDS[name].params for o in p.opts if o.startswith("--")}

    common = {"--environment", "--config-dir", "--json", "--help"}
    assert {o for o in options - common if f"`{o}" not in section} == set()


@pytest.mark.parametrize("columns", ["80", "120"])
def test_help_is_as_wide_as_the_terminal(columns: str) -> None:
    found = modelmgr("iam", "--help", COLUMNS=columns)

    assert max(map(len, found.stdout.splitlines())) == int(columns)


@pytest.mark.parametrize("arguments", [["--help"], ["iam", "prod"], ["dashboard", "prod"]])
def test_a_reader_may_leave_early(arguments: list[str]) -> None:
    _, stderr = left_early(*arguments)

    assert "Traceback" not in stderr
    assert "Broken" not in stderr


@pytest.mark.parametrize("missing", ["typer", "rich"])
def test_without_the_extra_the_command_says_what_to_install(missing: str, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(f"import sys; sys.modules[{missing!r}] = None\n")

    found = modelmgr("--help", PYTHONPATH=f"{tmp_path}:{ROOT}")

    assert (found.returncode, found.stdout) == (1, "")
    assert found.stderr == (
        "modelmgr needs typer and rich: pip install 'langchain-modelmgr[cli]'\n"
    )


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals there")
@pytest.mark.parametrize(("no_color", "styled"), [("", True), ("1", False)])
def test_colours_are_for_terminals_without_no_color(no_color: str, *, styled: bool) -> None:
    import pty

    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "NO_COLOR": no_color, "COLUMNS": "80"}
    with subprocess.Popen(
        [sys.executable, "-m", "langchain_modelmgr", "iam", "--nope"],
        cwd=ROOT,
        env=environment,
        stderr=theirs,
    ):
        os.close(theirs)
        shown = b""
        with contextlib.suppress(OSError):  # the other side is closed
            while chunk := os.read(ours, 4096):
                shown += chunk
    os.close(ours)

    assert b"No such option" in shown
    assert (b"\x1b[31m" in shown) == styled


def test_importing_the_package_does_not_import_the_command_lines_libraries() -> None:
    code = (
        "import sys, langchain_modelmgr.cli, langchain_modelmgr.manager\n"
        "print({'typer', 'rich', 'langchain_modelmgr.cli.app'} & set(sys.modules))"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "set()"
