"""RejectedLines: copies lines that can't be read to a file, counts them, and logs once."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from langchain_modelmgr.runtime.rate_limited_log import RateLimitedLog

FILE_NAME = "rejected.jsonl"
MAX_BYTES = 4_000_000


class RejectedLines:
    """Copies lines that can't be read to a file.

    Args:
        log: Gets one warning.

    Attributes:
        count: The number of lines so far.
    """

    def __init__(self, log: RateLimitedLog) -> None:
        self.count = 0
        self._log = log

    def of(self, folder: Path | None) -> Callable[[bytes], None]:
        """Return the function that takes the lines of a ledger's folder."""

        def take(line: bytes) -> None:
            self.count += 1
            if self.count == 1:
                self._log.warning(
                    "the ledger has lines that can't be read: they are counted, and copied to %s",
                    FILE_NAME,
                )
            if folder is not None:
                with suppress(OSError):
                    _append(folder / FILE_NAME, line)

        return take


def _append(path: Path, line: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        if os.fstat(fd).st_size < MAX_BYTES:
            os.write(fd, line + b"\n")
    finally:
        os.close(fd)
