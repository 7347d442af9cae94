"""Rows with unusual keys, texts and files are planned as they are, or refused by name."""

from __future__ import annotations

import json
import math
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from langchain_modelmgr.batch.plan import planned
from langchain_modelmgr.batch.rows import Rows
from langchain_modelmgr.batch.store import FolderStore
from langchain_modelmgr.errors import JobError

if TYPE_CHECKING:
    from pathlib import Path

SURROGATE = "a\ud800"


def keys_of(folder: Path, rows: Any, prompt: str = "{text}") -> Any:
    """Return the keys of the plan of some rows, as a pyarrow column."""
    store = FolderStore(folder / "job")
    plan = planned(store, "a", Rows(rows, key="id", prompt=prompt), system="", window=None)
    return plan.table_of(store, 0).column("key")


def with_keys(*keys: Any) -> list[dict[str, Any]]:
    return [{"id": key, "text": "x"} for key in keys]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ((1, 2.5), "row 2: the key 2.5 is not of the type of the keys before it, int64"),
        ((2, 2.0), "row 2: the key 2.0 is that of row 1 too"),
        ((np.int64(2), 2), "row 2: the key 2 is that of row 1 too"),
        ((0.0, -0.0), "row 2: the key -0.0 is that of row 1 too"),
        ((1.0, math.nan), "row 2: the key 'id' is empty"),
        (([1],), "row 1: the key, of type list, is neither a text in valid Unicode nor a number"),
        (({"a": 1},), "row 1: the key, of type dict, is neither"),
        ((SURROGATE,), "row 1: the key, of type str, is neither"),
        (("a", SURROGATE), "row 2: the key 'a.ud800' is not of the type"),
        ((2**64,), "row 1: the key, of type int, is neither"),
        ((Decimal("1.5"), Decimal("1.50")), "row 2: the key .* is that of row 1 too"),
    ],
)
def test_a_key_that_would_change_or_come_twice_is_refused(
    keys: tuple[Any, ...], message: str, tmp_path: Path
) -> None:
    with pytest.raises(JobError, match=message):
        keys_of(tmp_path, with_keys(*keys))

    assert not (tmp_path / "job").exists()


def test_decimal_keys_may_have_more_digits_than_the_first(tmp_path: Path) -> None:
    keys = [Decimal("1.5"), Decimal("1000.25")]

    assert keys_of(tmp_path, with_keys(*keys)).to_pylist() == keys


@pytest.mark.parametrize("text", [math.nan, SURROGATE])
def test_a_prompt_that_is_nan_or_no_unicode_is_refused(text: Any, tmp_path: Path) -> None:
    with pytest.raises(JobError, match=r"row 1: the prompt is (empty|not valid Unicode)"):
        keys_of(tmp_path, [{"id": 1, "text": text}])


def test_only_the_characters_of_texts_count_for_the_window(tmp_path: Path) -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 20_000}}
    rows = ["\U0001f600\n" * 3_900, [("user", [{"type": "text", "text": "x"}, image])]]
    store = FolderStore(tmp_path / "job")

    plan = planned(store, "a", Rows(rows, key=None, prompt=None), system="", window=1_000)

    assert plan.rows == 2
    with pytest.raises(JobError, match=r"row 1 \(key 0\): the prompt of 8,001 characters exceeds"):
        planned(
            FolderStore(tmp_path / "b"), "a", Rows([[("user", "x" * 8_001)]], key=None, prompt=None),
            system="", window=1_000,
        )  # fmt: skip


def test_dictionary_encoded_keys_are_kept_as_their_values(tmp_path: Path) -> None:
    keys = pa.array(["a", "b"]).dictionary_encode()
    pq.write_table(pa.table({"id": keys, "text": ["x", "y"]}), tmp_path / "rows.parquet")

    assert keys_of(tmp_path, tmp_path / "rows.parquet").type == pa.string()


def test_a_column_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    columns = [pa.array([1]), pa.array(["x"]), pa.array(["y"])]
    pq.write_table(
        pa.Table.from_arrays(columns, names=["id", "text", "text"]), tmp_path / "r.parquet"
    )
    (tmp_path / "r.csv").write_text("id,id,text\n1,2,x\n")

    with pytest.raises(JobError, match=r"r\.parquet: prompt: 2 columns have the name 'text'"):
        keys_of(tmp_path, tmp_path / "r.parquet")
    with pytest.raises(JobError, match=r"r\.csv: key: 2 columns have the name 'id'"):
        keys_of(tmp_path, tmp_path / "r.csv")


def test_a_parquet_text_that_is_not_utf_8_is_named(tmp_path: Path) -> None:
    text = pa.Array.from_buffers(pa.string(), 1, pa.array([b"\xff"]).buffers())
    pq.write_table(pa.table({"id": [1], "text": text}), tmp_path / "r.parquet")

    with pytest.raises(JobError, match=r"r\.parquet can't be read: UnicodeDecodeError"):
        keys_of(tmp_path, tmp_path / "r.parquet")


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("rows.jsonl", b'\xef\xbb\xbf{"id": "1", "text": "a"}\r\n'),
        ("rows.csv", b"\xef\xbb\xbfid,text\r\n1,a\r\n"),
        ("ROWS.CSV", b"id,text\n1,a\n"),
        ("long.csv", b"id,text\n1," + b"a" * 3_000_000 + b"\n"),
        ("other.csv", b"id,text,n\n1,a,7\n" + b"".join(b"%d,a,7\n" % n for n in range(2, 499)) + b"x,a," + b"7" * (1 << 24) + b"\ny,a,b\n"),
    ],
    ids=["jsonl-bom", "csv-bom-crlf", "upper-case", "long-row", "other-column-of-two-kinds"],
)  # fmt: skip
def test_a_file_may_have_a_byte_order_mark_long_rows_and_mixed_other_columns(
    name: str, body: bytes, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(body)

    assert keys_of(tmp_path, tmp_path / name).to_pylist()[0] == "1"


def test_a_row_of_a_csv_file_that_is_too_long_is_named(tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_bytes(b"id,text\n1,a\n2," + b"a" * (33 << 20) + b"\n3,b\n")

    with pytest.raises(JobError, match="has a row above 16 MB, or a quote that is not closed"):
        keys_of(tmp_path, tmp_path / "r.csv")


@pytest.mark.parametrize(
    "body",
    [
        b'id,text\n1,a\n2,"b\nc"\n',
        b'id,text\n1,a\n2,"b\nc"',
        b'id,text,more\r\n1,a,x\r\n2,"b\nc","\xff\n"\r\n\r\n',
    ],
)
def test_a_last_value_of_several_lines_is_read(body: bytes, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(body)

    assert [row.key for row in Rows(path, key="id", prompt="{text}")] == ["1", "2"]


def test_an_empty_csv_file_a_folder_and_a_table_are_named(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").touch()
    assert list(Rows(tmp_path / "rows.csv", key="id", prompt="{text}")) == []
    with pytest.raises(JobError, match="is a folder: rows are read from one file"):
        Rows(tmp_path, key="id", prompt="{text}")
    with pytest.raises(JobError, match=r"rows is a table \(Table\): give its rows as dicts"):
        Rows(pa.table({"id": [1]}), key="id", prompt="{text}")
    frame = type("Frame", (list,), {"columns": ["id", "text"]})(["id", "text"])
    with pytest.raises(JobError, match=r"rows is a table \(Frame\): give its rows as dicts"):
        Rows(frame, key="id", prompt="{text}")


def test_prompts_are_kept_as_their_characters(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "job")

    plan = planned(store, "a", Rows(["\u6f22" * 9], key=None, prompt=None), system="", window=None)

    (row,) = plan.rows_of(store, 0)
    assert json.loads(row.body) == "\u6f22" * 9
    assert plan.prompt_bytes == 3 * 9 + 2
