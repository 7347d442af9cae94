"""``modelmgr local``: serves a local AWS until Ctrl-C or SIGTERM."""

from __future__ import annotations

import contextlib
import shlex
import signal
import threading
from typing import Annotated

import typer

from langchain_modelmgr.cli.output import note
from langchain_modelmgr.errors import ModelManagerError

EXAMPLE = "Example: `modelmgr local --port 8080 --latency 0.2`"


def local(
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1; 0 is a free one.")] = 0,
    latency: Annotated[float, typer.Option(help="Seconds that a reply takes.")] = 0.0,
    chunk_delay: Annotated[float, typer.Option(help="Seconds between events of a stream.")] = 0.0,
) -> None:
    """Serve Bedrock and CloudWatch on this machine until Ctrl-C.

    Prints the variables to export, so that boto3 and the AWS CLI reach it.
    """
    try:
        from langchain_modelmgr.local import LocalAWS
    except ModuleNotFoundError as error:
        raise ModelManagerError(str(error)) from None
    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    try:
        aws = LocalAWS(port).start()
    except (OSError, OverflowError) as error:
        raise typer.BadParameter(f"port {port} can't be served: {error}") from error
    with aws, contextlib.suppress(KeyboardInterrupt):
        aws.latency(None, latency, chunk_delay=chunk_delay)
        for name, value in aws.env().items():
            typer.echo(f"export {name}={shlex.quote(value)}")
        typer.echo("unset AWS_PROFILE AWS_SESSION_TOKEN AWS_BEARER_TOKEN_BEDROCK")
        stopped.wait()
    note("stopped")
