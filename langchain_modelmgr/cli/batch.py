"""``modelmgr batch``: plans, runs and shows mass jobs."""

from __future__ import annotations

import json
import signal
import sys
import threading
import time
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from langchain_modelmgr.cli.options import AsJson, ConfigDir, Environment, read_config
from langchain_modelmgr.cli.output import console, note, print_facts, print_json, print_table, say
from langchain_modelmgr.errors import ConfigurationError
from langchain_modelmgr.runtime.money_text import usd

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from langchain_modelmgr.batch import Estimate, Job, JobStatus
    from langchain_modelmgr.manager import ModelManager

EXAMPLE = "Example: `modelmgr batch run --into runs/tickets --max-usd 40`"

_COLUMNS = ("ENGINE", "ROWS", "INPUT TOKENS", "OUTPUT TOKENS", "USD LOW", "USD HIGH", "HOURS")
_WATCH_SECONDS = 2.0
_ENDED_EARLY = 1

Into = Annotated[
    str, typer.Option(metavar="PLACE", help="A folder, or s3://bucket/prefix.", show_default=False)
]
EngineOption = Annotated[
    Literal["auto", "local", "bedrock", "dask", "ray"] | None,
    typer.Option(help="What asks the rows. Default: the YAML's.", show_default=False),
]
MaxUsd = Annotated[
    str | None,
    typer.Option(metavar="USD", help="The most that the whole job may cost.", show_default=False),
]
Concurrency = Annotated[
    int | None,
    typer.Option(
        metavar="ROWS", help="Rows that are out at once. Default: the YAML's.", show_default=False
    ),
]
OnThrottleOption = Annotated[
    Literal["wait", "fallback"], typer.Option(help="What becomes of a throttled row.")
]
Deadline = Annotated[
    float | None,
    typer.Option(
        metavar="HOURS", help="When the answers are needed: 24 or more allow engine bedrock.",
        show_default=False,
    ),
]  # fmt: skip
RestOption = Annotated[
    Literal["auto", "calls", "leave"],
    typer.Option(help="What becomes of rows that engine bedrock has not answered."),
]
Client = Annotated[
    str | None,
    typer.Option(metavar="ADDRESS", help="The address of a Dask scheduler.", show_default=False),
]


def plan(
    agent: Annotated[str, typer.Argument(metavar="AGENT", show_default=False)],
    rows: Annotated[str, typer.Argument(metavar="ROWS", help="A .parquet, .csv or .jsonl file.")],
    into: Into,
    prompt: Annotated[
        str, typer.Option(metavar="TEXT", help="Such as 'Label this: {text}'.", show_default=False)
    ],
    key: Annotated[
        str | None,
        typer.Option(metavar="COLUMN", help="What identifies a row. Default: its number."),
    ] = None,
    system: Annotated[str, typer.Option(metavar="TEXT", help="The system prompt.")] = "",
    environment: Environment = None,
    config_dir: ConfigDir = None,
    as_json: AsJson = False,
) -> None:
    """Check all rows and freeze them in a plan. Nothing is sent to a model."""
    with _manager(environment, config_dir, sends=False) as manager:
        job = manager.batch(agent, rows, into=into, key=key, prompt=prompt, system=system)
        if as_json:
            print_json({"into": into, **_facts_of(job)})
            return
        say(f"{into}: {job.plan.rows:,} rows in {job.plan.chunks:,} chunks for agent {agent}")


def estimate(
    into: Into,
    environment: Environment = None,
    config_dir: ConfigDir = None,
    as_json: AsJson = False,
) -> None:
    """Show what the rows without an answer take with each engine: tokens, USD and hours."""
    with _job(into, environment, config_dir, sends=False) as job:
        found = job.estimate()
    if as_json:
        print_json({engine: each.to_dict() for engine, each in found.items()})
        return
    print_table(_COLUMNS, [_row(*each) for each in found.items()], right=_COLUMNS[1:])
    for assumed in dict.fromkeys(text for each in found.values() for text in each.assumed):
        note(f"assumed: {assumed}")


def _asking(name: Literal["run", "retry"], about: str) -> Callable[..., None]:
    """Return the command that calls the job's method of a name. Both have the same options."""

    def command(
        into: Into,
        engine: EngineOption = None,
        max_usd: MaxUsd = None,
        concurrency: Concurrency = None,
        on_throttle: OnThrottleOption = "wait",
        client: Client = None,
        deadline_hours: Deadline = None,
        rest: RestOption = "auto",
        environment: Environment = None,
        config_dir: ConfigDir = None,
        as_json: AsJson = False,
    ) -> None:
        with (
            _job(into, environment, config_dir, sends=True) as job,
            _progress(job),
            _interruptible(),
        ):
            status = getattr(job, name)(
                max_usd=max_usd, engine=engine, concurrency=concurrency,
                on_throttle=on_throttle, client=client, deadline_hours=deadline_hours, rest=rest,
            )  # fmt: skip
        _end(status, as_json=as_json)

    command.__name__, command.__doc__ = name, about
    return command


run = _asking(
    "run",
    "Ask the rows that have no answer yet. Interrupt it at any time: the same command goes on.",
)
retry = _asking("retry", "Ask the rows again that failed for good.")


def status(
    into: Into,
    watch: Annotated[
        bool, typer.Option("--watch", metavar="", help="Show it again until the run ends.")
    ] = False,
    environment: Environment = None,
    config_dir: ConfigDir = None,
    as_json: AsJson = False,
) -> None:
    """Show how many rows are done, failed and pending, and what they cost."""
    with _job(into, environment, config_dir, sends=False) as job:
        found = job.status()
        while watch and found.workers:
            _show(found, as_json=as_json)
            time.sleep(_WATCH_SECONDS)
            found = job.status()
    _show(found, as_json=as_json)


def results(
    into: Into,
    output: Annotated[
        str | None,
        typer.Option(
            "--output", "-o", metavar="FILE", show_default=False,
            help="A .parquet, .csv or .jsonl file. Default: JSON lines on standard output.",
        ),
    ] = None,
    environment: Environment = None,
    config_dir: ConfigDir = None,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Print or write the results that there are, in the order of the rows."""
    with _job(into, environment, config_dir, sends=False) as job:
        if output is None:
            _print_lines(job)
            return
        _write(job, Path(output))
    if as_json:
        print_json({"file": output})
    else:
        say(output)


def stop(
    into: Into,
    environment: Environment = None,
    config_dir: ConfigDir = None,
    as_json: AsJson = False,
) -> None:
    """Let the run that works on a job end. Rows that are out are kept."""
    with _job(into, environment, config_dir, sends=False) as job:
        job.stop()
    if as_json:
        print_json({"into": into, "stopping": True})
    else:
        say(f"{into}: the run ends within about 5 seconds")


@contextmanager
def _manager(
    environment: str | None, config_dir: str | None, *, sends: bool
) -> Iterator[ModelManager]:
    from langchain_modelmgr.manager import ModelManager

    config = read_config(environment, config_dir)
    with ModelManager(config, sinks=None if sends else []) as manager:
        yield manager


@contextmanager
def _job(
    into: str, environment: str | None, config_dir: str | None, *, sends: bool
) -> Iterator[Job]:
    from langchain_modelmgr.batch import Job

    with _manager(environment, config_dir, sends=sends) as manager:
        yield Job.open(manager, into)


def _facts_of(job: Job) -> dict[str, Any]:
    return {"agent": job.plan.agent, "rows": job.plan.rows, "chunks": job.plan.chunks}


def _row(engine: str, found: Estimate) -> tuple[str, ...]:
    return (
        engine,
        f"{found.rows:,}",
        f"{found.input_tokens:,}",
        "unknown" if found.output_tokens is None else f"{found.output_tokens:,}",
        _money(found.usd_low),
        _money(found.usd_high),
        f"{found.hours:,.2f}",
    )


def _money(amount: Decimal | None) -> str:
    return "unknown" if amount is None else usd(amount)


@contextmanager
def _progress(job: Job) -> Iterator[None]:
    """Show a bar on standard error while a job runs, if it is a terminal."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.progress import Progress

    ended = threading.Event()
    with Progress(console=console(stderr=True)) as bar:
        task = bar.add_task("rows", total=job.plan.rows)

        def follow() -> None:
            while not ended.wait(_WATCH_SECONDS):
                found = job.status()
                text = f"{found.rows_per_second:,.0f} rows/s  {usd(found.cost_usd)}"
                bar.update(task, completed=found.done + found.failed, description=text)

        thread = threading.Thread(target=follow, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let SIGTERM end a run as Ctrl-C does: rows that are out are waited for and kept."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _show(found: JobStatus, *, as_json: bool) -> None:
    if as_json:
        print_json(found.to_dict())
        return
    facts = [
        ("done", f"{found.done:,} of {found.rows:,} rows"),
        ("failed", f"{found.failed:,}"),
        ("pending", f"{found.pending:,}"),
        ("cost", usd(found.cost_usd)),
    ]
    if found.unpriced:
        facts.append(("unpriced", f"{found.unpriced:,} rows, whose cost is unknown"))
    if found.maybe_billed_twice:
        facts.append(("perhaps billed twice", f"{found.maybe_billed_twice:,} rows"))
    if found.workers:
        speed = f"{found.workers}, {found.rows_per_second:,.1f} rows/s"
        facts.append(("workers", f"{speed}, {found.throttles:,} throttled"))
    if found.jobs:
        states = ", ".join(f"{count} {status}" for status, count in sorted(found.jobs.items()))
        facts.append(("jobs", f"{states}: {found.in_jobs:,} rows processed"))
    if found.reason:
        facts.append(("ended because", found.reason))
    print_facts(facts, indent=0)


def _end(found: JobStatus, *, as_json: bool) -> None:
    _show(found, as_json=as_json)
    if found.failed and not as_json:
        note("modelmgr batch retry asks the failed rows again")
    if found.pending:
        raise typer.Exit(_ENDED_EARLY)


def _print_lines(job: Job) -> None:
    for batch in job.results().to_batches():
        for row in batch.to_pylist():
            sys.stdout.write(json.dumps(row, default=str) + "\n")


def _write(job: Job, path: Path) -> None:
    import pyarrow as pa

    found = job.results()
    try:
        if path.suffix == ".jsonl":
            with path.open("w", encoding="utf-8") as file:
                for batch in found.to_batches():
                    file.writelines(
                        json.dumps(row, default=str) + "\n" for row in batch.to_pylist()
                    )
        elif path.suffix == ".csv":
            from pyarrow import csv

            with csv.CSVWriter(path, found.schema) as sheet:
                for batch in found.to_batches():
                    sheet.write_batch(batch)
        elif path.suffix == ".parquet":
            from pyarrow import parquet

            with parquet.ParquetWriter(path, found.schema) as table:
                for batch in found.to_batches():
                    table.write_batch(batch)
        else:
            raise ConfigurationError(f"{path}: give a .parquet, .csv or .jsonl file")
    except (OSError, pa.ArrowException) as error:
        raise ConfigurationError(f"{path} can't be written: {type(error).__name__}") from error


COMMANDS = (plan, estimate, run, status, results, retry, stop)
