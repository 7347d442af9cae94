"""What a line says is stored as it can be, and no line keeps the others from being stored."""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.ledger.support import opened, query, write

if TYPE_CHECKING:
    from pathlib import Path

NOW = int(time.time() * 1000)
LEFT: list[Any] = [1, "a", "m", None, None, 1, NOW, 1, 0, 1, None, 7]
ENDED: list[Any] = [2, None, None, 1, NOW, 0, 1, 2, 0, 0, 0, 5, None, 1.5, None, None]


def leave(folder: Path, lines: list[Any], name: str = "0" * 32) -> None:
    """Leave the segment of a process that is dead."""
    segments = folder / "segments"
    segments.mkdir(parents=True)
    text = [json.dumps(line) for line in ({"segment": 1, "environment": "dev"}, *lines)]
    (segments / f"{name}-000001.jsonl").write_text("\n" + "\n\n".join(text) + "\n")
    (segments / f"{name}.lock").touch()


@pytest.mark.parametrize(
    ("at", "value"),
    [
        ((0, 1), "\ud800"),
        ((0, 2), "m\udfff"),
        ((0, 3), '["\ud800"]'),
        ((0, 4), '{"tenant": "\\ud800"}'),
        ((0, 4), '{"\\ud800": 1}'),
        ((0, 4), "{"),
        ((0, 10), "run-\ud800"),
        ((1, 1), "\ud800"),
        ((1, 15), "request-\ud800"),
    ],
)
def test_half_a_character_is_stored_as_a_question_mark(
    folder: Path,
    at: tuple[int, int],
    value: str,
) -> None:
    pair = [list(LEFT), list(ENDED)]
    pair[at[0]][at[1]] = value
    leave(folder, pair)
    ledger, sink = opened(folder)

    write(ledger, sink)
    ledger.flush()

    assert query(ledger, "select count(*) from attempts") == [(2,)]
    assert ledger.failures.count == 0
    ledger.close()


@pytest.mark.parametrize(
    ("at", "value"),
    [
        ((0, 5), True),
        pytest.param((0, 6), NOW * 1000, id="in microseconds"),
        ((0, 8), "0"),
        ((0, 9), 2**63),
        ((0, 11), -1),
        ((1, 5), 4),
        ((1, 6), None),
        ((1, 7), 2**63),
        ((1, 11), 0.5),
        ((1, 13), -1.0),
        ((1, 14), "fast"),
        ((1, 15), 7),
    ],
)
def test_a_field_that_cant_be_costs_its_line_alone(
    folder: Path,
    at: tuple[int, int],
    value: Any,
) -> None:
    pair = [list(LEFT), list(ENDED)]
    pair[at[0]][at[1]] = value
    leave(folder, [*pair, [*LEFT[:5], 2, *LEFT[6:]], [*ENDED[:3], 2, *ENDED[4:]]])
    ledger, sink = opened(folder)

    write(ledger, sink)
    ledger.flush()

    answered = query(ledger, "select agent from attempts where outcome = 'answered' order by id")
    assert answered == [("sql_agent",), ("a",)]
    assert ledger.failures.count == 0
    ledger.close()


@pytest.mark.skipif(os.name == "nt", reason="file names are text there")
def test_a_file_with_an_odd_name_is_left_alone(folder: Path) -> None:
    leave(folder, [LEFT, ENDED], name=os.fsdecode(b"\xff"))
    ledger, sink = opened(folder)

    write(ledger, sink)

    assert query(ledger, "select agent from attempts") == [("sql_agent",)]
    assert ledger.failures.count == 0
    ledger.close()
