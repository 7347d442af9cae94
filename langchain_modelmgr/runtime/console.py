"""Runs a command whose reader may leave early, as ``head`` does."""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_SIGNALLED = 128
"""Added to a signal's number it is the exit code of a process that the signal ended."""


def run(command: Callable[[], int]) -> int:
    """Return the command's exit code; where its output was closed, as if SIGPIPE had ended it."""
    try:
        code = command()
        sys.stdout.flush()
    except BrokenPipeError:
        # What is still buffered is flushed at exit, and would fail once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _SIGNALLED + getattr(signal, "SIGPIPE", 13)
    return code
