"""Answer: what a row of a job came to, as a line of a log and as a row of the results."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Context, Decimal
from typing import TYPE_CHECKING, Any, NamedTuple, Self

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

EXACT = Context(prec=50, rounding=ROUND_HALF_EVEN)
"""The application's decimal context may round, or raise on inexact results."""

_COST = Decimal(1).scaleb(-12)
_NOTE, _RETURNED = 1, 2
_METADATA = b"modelmgr"


class Answer(NamedTuple):
    """The answer of one row, or why it has none.

    Attributes:
        position: The row's number in the input, from 0.
        text: The answer's text; None if the row failed.
        error: Why the row failed; None if it was answered.
        model: The model that answered.
        engine: The engine that asked.
        input_tokens: The prompt's tokens, the prompt cache included; None if unknown.
        output_tokens: The answer's tokens; None if unknown.
        cost_usd: What it cost; None if a price or the usage is unknown.
    """

    position: int
    text: str | None
    error: str | None
    model: str | None
    engine: str
    input_tokens: int | None
    output_tokens: int | None
    cost_usd: Decimal | None

    @property
    def line(self) -> str:
        """The answer as a line of a log."""
        cost = None if self.cost_usd is None else str(self.cost_usd)
        return json.dumps([*self[:-1], cost])

    @classmethod
    def failed(cls, position: int, error: str, engine: str) -> Self:
        """Return the answer of a row that failed without any cost."""
        return cls(position, None, error, None, engine, None, None, Decimal(0))


def note_line(position: int) -> str:
    """Return the line which says that a row is about to be sent."""
    return f"[{position}]"


def returned_line(position: int) -> str:
    """Return the line which says that a row was not sent after all."""
    return f"[{position}, null]"


@dataclass(slots=True)
class Logged:
    """What the logs of a chunk say.

    Attributes:
        answers: The answers by position; the first one of each counts.
        notes: How often each row was sent.
    """

    answers: dict[int, Answer]
    notes: dict[int, int]

    @classmethod
    def read(cls, bodies: Iterable[bytes]) -> Self:
        """Read logs. A line that was cut short is ignored."""
        answers: dict[int, Answer] = {}
        notes: dict[int, int] = {}
        for body in bodies:
            for line in body.splitlines():
                try:
                    position, *more = json.loads(line)
                except (ValueError, TypeError):
                    continue
                if len(more) + 1 in (_NOTE, _RETURNED):
                    notes[position] = notes.get(position, 0) + (-1 if more else 1)
                else:
                    *facts, cost = more
                    known = None if cost is None else Decimal(cost)
                    answer = Answer._make((position, *facts, known))
                    answers.setdefault(position, answer)
        return cls(answers, notes)

    @property
    def sent_again(self) -> int:
        """How often a row was sent again, whose first answer was perhaps billed."""
        return sum(count - 1 for count in self.notes.values() if count > 1)


@dataclass(frozen=True, slots=True)
class Sums:
    """The sums of some answers.

    Attributes:
        rows: The rows.
        failed: Those without an answer.
        cost_usd: What they cost, as far as it is known.
        unpriced: Rows whose cost is unknown.
        maybe_billed_twice: How often a row was sent again after a death.
    """

    rows: int = 0
    failed: int = 0
    cost_usd: Decimal = Decimal(0)
    unpriced: int = 0
    maybe_billed_twice: int = 0

    @classmethod
    def of(cls, answers: Iterable[Answer], maybe_billed_twice: int = 0) -> Self:
        """Return the sums of some answers."""
        rows = failed = unpriced = 0
        cost = Decimal(0)
        for answer in answers:
            rows += 1
            failed += answer.error is not None
            if answer.cost_usd is None:
                unpriced += 1
            else:
                cost = EXACT.add(cost, answer.cost_usd)
        return cls(rows, failed, cost, unpriced, maybe_billed_twice)

    def __add__(self, other: Sums) -> Sums:
        return Sums(
            self.rows + other.rows,
            self.failed + other.failed,
            EXACT.add(self.cost_usd, other.cost_usd),
            self.unpriced + other.unpriced,
            self.maybe_billed_twice + other.maybe_billed_twice,
        )


def result_table(keys: Any, answers: Sequence[Answer]) -> Any:
    """Return answers as a pyarrow Table with the columns of the results.

    Args:
        keys: The keys as a pyarrow Array, in the order of the answers.
        answers: The answers.
    """
    import pyarrow as pa

    costs = [None if a.cost_usd is None else EXACT.quantize(a.cost_usd, _COST) for a in answers]
    return pa.table(
        {
            "key": keys,
            "text": pa.array([a.text for a in answers], pa.large_string()),
            "error": pa.array([a.error for a in answers], pa.string()),
            "model": pa.array([a.model for a in answers], pa.string()),
            "engine": pa.array([a.engine for a in answers], pa.string()),
            "input_tokens": pa.array([a.input_tokens for a in answers], pa.int64()),
            "output_tokens": pa.array([a.output_tokens for a in answers], pa.int64()),
            "cost_usd": pa.array(costs, pa.decimal128(38, 12)),
        }
    )


def result_object(table: Any, sums: Sums) -> bytes:
    """Return the object of a finished chunk: a Parquet file with its sums in the schema."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    about = {name: str(getattr(sums, name)) for name in sums.__dataclass_fields__}
    sink = pa.BufferOutputStream()
    pq.write_table(table.replace_schema_metadata({_METADATA: json.dumps(about).encode()}), sink)
    body: bytes = sink.getvalue().to_pybytes()
    return body


def sums_of_object(body: bytes) -> Sums:
    """Return the sums in a finished chunk's object, without reading its rows."""
    import pyarrow.parquet as pq

    about = json.loads(pq.read_schema(io.BytesIO(body)).metadata[_METADATA])
    cost = Decimal(about.pop("cost_usd"))
    return Sums(**{name: int(value) for name, value in about.items()}, cost_usd=cost)


def answers_of_object(body: bytes, positions: Sequence[int]) -> list[Answer]:
    """Return the answers in a finished chunk's object.

    Args:
        body: The object.
        positions: The positions of its rows, in order.
    """
    import pyarrow.parquet as pq

    rows: list[Mapping[str, Any]] = pq.read_table(io.BytesIO(body)).drop(["key"]).to_pylist()
    return [Answer(position=position, **row) for position, row in zip(positions, rows, strict=True)]
