"""The options that every command has, and the configuration that they name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from langchain_modelmgr.config import ConfigurationManager


def _here_or_before(ctx: typer.Context, param: typer.CallbackParam, value: Any) -> Any:
    """Return an option's value, or the value that was given before the command's name."""
    return value or ctx.find_root().params.get(param.name or "") or value


Environment = Annotated[
    str | None,
    typer.Option(
        "--environment",
        "-e",
        metavar="NAME",
        help="Read NAME.yaml. Default: MODELMGR_ENV, else dev.",
        callback=_here_or_before,
    ),
]
EnvironmentArgument = Annotated[
    str | None,
    typer.Argument(metavar="ENVIRONMENT", help="The same as --environment.", show_default=False),
]
ConfigDir = Annotated[
    str | None,
    typer.Option(
        "--config-dir",
        metavar="FOLDER",
        help="The folder of the YAML. Default: MODELMGR_CONFIG_DIR, else ./config.",
        callback=_here_or_before,
    ),
]
AsJson = Annotated[
    bool,
    typer.Option("--json", metavar="", help="Print JSON; money is text.", callback=_here_or_before),
]


def read_config(environment: str | None, config_dir: str | None) -> ConfigurationManager:
    """Return the configuration that the options name.

    Raises:
        ConfigurationError: The files have mistakes.
    """
    from langchain_modelmgr.config import ConfigurationManager

    return ConfigurationManager(environment, config_dir)
