"""Runs a command-line program that handles a closed pipe, as when its reader is ``head``."""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_SIGNALLED = 128
"""Exit code of a process that a signal ended, less the signal's number."""


def run(command: Callable[[], int]) -> int:
    """Run a command and return its exit code: that of SIGPIPE if its output was closed."""
    try:
        code = command()
        sys.stdout.flush()
    except BrokenPipeError:
        # Python flushes the buffered output at exit, which would fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _SIGNALLED + getattr(signal, "SIGPIPE", 13)
    return code
