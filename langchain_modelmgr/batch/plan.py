"""Plan: the frozen rows of a job, in chunks, and the request that each of them makes."""

from __future__ import annotations

import hashlib
import io
import json
import math
import sqlite3
import tempfile
import uuid
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, Self

from langchain_modelmgr.batch.rows import Row, Rows, characters_of
from langchain_modelmgr.errors import JobError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from langchain_modelmgr.batch.store import Store

CHUNK_ROWS = 500
"""Rows of a chunk: one result object, and what one worker works on."""

PLAN = "plan.json"
_FORMAT = 1
_ID_BYTES = 10
_KEY_DIGITS = 12
_CHARACTERS_PER_TOKEN = 8
"""Characters of a token, at most: a prompt with more of them exceeds its model's window."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The plan of a job, as ``plan.json`` has it.

    Attributes:
        id: A hash of agent, prompt and rows, in hexadecimal.
        job: A random id of the job: the same rows in another place are another job.
        agent: The agent.
        prompt: The template of the prompts; None: the rows are messages.
        system: The system prompt; may be empty.
        key: The column of the keys; None: the rows' numbers.
        rows: The number of rows.
        chunks: The number of chunks.
        prompt_bytes: The bytes of all prompts as JSON.
        largest_bytes: The bytes of the largest one.
        created: When it was made, ISO 8601.
        format: The version of this layout.
    """

    id: str
    job: str
    agent: str
    prompt: str | None
    system: str
    key: str | None
    rows: int
    chunks: int
    prompt_bytes: int
    largest_bytes: int
    created: str
    format: int = _FORMAT

    @classmethod
    def read(cls, store: Store) -> Self | None:
        """Return the plan of a store; None if there is none.

        Raises:
            JobError: It can't be read.
        """
        body = store.read(PLAN)
        if body is None:
            return None
        try:
            plan = cls(**json.loads(body))
        except (ValueError, TypeError):
            raise JobError(f"{store.where}: {PLAN} can't be read") from None
        if plan.format != _FORMAT:
            raise JobError(f"{store.where}: the plan was made by another version of this package")
        return plan

    def rows_of(self, store: Store, chunk: int) -> list[Row]:
        """Return the rows of a chunk.

        Raises:
            JobError: They are missing.
        """
        table = self.table_of(store, chunk)
        columns = (table.column(name).to_pylist() for name in ("position", "key", "body"))
        return [Row(*row) for row in zip(*columns, strict=True)]

    def table_of(self, store: Store, chunk: int) -> Any:
        """Return the rows of a chunk as a pyarrow Table: position, key, body."""
        import pyarrow.parquet as pq

        name = chunk_name(self.id, chunk)
        if (body := store.read(name)) is None:
            raise JobError(f"{store.where}: {name} is missing: plan again in another place")
        return pq.read_table(io.BytesIO(body))


def chunk_name(plan_id: str, chunk: int) -> str:
    """Return the name of the object with a chunk's rows."""
    return f"plan/{plan_id}/{chunk:06}.parquet"


def planned(store: Store, agent: str, rows: Rows, *, system: str, window: int | None) -> Plan:
    """Return the plan of some rows; make it if there is none.

    Rows go to a temporary folder until all of them are sound; only then is anything written.

    Args:
        store: Where the job is.
        agent: The agent.
        rows: The rows.
        system: The system prompt; may be empty.
        window: The context window of the agent's model, in tokens; None: unknown.

    Raises:
        JobError: A row is not valid, or the store has another plan.
    """
    found = Plan.read(store)
    terms: list[Any] = [
        _FORMAT,
        agent,
        None if rows.prompt is None else rows.prompt.template,
        system,
        rows.key,
    ]
    file = rows.file_digest()
    if found is not None and file is not None:
        return _same(store, found, _id_of([*terms, file]))
    with tempfile.TemporaryDirectory(prefix="modelmgr-plan-") as folder:
        spilled = _Spill(Path(folder), rows, window)
        with closing(spilled.keys):
            spilled.read()
        plan_id = _id_of([*terms, file or spilled.digest])
        if found is not None:
            return _same(store, found, plan_id)
        plan = Plan(
            id=plan_id,
            job=uuid.uuid4().hex[: 2 * _ID_BYTES],
            agent=agent,
            prompt=terms[2],
            system=system,
            key=rows.key,
            rows=spilled.rows,
            chunks=len(spilled.chunks),
            prompt_bytes=spilled.bytes,
            largest_bytes=spilled.largest,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        for number, path in enumerate(spilled.chunks):
            store.write(chunk_name(plan_id, number), path.read_bytes())
    if store.write_new(PLAN, json.dumps(asdict(plan), indent=1).encode()):
        return plan
    found = Plan.read(store)  # planned by another process at the same time
    return plan if found is None else _same(store, found, plan_id)


def _same(store: Store, found: Plan, plan_id: str) -> Plan:
    if found.id == plan_id:
        return found
    raise JobError(
        f"{store.where} has another plan: {found.rows:,} rows of agent {found.agent!r}, made "
        f"{found.created}: give the same agent, rows, key, prompt and system to resume it, or "
        "another place"
    )


def _id_of(terms: Sequence[Any]) -> str:
    return hashlib.blake2b(json.dumps(terms).encode(), digest_size=_ID_BYTES).hexdigest()


class _Spill:
    """Rows that are checked and written to a temporary folder, in chunks."""

    def __init__(self, folder: Path, rows: Rows, window: int | None) -> None:
        self.rows = 0
        self.bytes = 0
        self.largest = 0
        self.chunks: list[Path] = []
        self._folder = folder
        self._source = rows
        self._window = window
        self._digest = hashlib.blake2b(digest_size=16)
        self.keys = _Keys(folder, rows)

    @property
    def digest(self) -> str:
        """A hash of all rows."""
        return self._digest.hexdigest()

    def read(self) -> None:
        """Read all rows.

        Raises:
            JobError: One is not valid, or there is none.
        """
        chunk: list[Row] = []
        for row in self._source:
            self._check(row)
            chunk.append(row)
            if len(chunk) == CHUNK_ROWS:
                self._write(chunk)
                chunk = []
        if chunk:
            self._write(chunk)
        if not self.chunks:
            raise JobError(f"{self._source.path or 'rows'}: there are no rows")

    def _check(self, row: Row) -> None:
        size = len(row.body.encode())
        most = math.inf if self._window is None else self._window * _CHARACTERS_PER_TOKEN
        if size > most and (characters := characters_of(row.body)) > most:
            raise JobError(
                f"{self._source.where(row.position)} (key {row.key!r}): the prompt of "
                f"{characters:,} characters exceeds the model's context window of "
                f"{self._window:,} tokens"
            )
        self.rows += 1
        self.bytes += size
        self.largest = max(self.largest, size)

    def _write(self, chunk: list[Row]) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        path = self._folder / f"{len(self.chunks):06}.parquet"
        table = pa.table(
            {
                "position": pa.array([row.position for row in chunk], pa.int64()),
                "key": self.keys.array(chunk),
                "body": pa.array([row.body for row in chunk], pa.large_string()),
            }
        )
        pq.write_table(table, path)
        self.chunks.append(path)
        for row in chunk:
            self._digest.update(f"{row.key!r}\0{row.body}\0".encode())


class _Keys:
    """Checks that keys are of one type, and that none comes twice, without holding them all."""

    def __init__(self, folder: Path, rows: Rows) -> None:
        self._rows = rows
        self._type: Any = None
        self._seen = sqlite3.connect(folder / "keys.sqlite", isolation_level=None)
        self._seen.execute("PRAGMA journal_mode = OFF")
        self._seen.execute("PRAGMA synchronous = OFF")
        self._seen.execute("CREATE TABLE keys (key TEXT PRIMARY KEY, position INT) WITHOUT ROWID")

    def array(self, chunk: Sequence[Row]) -> Any:
        """Return the keys of a chunk as a pyarrow Array, and remember them.

        Raises:
            JobError: They are not of one type, or one was there before.
        """
        found = self._converted(chunk)
        if self._rows.key is not None:
            self._add(chunk, found.to_pylist())
        return found

    def _add(self, chunk: Sequence[Row], keys: Sequence[Any]) -> None:
        # As converted: 2, 2.0 and numpy.int64(2) are one key, and so are 0.0 and -0.0.
        own = [
            (repr(key + 0.0 if isinstance(key, float) else key), row.position)
            for row, key in zip(chunk, keys, strict=True)
        ]
        self._seen.execute("BEGIN")
        try:
            self._seen.executemany("INSERT INTO keys VALUES (?, ?)", own)
        except sqlite3.IntegrityError:
            self._raise_of_twice(chunk, own)
        self._seen.execute("COMMIT")

    def _raise_of_twice(self, chunk: Sequence[Row], own: list[tuple[str, int]]) -> None:
        for row, (key, position) in zip(chunk, own, strict=True):
            ((first,),) = self._seen.execute("SELECT position FROM keys WHERE key = ?", (key,))
            if first != position:
                raise JobError(
                    f"{self._rows.where(position)}: the key {row.key!r} is that of row "
                    f"{first + 1} too"
                )

    def _converted(self, chunk: Sequence[Row]) -> Any:
        import pyarrow as pa

        if self._type is None:
            self._type = self._rows.key_type or self._type_of(chunk[0])
            if pa.types.is_nested(self._type):
                self._raise_of_type(chunk[0])
        try:
            found = pa.array([row.key for row in chunk], self._type)
        except _not_convertible():
            found = None
        if found is None or found.to_pylist() != [row.key for row in chunk]:
            for row in chunk:
                self._check(row)
        return found

    def _check(self, row: Row) -> None:
        """Check that a key can be of the type of the others, and does not change by it."""
        import pyarrow as pa

        try:
            is_same = bool(pa.scalar(row.key, self._type).as_py() == row.key)
        except _not_convertible():
            is_same = False
        if not is_same:
            raise JobError(
                f"{self._rows.where(row.position)}: the key {row.key!r} is not of the "
                f"type of the keys before it, {self._type}"
            )

    def _type_of(self, row: Row) -> Any:
        import pyarrow as pa

        try:
            found = pa.scalar(row.key).type
        except _not_convertible():
            self._raise_of_type(row)
        if pa.types.is_decimal(found):  # the next keys may have more digits
            return pa.decimal128(38, max(_KEY_DIGITS, found.scale))
        return found

    def _raise_of_type(self, row: Row) -> NoReturn:
        raise JobError(
            f"{self._rows.where(row.position)}: the key, of type {type(row.key).__name__}, is "
            "neither a text in valid Unicode nor a number of at most 64 bits"
        )

    def close(self) -> None:
        """Close the file."""
        self._seen.close()


def _not_convertible() -> tuple[type[Exception], ...]:
    """Return what pyarrow raises for a value that it can't convert."""
    import pyarrow as pa

    return (pa.ArrowException, TypeError, OverflowError, ValueError)


def row_groups(rows: Sequence[Row], size: int) -> Iterator[Sequence[Row]]:
    """Yield consecutive groups of rows, the last one perhaps smaller."""
    for start in range(0, len(rows), size):
        yield rows[start : start + size]
