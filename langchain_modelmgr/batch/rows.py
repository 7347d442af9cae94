"""Reads the rows of a job from a file or an iterable, and forms their prompts."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from string import Formatter
from typing import TYPE_CHECKING, Any, NamedTuple

from langchain_modelmgr.config.problems import nearest
from langchain_modelmgr.errors import JobError

if TYPE_CHECKING:
    from collections.abc import Iterator

_BATCH = 1_000
_HASHED_BYTES = 1 << 20
_TAIL_BYTES = 64
_CSV_BLOCK = 16 << 20


class Row(NamedTuple):
    """One row of a job.

    Attributes:
        position: Its number in the input, from 0.
        key: Its key.
        body: Its prompt as JSON: a text, or a list of LangChain's messages as dicts.
    """

    position: int
    key: Any
    body: str


def is_missing(value: Any) -> bool:
    """Return whether a value stands for none: ``None``, or NaN as pandas writes it."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def characters_of(body: str) -> int:
    """Return the characters of the texts in a row's body; images and documents are not counted."""
    found, waiting = 0, [json.loads(body)]
    if isinstance(waiting[0], str):
        return len(waiting[0])
    waiting = [message["data"].get("content") for message in waiting[0]]
    while waiting:
        part = waiting.pop()
        if isinstance(part, str):
            found += len(part)
        elif isinstance(part, list):
            waiting += part
        elif isinstance(part, dict):
            waiting.append(part.get("text"))
    return found


class Prompt:
    """A template such as ``"Label this: {text}"``, whose fields are columns.

    Args:
        template: The template. Doubled braces stand for braces.

    Raises:
        JobError: It is not valid.
    """

    def __init__(self, template: str) -> None:
        self.template = template
        self._parts: list[tuple[str, str | None]] = []
        try:
            parsed = list(Formatter().parse(template))
        except ValueError as error:
            raise JobError(f"prompt: {error}: write {{{{ and }}}} for braces") from None
        for literal, name, format_spec, conversion in parsed:
            if name is not None and (not name.isidentifier() or format_spec or conversion):
                raise JobError(
                    f"prompt: {{{name}}} is not a column's name: give a plain name such as "
                    "{text}, and write {{ and }} for braces"
                )
            self._parts.append((literal, name))
        self.columns = tuple(dict.fromkeys(name for _, name in self._parts if name is not None))
        if not self.columns:
            raise JobError("prompt names no column: give for example 'Label this: {text}'")

    def of(self, row: Mapping[str, Any]) -> str:
        """Return the prompt of a row.

        Raises:
            ValueError: Its columns are empty.
        """
        filled, is_blank = [], True
        for literal, name in self._parts:
            filled.append(literal)
            if name is not None and not is_missing(value := row[name]):
                text = value if isinstance(value, str) else str(value)
                is_blank = is_blank and not text.strip()
                filled.append(text)
        if is_blank:
            raise ValueError
        return "".join(filled)


class Rows:
    """The rows of an input, once.

    Args:
        source: The path of a Parquet, CSV or JSON Lines file; or an iterable of dicts, texts, or
            LangChain messages.
        key: The column of the keys; None: the rows' numbers.
        prompt: The template of the prompts; None: each row is a text, a message or a list of
            messages.

    Raises:
        JobError: An argument is wrong, or the file can't be read.
    """

    def __init__(self, source: Any, *, key: str | None, prompt: str | None) -> None:
        for name, given in (("key", key), ("prompt", prompt)):
            if not isinstance(given, str | None):
                raise JobError(f"{name} must be text, not {type(given).__name__}")
        self.key = key
        self.prompt = None if prompt is None else Prompt(prompt)
        self.path = Path(source) if isinstance(source, str | os.PathLike) else None
        self._source = source
        self.key_type: Any = None
        if self.path is None:
            _check_iterable(source)
        else:
            self._check_file(self.path)

    def _check_file(self, path: Path) -> None:
        if str(self._source).startswith("s3://"):
            raise JobError(f"{self._source}: rows are read from local files: download it first")
        if path.is_dir():
            raise JobError(f"{path} is a folder: rows are read from one file")
        if not path.is_file():
            raise JobError(f"{path}: there is no such file")
        if self._suffix not in _READERS:
            raise JobError(f"{path}: rows are read from .parquet, .csv and .jsonl files")
        if self.prompt is None:
            raise JobError(f"{path}: prompt is missing: give for example 'Label: {{text}}'")

    def file_digest(self) -> str | None:
        """Return a hash of the file's bytes; None if the rows are no file."""
        if self.path is None:
            return None
        digest = hashlib.blake2b(self._suffix.encode(), digest_size=16)
        with self.path.open("rb") as file:
            while block := file.read(_HASHED_BYTES):
                digest.update(block)
        return digest.hexdigest()

    def __iter__(self) -> Iterator[Row]:
        """Yield the rows.

        Raises:
            JobError: A row is not valid. The error has its number, from 1.
        """
        for position, row in enumerate(self._read()):
            yield self._row(position, row)

    def _read(self) -> Iterator[Any]:
        if self.path is None:
            yield from self._source
            return
        wanted = (*(() if self.key is None else (self.key,)), *self._columns)
        yield from _READERS[self._suffix](self, self.path, tuple(dict.fromkeys(wanted)))

    @property
    def _suffix(self) -> str:
        return "" if self.path is None else self.path.suffix.lower()

    @property
    def _columns(self) -> tuple[str, ...]:
        return () if self.prompt is None else self.prompt.columns

    def check_columns(self, wanted: Iterable[str], found: Iterable[str], where: str) -> None:
        """Raise ``JobError`` for a column that is missing, or that two columns could be."""
        known = list(found)
        for name in wanted:
            asked = "key" if name == self.key else "prompt"
            if (times := known.count(name)) > 1:
                raise JobError(f"{where}: {asked}: {times} columns have the name {name!r}")
            if not times:
                raise JobError(
                    f"{where}: {asked}: there is no column {name!r}{nearest(name, known)}"
                )

    def where(self, position: int) -> str:
        """Return the name of a row in errors."""
        return f"{self.path or 'rows'}: row {position + 1}"

    def _row(self, position: int, row: Any) -> Row:
        if self.prompt is None:
            return Row(position, self._key(position, row), self._body(position, row))
        if not isinstance(row, Mapping):
            raise JobError(f"{self.where(position)} is not a dict, but {type(row).__name__}")
        self.check_columns(self._columns, row, self.where(position))
        key = self._key(position, row)
        try:
            text = self.prompt.of(row)
        except ValueError:
            names = " and ".join(map(repr, self._columns))
            raise JobError(f"{self.where(position)}: the prompt is empty: {names}") from None
        return Row(position, key, self._json(position, text))

    def _json(self, position: int, body: Any) -> str:
        """Return a body as JSON.

        Raises:
            JobError: It has half a character, which no request can carry.
        """
        text = json.dumps(body, ensure_ascii=False)
        try:
            text.encode()
        except UnicodeEncodeError:
            raise JobError(
                f"{self.where(position)}: the prompt is not valid Unicode: it has a lone surrogate"
            ) from None
        return text

    def _key(self, position: int, row: Any) -> Any:
        if self.key is None:
            return position
        if not isinstance(row, Mapping):
            raise JobError(f"{self.where(position)} is not a dict, so it has no key {self.key!r}")
        self.check_columns((self.key,), row, self.where(position))
        key = row[self.key]
        if is_missing(key) or (isinstance(key, str) and not key):
            raise JobError(f"{self.where(position)}: the key {self.key!r} is empty")
        return key

    def _body(self, position: int, row: Any) -> str:
        """Return the body of a row that is a text, a message, or a list of messages."""
        from langchain_core.messages import messages_to_dict
        from langchain_core.messages.utils import convert_to_messages

        if isinstance(row, Mapping) and "messages" in row:
            row = row["messages"]
        if isinstance(row, str):
            if not row.strip():
                raise JobError(f"{self.where(position)}: the prompt is empty")
            return self._json(position, row)
        try:
            messages = convert_to_messages(row if isinstance(row, list) else [row])
            body = self._json(position, messages_to_dict(messages))
        except (ValueError, TypeError, NotImplementedError) as error:
            raise JobError(
                f"{self.where(position)} is not a text, a message or a list of messages "
                f"({type(error).__name__}): give prompt= for rows that are dicts"
            ) from None
        if not messages:
            raise JobError(f"{self.where(position)} has no messages")
        return body


def _check_iterable(source: Any) -> None:
    if hasattr(source, "columns"):  # iterating over it gives the columns
        raise JobError(
            f"rows is a table ({type(source).__name__}): give its rows as dicts, "
            "such as frame.to_dict('records'), or a Parquet file"
        )
    if not isinstance(source, Iterable) or isinstance(source, Mapping):
        raise JobError(f"rows must be a file or an iterable of rows, not {type(source).__name__}")


def _parquet(rows: Rows, path: Path, wanted: tuple[str, ...]) -> Iterator[Any]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise JobError(f"{path} is not a Parquet file: {type(error).__name__}") from error
    with file:
        rows.check_columns(wanted, file.schema_arrow.names, str(path))
        if rows.key is not None:
            found = file.schema_arrow.field(rows.key).type
            is_encoded = pa.types.is_dictionary(found)  # each chunk would have a dictionary
            rows.key_type = found.value_type if is_encoded else found
        batches = file.iter_batches(_BATCH, columns=list(wanted))
        while True:
            try:
                batch = next(batches, None)
                found_rows = [] if batch is None else batch.to_pylist()
            except (pa.ArrowException, OSError, ValueError) as error:
                raise JobError(f"{path} can't be read: {type(error).__name__}") from None
            if batch is None:
                return
            yield from found_rows


def _csv(rows: Rows, path: Path, wanted: tuple[str, ...]) -> Iterator[Any]:
    """Read a CSV file, all of whose values are text: "007" stays "007"."""
    import pyarrow as pa
    from pyarrow import csv

    if not path.stat().st_size:
        return
    broken: list[Any] = []

    def on_invalid(row: Any) -> str:
        broken.append(row)
        return "error"

    # With threads a row's number is unknown. A row has to fit into a block.
    read = csv.ReadOptions(use_threads=False, block_size=_CSV_BLOCK)
    parse = csv.ParseOptions(newlines_in_values=True, invalid_row_handler=on_invalid)
    try:
        with csv.open_csv(path, read, parse) as reader:
            names = reader.schema.names
            rows.check_columns(wanted, names, str(path))
        last = names[-1] if names.count(names[-1]) == 1 else None
        kinds = {} if last is None else {last: pa.binary()}
        text = csv.ConvertOptions(  # other columns may have values of any kind
            include_columns=tuple({**dict.fromkeys(wanted), **kinds}),
            column_types={**kinds, **dict.fromkeys(wanted, pa.string())},
            strings_can_be_null=False,
        )
        with csv.open_csv(path, read, parse, text) as reader:
            found: list[Any] = []
            for batch in reader:
                yield from found
                found = batch.to_pylist()
            if last is not None and found and _is_open(found[-1][last], path):
                raise JobError(f"{path}: a quote is not closed, so that rows are in one value")
            yield from found
    except (pa.ArrowException, OSError) as error:
        if broken:
            line = "" if broken[0].number is None else f" line {broken[0].number}"
            raise JobError(
                f"{path}:{line} has {broken[0].actual_columns} columns, "
                f"the header has {broken[0].expected_columns}"
            ) from None
        if "straddl" in str(error):
            most = f"{_CSV_BLOCK >> 20} MB"
            raise JobError(
                f"{path} has a row above {most}, or a quote that is not closed"
            ) from None
        raise JobError(f"{path} is not a CSV file in UTF-8: {type(error).__name__}") from None


def _is_open(value: str | bytes, path: Path) -> bool:
    """Return whether the last value of a CSV file has no closing quote.

    A value of several lines is quoted, so that the file ends with a quote.
    """
    many = "\n" in value if isinstance(value, str) else b"\n" in value
    if not many:
        return False
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
        return not file.read().rstrip(b"\r\n").endswith(b'"')


def _json_lines(rows: Rows, path: Path, wanted: tuple[str, ...]) -> Iterator[Any]:
    number = 0
    with path.open(encoding="utf-8-sig") as file:
        try:
            for number, line in enumerate(file, 1):
                if line.strip():
                    row = json.loads(line)
                    if not isinstance(row, dict):
                        raise JobError(f"{path}: line {number} is not a JSON object")
                    rows.check_columns(wanted, row, f"{path}: line {number}")
                    yield row
        except (ValueError, RecursionError):
            raise JobError(f"{path}: line {number} is not JSON in UTF-8") from None


_READERS = {".parquet": _parquet, ".csv": _csv, ".jsonl": _json_lines, ".ndjson": _json_lines}
