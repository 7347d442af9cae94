"""Rows are read from files and iterables; what is wrong is named before anything is written."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from langchain_core.messages import AIMessage, HumanMessage

from langchain_modelmgr.batch.plan import Plan, planned
from langchain_modelmgr.batch.rows import Rows
from langchain_modelmgr.batch.store import FolderStore
from langchain_modelmgr.errors import JobError
from tests.batch.conftest import PROMPT, tickets

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def write_parquet(path: Path, rows: list[dict[str, Any]]) -> None:
    pq.write_table(pa.Table.from_pylist(rows), path)


def write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    lines = [",".join(rows[0]), *(",".join(f'"{v}"' for v in row.values()) for row in rows)]
    path.write_text("\n".join(lines) + "\n")


def write_jsonl(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))


FORMATS: dict[str, Callable[[Path, list[dict[str, Any]]], None]] = {
    "parquet": write_parquet,
    "csv": write_csv,
    "jsonl": write_jsonl,
}


def prompts(rows: Rows) -> list[tuple[Any, Any]]:
    return [(row.key, json.loads(row.body)) for row in rows]


@pytest.mark.parametrize("kind", FORMATS)
def test_each_format_gives_the_same_prompts_and_keys_of_its_own_type(
    kind: str, tmp_path: Path
) -> None:
    path = tmp_path / f"rows.{kind}"
    FORMATS[kind](path, tickets(3))

    found = prompts(Rows(path, key="id", prompt=PROMPT))

    own = str if kind == "csv" else int
    assert found == [(own(n), f"Label this: ticket {n}") for n in range(3)]


def test_a_csv_file_keeps_leading_zeros_quotes_and_line_ends(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text('id,text\n007,"a ""b""\nc"\n')

    assert prompts(Rows(path, key="id", prompt="{text}")) == [("007", 'a "b"\nc')]


def test_an_iterable_gives_texts_messages_and_conversations() -> None:
    conversation = [HumanMessage("a"), AIMessage("b"), HumanMessage("c")]
    rows = Rows(
        ["one", HumanMessage("two"), conversation, {"messages": [("user", "four")]}],
        key=None,
        prompt=None,
    )

    found = prompts(rows)

    assert [key for key, _ in found] == [0, 1, 2, 3]
    assert found[0][1] == "one"
    contents = [[m["data"]["content"] for m in body] for _, body in found[1:]]
    assert contents == [["two"], ["a", "b", "c"], ["four"]]


def test_braces_in_a_prompt_are_doubled() -> None:
    rows = Rows([{"a": 1}], key=None, prompt='{{"n": {a}}}')

    assert prompts(rows) == [(0, '{"n": 1}')]


BAD: list[tuple[Any, dict[str, Any], str]] = [
    ([{"text": "x"}], {"key": "id"}, "rows: row 1: key: there is no column 'id'"),
    ([{"id": 1, "txt": "x"}], {"key": "id"}, "rows: row 1: prompt: there is no column 'text'; did you mean 'txt'\\?"),
    ([{"id": 1, "text": "x"}, {"id": None, "text": "x"}], {"key": "id"}, "rows: row 2: the key 'id' is empty"),
    ([{"id": 1, "text": " "}], {"key": "id"}, "rows: row 1: the prompt is empty: 'text'"),
    ([{"id": 1, "text": None}], {"key": "id"}, "rows: row 1: the prompt is empty: 'text'"),
    (["x"], {"key": "id"}, "rows: row 1 is not a dict, but str"),
    (["x", " "], {"prompt": None}, "rows: row 2: the prompt is empty"),
    ([{"a": 1}], {"prompt": None}, "rows: row 1 is not a text, a message or a list of messages"),
    ([[]], {"prompt": None}, "rows: row 1 has no messages"),
    (7, {}, "rows must be a file or an iterable of rows, not int"),
    ({"id": 1}, {}, "rows must be a file or an iterable of rows, not dict"),
    ([], {}, "rows: there are no rows"),
    ([{"id": 1, "text": "x"}, {"id": 1, "text": "y"}], {"key": "id"}, "rows: row 2: the key 1 is that of row 1 too"),
    ([*tickets(600), {"id": 3, "text": "y"}], {"key": "id"}, "rows: row 601: the key 3 is that of row 4 too"),
    ([{"id": 1, "text": "x"}, {"id": "a", "text": "y"}], {"key": "id"}, "rows: row 2: the key 'a' is not of the type of the keys before it, int64"),
    ([{"id": object(), "text": "x"}], {"key": "id"}, "rows: row 1: the key, of type object, is neither a text in valid Unicode nor a number"),
    ([{"text": "x" * 9_000}], {}, r"rows: row 1 \(key 0\): the prompt of 9,\d+ characters exceeds the model's context window of 1,000 tokens"),
    ([{"text": "x"}], {"prompt": "Label this"}, "prompt names no column: give for example 'Label this: {text}'"),
    ([{"text": "x"}], {"prompt": "{text.a}"}, "prompt: {text.a} is not a column's name"),
    ([{"text": "x"}], {"prompt": "{0}"}, "prompt: {0} is not a column's name"),
    ([{"text": "x"}], {"prompt": "{text"}, "prompt: expected '}' before end of string"),
    ([{"text": "x"}], {"prompt": 5}, "prompt must be text, not int"),
    ([{"text": "x"}], {"key": ["id"]}, "key must be text, not list"),
    ("none.csv", {}, "none.csv: there is no such file"),
    ("s3://bucket/rows.csv", {}, "rows are read from local files"),
]  # fmt: skip


@pytest.mark.parametrize(("source", "given", "message"), BAD, ids=[m[:60] for _, _, m in BAD])
def test_a_mistake_is_one_error_and_nothing_is_written(
    source: Any, given: dict[str, Any], message: str, tmp_path: Path
) -> None:
    arguments = {"key": None, "prompt": PROMPT, **given}
    store = FolderStore(tmp_path / "job")

    with pytest.raises(JobError, match=message.replace("{", r"\{")) as raised:
        planned(store, "a", Rows(source, **arguments), system="", window=1_000)

    assert not (tmp_path / "job").exists()
    assert "xxxx" not in str(raised.value)


@pytest.mark.parametrize(
    ("name", "body", "message"),
    [
        ("rows.csv", b"id,text\n1,a\n2\n", r"rows.csv: line 3 has 1 columns, the header has 2"),
        ("rows.csv", b"id,txt\n1,a\n", "there is no column 'text'; did you mean 'txt'\\?"),
        ("rows.csv", b'id,text\n1,"a\n2,b\n', "a quote is not closed"),
        ("rows.csv", b'id,text,more\n1,a,"x\n2,b,y\n', "a quote is not closed"),
        ("rows.csv", b"id,text\n1,\xff\n", "is not a CSV file in UTF-8"),
        ("rows.jsonl", b'{"id": 1, "text": "a"}\n{"id": 2', "line 2 is not JSON in UTF-8"),
        ("rows.jsonl", b"[1]\n", "line 1 is not a JSON object"),
        ("rows.jsonl", b'{"id": 1}\n', "line 1: prompt: there is no column 'text'"),
        ("rows.parquet", b"nothing", "is not a Parquet file"),
        ("rows.txt", b"x", r"rows are read from \.parquet, \.csv and \.jsonl files"),
    ],
)
def test_a_file_that_cannot_be_read_is_named_with_its_line(
    name: str, body: bytes, message: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(body)

    with pytest.raises(JobError, match=message):
        list(Rows(tmp_path / name, key="id", prompt=PROMPT))


def test_a_plan_has_the_rows_in_order_and_keys_of_the_input_s_type(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    keys = pa.array([f"k{n}" for n in range(1_100)], pa.large_string())
    texts = pa.array([str(n) for n in range(1_100)])
    pq.write_table(pa.table({"id": keys, "text": texts}), path)
    store = FolderStore(tmp_path / "job")

    plan = planned(store, "a", Rows(path, key="id", prompt="{text}"), system="s", window=None)

    assert (plan.rows, plan.chunks, plan.agent, plan.system) == (1_100, 3, "a", "s")
    assert plan == Plan.read(store)
    assert plan.table_of(store, 0).schema.field("key").type == pa.large_string()
    rows = [row for chunk in range(3) for row in plan.rows_of(store, chunk)]
    assert [row.position for row in rows] == list(range(1_100))
    assert [json.loads(row.body) for row in rows] == [str(n) for n in range(1_100)]


def test_the_same_rows_find_their_plan_and_others_are_refused(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "job")

    def plan(rows: Any, **more: Any) -> Plan:
        given = {"agent": "a", "system": "", "prompt": PROMPT, "key": "id", **more}
        read = Rows(rows, key=given["key"], prompt=given["prompt"])
        return planned(store, given["agent"], read, system=given["system"], window=None)

    first = plan(tickets(3))

    assert plan(iter(tickets(3))) == first
    others: list[tuple[Any, dict[str, Any]]] = [
        (tickets(4), {}),
        (tickets(3, start=1), {}),
        (tickets(3), {"agent": "b"}),
        (tickets(3), {"system": "s"}),
        (tickets(3), {"prompt": "{text}"}),
        (tickets(3), {"key": None}),
    ]
    for rows, more in others:
        with pytest.raises(JobError, match="has another plan: 3 rows of agent 'a', made"):
            plan(rows, **more)
    assert Plan.read(store) == first


def test_a_file_whose_bytes_changed_is_another_plan(tmp_path: Path) -> None:
    path, store = tmp_path / "rows.csv", FolderStore(tmp_path / "job")
    write_csv(path, tickets(3))
    first = planned(store, "a", Rows(path, key="id", prompt=PROMPT), system="", window=None)

    assert planned(store, "a", Rows(path, key="id", prompt=PROMPT), system="", window=None) == first
    write_csv(path, tickets(2))
    with pytest.raises(JobError, match="has another plan"):
        planned(store, "a", Rows(path, key="id", prompt=PROMPT), system="", window=None)


def test_a_plan_of_another_version_or_that_is_broken_is_refused(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "job")
    plan = planned(store, "a", Rows(["x"], key=None, prompt=None), system="", window=None)
    facts = {name: getattr(plan, name) for name in plan.__slots__}

    store.write("plan.json", json.dumps({**facts, "format": 2}).encode())
    with pytest.raises(JobError, match="made by another version"):
        Plan.read(store)
    store.write("plan.json", b"{")
    with pytest.raises(JobError, match=r"plan\.json can't be read"):
        Plan.read(store)


def test_a_chunk_that_is_missing_is_named(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "job")
    plan = planned(store, "a", Rows(["x"], key=None, prompt=None), system="", window=None)
    store.remove([f"plan/{plan.id}/000000.parquet"])

    with pytest.raises(JobError, match=r"000000\.parquet is missing"):
        plan.rows_of(store, 0)
