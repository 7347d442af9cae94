"""The command ``modelmgr``: parses arguments, calls the package, prints what it returns."""

from __future__ import annotations

import sys

_MISSING = "modelmgr needs typer and rich: pip install 'langchain-modelmgr[cli]'\n"


def main() -> None:
    """Run the command ``modelmgr``; exit with its status."""
    try:
        import rich as _rich  # noqa: F401 - only to say what is missing
        import typer as _typer  # noqa: F401
    except ModuleNotFoundError:
        sys.stderr.write(_MISSING)
        sys.exit(1)
    from langchain_modelmgr.cli.app import app

    app(prog_name="modelmgr")
