"""Guard: keeps failures of metrics from reaching calls, and those of one check from the others."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType


class Guard:
    """Context manager that suppresses every ``Exception`` of its block and reports it.

    Used only where metrics are recorded or sent, and in the checks of ``modelmgr doctor``: sinks
    and clients may be third-party code that raises anything, and a call must not fail because of
    its metrics. Has no state: any number of threads may use one guard.

    Args:
        failed: Called with each error; None if the same error is raised again elsewhere.
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
