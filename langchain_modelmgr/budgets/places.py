"""Finds the store of a project's budgets, and refuses places that can't hold a limit."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from langchain_modelmgr.budgets.memory_store import MemoryStore
from langchain_modelmgr.budgets.sqlite_store import SqliteStore
from langchain_modelmgr.budgets.sqlite_tables import FILE_NAME
from langchain_modelmgr.budgets.unconfirmed import UnconfirmedStore
from langchain_modelmgr.errors import ConfigurationError
from langchain_modelmgr.ledger.folder import FOLDER_VARIABLE, in_lambda, ledger_folder
from langchain_modelmgr.runtime.forks import AFTER_FORK

if TYPE_CHECKING:
    from langchain_modelmgr.budgets.store import BudgetStore

_NETWORK = frozenset(
    {
        "afpfs", "afs", "beegfs", "ceph", "cifs", "fuse.glusterfs", "fuse.s3fs", "fuse.sshfs",
        "glusterfs", "gpfs", "lustre", "ncpfs", "nfs", "nfs4", "ocfs2", "smb3", "smbfs",
    }
)  # fmt: skip
"""Types of file systems whose locks or shared memory SQLite can't rely on between hosts.
Source: SQLite, "Write-Ahead Logging": all processes must be on the same host; read 2026-11-26."""

_MOUNTS = Path("/proc/self/mounts")

_ELSEWHERE = (
    f"set {FOLDER_VARIABLE} to a folder on a local disk, state: valkey://host:6379/0 for a Valkey "
    "server, or state: memory, which limits each process by itself"
)


class _Stores:
    """The stores of this process: one for each project and place."""

    def __init__(self) -> None:
        self._stores: dict[tuple[str, str], BudgetStore] = {}
        self._unconfirmed: dict[int, UnconfirmedStore] = {}
        self._lock = threading.RLock()
        AFTER_FORK.watch(self)

    def reset_after_fork(self) -> None:
        self._lock = threading.RLock()

    def get(self, state: str, project_prefix: str) -> BudgetStore:
        if state != "auto":
            key = (state, project_prefix)
        else:
            folder = None if in_lambda() else ledger_folder("auto", project_prefix)
            key = ("" if folder is None else str(folder / FILE_NAME), project_prefix)
        with self._lock:
            store = self._stores.get(key)
            if store is None:
                store = self._stores[key] = _made(*key)
            return store

    def unconfirmed(self, store: BudgetStore) -> UnconfirmedStore:
        found = self._unconfirmed.get(id(store))
        if found is None:
            with self._lock:
                found = self._unconfirmed.setdefault(id(store), UnconfirmedStore(store))
        return found


STORES = _Stores()


def store_of(state: str, project_prefix: str) -> BudgetStore:
    """Return the store of a project's budgets. Managers of one project share it.

    Args:
        state: ``auto``, ``memory`` or a Valkey server's URL, as in the YAML.
        project_prefix: The project.

    Raises:
        ConfigurationError: The place can't hold a limit: AWS Lambda, a network file system, or a
            folder that can't be written.
    """
    return STORES.get(state, project_prefix)


def unconfirmed_of(store: BudgetStore) -> UnconfirmedStore:
    """Return what limits calls while a store of this process can't be reached."""
    return STORES.unconfirmed(store)


def _made(place: str, project_prefix: str) -> BudgetStore:
    if place == "memory":
        return MemoryStore()
    if "://" in place:
        from langchain_modelmgr.budgets.valkey_store import ValkeyStore

        return ValkeyStore(place, project_prefix)
    path = Path(place) if place else None
    if (wrong := unfit_because(path)) is not None:
        raise ConfigurationError(f"state: auto: budgets can't be kept here: {wrong}")
    if path is None:  # unfit_because has said so
        raise RuntimeError("no folder is known")
    return SqliteStore(path)


def unfit_because(path: Path | None) -> str | None:
    """Return why a limit can't be held by an SQLite file, and what to do; None: it can.

    Args:
        path: The file; None: no folder is known.
    """
    if in_lambda():
        return (
            "the disk of AWS Lambda is not shared by its environments: set "
            "state: valkey://host:6379/0 for a Valkey server, or state: memory, which limits each "
            "environment by itself"
        )
    if path is None:
        return f"no home folder is known: {_ELSEWHERE}"
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    except OSError as error:
        return f"{path.parent} can't be written ({type(error).__name__}): {_ELSEWHERE}"
    kind = file_system_of(path.parent)
    if kind in _NETWORK:
        return f"{path.parent} is on a network file system ({kind}): {_ELSEWHERE}"
    return None


def file_system_of(folder: Path) -> str | None:
    """Return the type of the file system of a folder; None: unknown, as outside Linux."""
    try:
        lines = _MOUNTS.read_text("utf-8", "surrogateescape").splitlines()
    except OSError:
        return None
    resolved = folder.resolve()
    found, kind = -1, None
    for line in lines:
        fields = line.split(" ")
        point = Path(fields[1].encode().decode("unicode_escape", "replace"))
        if len(point.parts) >= found and resolved.is_relative_to(point):
            found, kind = len(point.parts), fields[2]
    return kind
