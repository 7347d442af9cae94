"""The boundary of the metrics: what fails behind it reaches no call and stops nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType


class Guard:
    """Keeps errors of its block from whoever runs it, and reports them.

    For the boundary of the metrics alone: sinks and clients are other people's code, which may
    raise anything, and a call must not fail for its metrics. Holds no state: any number of threads
    may use one.

    Args:
        failed: Called with each error; None: it comes again elsewhere.
    """

    def __init__(self, failed: Callable[[Exception], object] | None = None) -> None:
        self._failed = failed

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: object, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if not isinstance(error, Exception):
            return False
        if self._failed is not None:
            self._failed(error)
        return True
