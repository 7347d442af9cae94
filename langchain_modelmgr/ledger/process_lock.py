"""Whether a process lives: it holds the lock of a file until it ends, however it ends.

The lock is a file of its own: on Windows a locked file can't be read by others.
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
"""A segment whose lock file somebody removed belongs to a dead process after this long."""


class ProcessLock:
    """Holds a file's lock.

    Args:
        path: The file, which is made.

    Raises:
        OSError: It can't be made or locked.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = locked(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
        if self._file is None:
            raise OSError(f"{path.name} can't be locked")
        # A ledger that nobody closes may be collected with its open file.
        weakref.finalize(self, self._file.close).atexit = False

    def end(self) -> None:
        """Let go of the lock, and remove its file."""
        with contextlib.suppress(OSError):
            self._path.unlink()
        self.close()

    def close(self) -> None:
        """Close the file. In a forked child the lock stays its parent's."""
        file, self._file = self._file, None
        if file is not None:
            with contextlib.suppress(OSError):
                file.close()


def locked_if_dead(path: Path, segment: Path) -> IO[bytes] | None:
    """Return a lock file, locked, if its process is dead; None: it lives. The caller closes it.

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
    except OSError:  # another user's, perhaps root's: its lines can be read at most
        pass
    return None


def is_alive(path: Path) -> bool:
    """Return whether the process of a lock file lives, or can't be asked."""
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
    """Return a file, locked; None: another process has locked it.

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
