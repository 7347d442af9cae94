"""HTML tables that Jupyter shows, in the colours of its theme; every text is escaped."""

from __future__ import annotations

import html
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from langchain_modelmgr.runtime.money_text import usd

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


def html_table(
    caption: str,
    columns: Sequence[str],
    rows: Iterable[Mapping[str, Any]],
    total: Mapping[str, Any] | None = None,
) -> str:
    """Return a table as HTML.

    Args:
        caption: What it shows.
        columns: The keys of each row that are shown, which are the headings, too.
        rows: The rows; a missing value is shown as ``-``.
        total: The last row, set apart.
    """
    head = "".join(f"<th>{html.escape(name)}</th>" for name in columns)
    body = "".join(_row(row, columns) for row in rows)
    foot = "" if total is None else f"<tfoot>{_row(total, columns)}</tfoot>"
    return (
        f"<table><caption>{html.escape(caption)}</caption><thead><tr>{head}</tr></thead>"
        f"<tbody>{body}</tbody>{foot}</table>"
    )


def _row(row: Mapping[str, Any], columns: Sequence[str]) -> str:
    return f"<tr>{''.join(_cell(row.get(name)) for name in columns)}</tr>"


def _cell(value: Any) -> str:
    is_number = isinstance(value, int | float | Decimal) and not isinstance(value, bool)
    style = "" if is_number else ' style="text-align: left"'
    return f"<td{style}>{html.escape(_text(value))}</td>"


def _text(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Decimal):
        return usd(value)
    if isinstance(value, float):
        return f"{value:,.1f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


class ShownDict(dict[str, Any]):
    """A dict that Jupyter shows as a table. Its pickles and copies are plain dicts."""

    def _repr_html_(self) -> str:
        raise NotImplementedError

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (dict(self),)


def data_frame(rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> Any:
    """Return rows as a pandas DataFrame.

    Raises:
        ImportError: pandas is not installed.
    """
    import pandas as pd

    return pd.DataFrame([dict(row) for row in rows], columns=list(columns))
