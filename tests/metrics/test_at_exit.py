"""At the end of the interpreter every sink that is still open is flushed, in one span of time."""

from __future__ import annotations

from langchain_modelmgr.at_exit import EXIT_SECONDS, AtExit


class Sink:
    def __init__(self) -> None:
        self.timeouts: list[float | None] = []
        self.reports = 0

    def flush(self, timeout: float | None = None) -> None:
        self.timeouts.append(timeout)

    def let_go(self) -> None:
        pass

    def report_undelivered(self) -> None:
        self.reports += 1


def test_open_sinks_are_flushed_and_closed_ones_are_left_alone() -> None:
    at_exit = AtExit()
    first, second, closed = Sink(), Sink(), Sink()
    for sink in (first, second, closed):
        at_exit.remember(sink)
    at_exit.forget(closed)

    at_exit._flush_all()

    given = [*first.timeouts, *second.timeouts]
    assert len(given) == 2
    assert all(timeout is not None and 0 <= timeout <= EXIT_SECONDS for timeout in given)
    assert (first.reports, second.reports, closed.timeouts) == (1, 1, [])


def test_a_sink_that_nobody_holds_is_not_kept_alive() -> None:
    at_exit = AtExit()

    at_exit.remember(Sink())

    assert len(at_exit._sinks) == 0
