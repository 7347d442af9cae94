"""The typer application: its commands, and what becomes of their errors."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperCommand, TyperGroup

from langchain_modelmgr.cli import (
    batch,
    budgets,
    dashboard,
    demo,
    doctor,
    iam,
    init,
    local,
    migrate,
    models,
    report,
    show,
    usage,
)
from langchain_modelmgr.cli.options import AsJson, ConfigDir, Environment
from langchain_modelmgr.cli.output import note
from langchain_modelmgr.errors import ConfigurationError, ModelManagerError
from langchain_modelmgr.runtime.masking import mask_account_ids

if TYPE_CHECKING:
    from typer import Context

_FAILED = 1
"""Exit status of a command that could not do its work."""

_MISTAKE = 2
"""Exit status of a mistake in the arguments or in a file."""

_READER_LEFT = 128 + 13
"""Exit status of a process that SIGPIPE has ended: the reader of its output has left."""


def _without_type(option: Any) -> Any:
    """Return the option ``--help`` without the type that typer shows for it: it takes no value."""
    if option is not None:
        option.metavar = ""
    return option


class _Command(TyperCommand):
    """A command whose ``--help`` shows no type."""

    def get_help_option(self, ctx: Any) -> Any:
        return _without_type(super().get_help_option(ctx))


class _Group(TyperGroup):
    """Prints the errors of commands on standard error, without a traceback."""

    def get_help_option(self, ctx: Any) -> Any:
        return _without_type(super().get_help_option(ctx))

    def invoke(self, ctx: Context) -> Any:  # type: ignore[override]
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError:
            # What is still buffered is flushed at exit, and would fail once more.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(_READER_LEFT) from None
        except ModelManagerError as error:
            note(mask_account_ids(str(error)))
            is_mistake = isinstance(error, ConfigurationError)
            raise typer.Exit(_MISTAKE if is_mistake else _FAILED) from error
        return result


app = typer.Typer(
    cls=_Group,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)


@app.callback()
def modelmgr(
    environment: Environment = None, config_dir: ConfigDir = None, as_json: AsJson = False
) -> None:
    """Check, show and price the models of your agents on Amazon Bedrock.

    Commands print results on standard output, and mistakes and progress on standard error. The
    exit status is 0 for success, 1 if something failed, and 2 for a mistake in the arguments or
    in a file. `--environment`, `--config-dir` and `--json` may stand before or after a command.
    """


_batch = typer.Typer(
    cls=_Group, no_args_is_help=True, rich_markup_mode="markdown", epilog=batch.EXAMPLE
)


@_batch.callback()
def _of_batch(
    environment: Environment = None, config_dir: ConfigDir = None, as_json: AsJson = False
) -> None:
    """Ask an agent's model for each of many rows: plan, estimate, run, retry, results."""


for _command in batch.COMMANDS:
    _batch.command(_command.__name__, cls=_Command)(_command)

app.command("init", cls=_Command, epilog=init.EXAMPLE)(init.init)
app.command("models", cls=_Command, epilog=models.EXAMPLE)(models.models)
app.command("show", cls=_Command, epilog=show.EXAMPLE)(show.show)
app.command("doctor", cls=_Command, epilog=doctor.EXAMPLE)(doctor.doctor)
app.command("usage", cls=_Command, epilog=usage.EXAMPLE)(usage.usage)
app.command("budgets", cls=_Command, epilog=budgets.EXAMPLE)(budgets.budgets)
app.add_typer(_batch, name="batch")
app.command("report", cls=_Command, epilog=report.EXAMPLE)(report.report)
app.command("migrate", cls=_Command, epilog=migrate.EXAMPLE)(migrate.migrate)
app.command("dashboard", cls=_Command, epilog=dashboard.EXAMPLE)(dashboard.dashboard)
app.command("iam", cls=_Command, epilog=iam.EXAMPLE)(iam.iam)
app.command("local", cls=_Command, epilog=local.EXAMPLE)(local.local)
app.command("demo", cls=_Command, epilog=demo.EXAMPLE)(demo.demo)
