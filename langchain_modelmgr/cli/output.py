"""Prints results on standard output, and everything else on standard error."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any, Literal

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_UNLIMITED = 10_000
"""Columns of output that is not a terminal: a pipe's reader wants whole lines."""

_GAP = 2
"""Spaces between two columns."""


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Let ``app`` end the command, as it does for text that is not written by rich."""
        raise BrokenPipeError


def console(*, stderr: bool = False) -> Console:
    """Return a console: as wide as the terminal or ``COLUMNS``, unlimited in a pipe."""
    file = sys.stderr if stderr else sys.stdout
    limited = file.isatty() or os.environ.get("COLUMNS")
    return _Console(
        file=file,
        width=None if limited else _UNLIMITED,
        markup=False,
        highlight=False,
        emoji=False,
        soft_wrap=not limited,
    )


def width() -> int:
    """Return the columns that a line of standard output may have."""
    return console().width


def say(text: str = "", *, style: str | None = None) -> None:
    """Print a result, wrapped at words."""
    console().print(text, style=style)


def note(text: str) -> None:
    """Print progress, a warning or a mistake, on standard error."""
    console(stderr=True).print(text)


def print_json(value: Any) -> None:
    """Print a value as JSON; Decimal, dates and paths become text."""
    sys.stdout.write(json.dumps(value, indent=2, default=str) + "\n")


def print_table(
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    right: Sequence[str] = (),
    optional: Sequence[str] = (),
) -> None:
    """Print a table without lines. Numbers are never cut or wrapped.

    Args:
        columns: The headings.
        rows: The cells as text.
        right: Headings of columns of numbers, which are aligned to the right.
        optional: Headings of columns that are left out where the width is too small, in this order.
    """
    cells = [list(row) for row in rows]
    shown = list(range(len(columns)))
    for name in (name for name in optional if name in columns):
        if _width_of(columns, cells, shown) > width():
            shown.remove(columns.index(name))
    table = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="bold")
    for name in (columns[i] for i in shown):
        is_number = name in right
        justify: Literal["left", "right"] = "right" if is_number else "left"
        table.add_column(name, justify=justify, no_wrap=is_number, overflow="fold")
    for row in cells:
        table.add_row(*(row[i] for i in shown))
    _write(table)


def _width_of(columns: Sequence[str], rows: list[list[str]], shown: list[int]) -> int:
    widths = [max([len(columns[i]), *(len(row[i]) for row in rows)]) for i in shown]
    return sum(widths) + _GAP * (len(widths) - 1)


def print_facts(
    facts: Iterable[tuple[str, str]], *, indent: int = 2, style: str | None = None
) -> None:
    """Print labels and values in two columns; long values are wrapped in theirs.

    Args:
        facts: The labels and values.
        indent: Spaces before a label.
        style: The labels' style.
    """
    table = Table.grid(padding=(0, 1, 0, 0))
    table.add_column(no_wrap=True, style=style)
    table.add_column(overflow="fold")
    for label, value in facts:
        table.add_row(" " * indent + label, value)
    _write(table)


def _write(table: Table) -> None:
    """Print a table without the spaces that rich writes at the ends of lines."""
    out = console()
    with out.capture() as lines:
        out.print(table)
    sys.stdout.write("".join(f"{line.rstrip()}\n" for line in lines.get().splitlines()))
