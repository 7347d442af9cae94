"""Resolves the ARNs of a chain before its first call, without waiting for long."""

from __future__ import annotations

import asyncio
from concurrent.futures import wait
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from concurrent.futures import Future

    from langchain_modelmgr.chain.candidate import Candidate


def resolve(candidates: Iterable[Candidate], seconds: float) -> None:
    """Find out which models the candidates' ARNs stand for.

    Args:
        candidates: A chain.
        seconds: How long to wait for that at most; it goes on in the background.
    """
    unresolved = [candidate for candidate in candidates if candidate.is_unresolved]
    if searches := _searches(unresolved):
        wait(searches, seconds)
        _take(unresolved)


async def aresolve(candidates: Iterable[Candidate], seconds: float) -> None:
    """Find out as ``resolve`` does, asynchronously."""
    unresolved = [candidate for candidate in candidates if candidate.is_unresolved]
    if searches := _searches(unresolved):
        await asyncio.wait([asyncio.wrap_future(s) for s in searches], timeout=seconds)
        _take(unresolved)


def _searches(unresolved: list[Candidate]) -> list[Future[None]]:
    """Return what may be waited for; what was found meanwhile is taken."""
    searches = [search for c in unresolved if (search := c.search()) is not None]
    _take(unresolved)
    return searches


def _take(unresolved: list[Candidate]) -> None:
    for candidate in unresolved:
        candidate.resolve()
