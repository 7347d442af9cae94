"""ProcessLock: a locked file that shows other processes that this one is alive.

The system releases the lock when the process ends, however it ends. It is a file of its own: on
Windows a locked file can't be read by others.
"""

from __future__ import annotations

import contextlib
import os
import time
import weakref
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

SUFFIX = ".lock"

_STALE_SECONDS = 3600.0
"""Seconds after which a segment without a lock file counts as a dead process's."""


class ProcessLock:
    """Creates and locks a file until it is closed.

    Args:
        path: The file; it must not exist.

    Raises:
        OSError: It can't be made or locked.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = locked(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
        if self._file is None:
            raise OSError(f"{path.name} can't be locked")
        # A ledger may be collected without having been closed.
        weakref.finalize(self, self._file.close).atexit = False

    def end(self) -> None:
        """Remove the file and release the lock."""
        with contextlib.suppress(OSError):
            self._path.unlink()
        self.close()

    def close(self) -> None:
        """Close the file. In a forked child the parent keeps the lock."""
        file, self._file = self._file, None
        if file is not None:
            with contextlib.suppress(OSError):
                file.close()


def locked_if_dead(path: Path, segment: Path) -> IO[bytes] | None:
    """Lock the file of a process if that process is dead; None if it is alive.

    The caller closes the file.

    Args:
        path: The lock file.
        segment: A segment of the same process, for its age.
    """
    try:
        return locked(path, os.O_RDWR)
    except FileNotFoundError:
        with contextlib.suppress(OSError):
            if time.time() - segment.stat().st_mtime > _STALE_SECONDS:
                return locked(path, os.O_RDWR | os.O_CREAT)
    except OSError:  # of another user: its lines can be read, but not taken over
        pass
    return None


def is_alive(path: Path) -> bool:
    """Return whether the process of a lock file is alive, or its file can't be opened."""
    try:
        file = locked(path, os.O_RDWR)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    if file is not None:
        file.close()
    return file is None


def locked(path: Path, flags: int) -> IO[bytes] | None:
    """Open and lock a file; None if another process has locked it.

    Raises:
        OSError: It can't be opened.
    """
    import portalocker

    file = os.fdopen(os.open(path, flags, 0o600), "r+b", buffering=0)
    exclusive = portalocker.LockFlags.EXCLUSIVE | portalocker.LockFlags.NON_BLOCKING
    try:
        portalocker.lock(file, exclusive)
    except (portalocker.LockException, OSError):
        file.close()
        return None
    return file
