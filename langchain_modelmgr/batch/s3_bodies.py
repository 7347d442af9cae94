"""Reads the bodies of S3 objects, and goes on where one broke off."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from langchain_modelmgr.errors import JobError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

_TRIES = 8
_WAIT_SECONDS = 0.1, 10.0
_BLOCK_BYTES = 256 * 1024


def blocks_of(
    get: Callable[..., Any], where: str, wait: Callable[[float], Any] = time.sleep
) -> Iterator[bytes]:
    """Yield an object's bytes in blocks. A body that breaks off is requested from there on.

    Args:
        get: Sends GetObject with further parameters, and returns the response.
        where: Begins the text of errors.
        wait: Waits for some seconds.

    Raises:
        JobError: The body breaks off again and again without a further byte, or is damaged.
    """
    from botocore.exceptions import BotoCoreError
    from urllib3.exceptions import HTTPError

    found = get()
    size, etag, offset, tries = int(found["ContentLength"]), found["ETag"], 0, 0
    least, most = _WAIT_SECONDS
    while True:
        try:
            for block in found["Body"].iter_chunks(_BLOCK_BYTES):
                offset, tries = offset + len(block), 0
                yield block
        except (BotoCoreError, HTTPError, OSError) as error:
            tries += 1
            if offset >= size or tries >= _TRIES:  # a wrong checksum, or no further byte
                times = f" {tries} times" if tries > 1 else ""
                raise JobError(f"{where}GetObject failed{times}: {type(error).__name__}") from error
        else:
            return
        wait(min(most, least * 2 ** (tries - 1)))
        found = get(Range=f"bytes={offset}-", IfMatch=etag)


def lines_of(blocks: Iterable[bytes]) -> Iterator[bytes]:
    r"""Yield the lines of blocks of bytes, which end with ``\n``."""
    rest: list[bytes] = []
    for block in blocks:
        first, *lines = block.split(b"\n")
        rest.append(first)
        for line in lines:
            yield b"".join(rest)
            rest = [line]
    if any(rest):
        yield b"".join(rest)
