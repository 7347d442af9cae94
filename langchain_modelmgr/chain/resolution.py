"""Resolves the ARNs of a chain before its first call, with a limited wait."""

from __future__ import annotations

import asyncio
from concurrent.futures import wait
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from concurrent.futures import Future

    from langchain_modelmgr.chain.candidate import Candidate


def resolve(candidates: Iterable[Candidate], seconds: float) -> None:
    """Look up the underlying models of the candidates' ARNs.

    Args:
        candidates: A chain.
        seconds: Maximum wait in seconds; lookups continue in the background after it.
    """
    unresolved = [candidate for candidate in candidates if candidate.is_unresolved]
    if searches := _searches(unresolved):
        wait(searches, seconds)
        _take(unresolved)


async def aresolve(candidates: Iterable[Candidate], seconds: float) -> None:
    """Asynchronous version of ``resolve``."""
    unresolved = [candidate for candidate in candidates if candidate.is_unresolved]
    if searches := _searches(unresolved):
        await asyncio.wait([asyncio.wrap_future(s) for s in searches], timeout=seconds)
        _take(unresolved)


def _searches(unresolved: list[Candidate]) -> list[Future[None]]:
    """Start lookups and return the futures to wait for; apply results that are known."""
    searches = [search for c in unresolved if (search := c.search()) is not None]
    _take(unresolved)
    return searches


def _take(unresolved: list[Candidate]) -> None:
    for candidate in unresolved:
        candidate.resolve()
