"""The results of a job, as a pyarrow dataset in the plan's order."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any

from langchain_modelmgr.batch.chunks import ChunkTask, with_earlier
from langchain_modelmgr.batch.store import FolderStore

if TYPE_CHECKING:
    from langchain_modelmgr.batch.chunks import Chunks
    from langchain_modelmgr.batch.store import Store


def dataset_of(chunks: Chunks) -> Any:
    """Return the results that there are, as a pyarrow dataset.

    Finished chunks are read when the dataset is; the answers of the others are in memory.

    Args:
        chunks: The job's chunks.
    """
    import pyarrow.dataset as ds

    progress = chunks.progress()
    logged = {task.chunk: (task, logs.answers) for task, logs in progress.logged.items()}
    finished = {n: task for n, task in progress.finished.items() if n not in logged}
    empty = chunks.table(ChunkTask(0), {})
    files = _files_of(chunks.store)
    parts: list[Any] = []
    known = sorted({*finished, *logged})
    for is_finished, group in groupby(known, key=lambda chunk: chunk in finished):
        if is_finished:
            paths = [files.path(finished[chunk].result) for chunk in group]
            parts.append(
                ds.dataset(paths, schema=empty.schema, format="parquet", filesystem=files.system)
            )
            continue
        for chunk in group:
            task, answers = logged[chunk]
            if (before := progress.finished.get(chunk)) is not None:  # it is being retried
                answers = with_earlier(chunks.answers(before), answers)
            parts.append(ds.dataset(chunks.table(task, answers)))
    if not parts:
        return ds.dataset(empty)
    return parts[0] if len(parts) == 1 else ds.dataset(parts)


class _Files:
    """The objects of a store as a file system of pyarrow."""

    def __init__(self, system: Any, root: str) -> None:
        self.system = system
        self._root = root

    def path(self, name: str) -> str:
        return f"{self._root}{name}"


def _files_of(store: Store) -> _Files:
    from pyarrow import fs

    if isinstance(store, FolderStore):
        return _Files(fs.LocalFileSystem(), f"{store.folder.as_posix()}/")
    return _Files(fs.PyFileSystem(_handler(store)), "")


def _handler(store: Store) -> Any:
    """Return a handler that reads a store's objects, each in one request.

    pyarrow's own S3 file system has other credentials and endpoints than boto3.
    """
    import pyarrow as pa
    from pyarrow import fs

    def read_only(*_: Any) -> Any:
        raise NotImplementedError("the results are only read")

    def opened(_: Any, path: str) -> Any:
        if (body := store.read(path)) is None:
            raise FileNotFoundError(f"{store.where}/{path}")
        return pa.PythonFile(pa.BufferReader(body), mode="r")

    def infos(_: Any, paths: list[str]) -> list[Any]:
        return [fs.FileInfo(path, fs.FileType.File) for path in paths]

    methods: dict[str, Any] = dict.fromkeys(fs.FileSystemHandler.__abstractmethods__, read_only)
    methods |= {
        "get_file_info": infos,
        "get_type_name": lambda _: "modelmgr",
        "normalize_path": lambda _, path: path,
        "open_input_file": opened,
        "open_input_stream": opened,
    }
    return type("_StoreHandler", (fs.FileSystemHandler,), methods)()
