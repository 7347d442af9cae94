"""Programs of one call each deliver what others left, however much that is."""

from __future__ import annotations

import pytest

from tests.ledger.delivered_backlog import deliver


@pytest.mark.parametrize(("megabytes", "writers"), [(2, 1), (1, 40)])
def test_programs_of_one_call_deliver_what_dead_processes_left(
    megabytes: float, writers: int
) -> None:
    found = deliver(megabytes, writers)

    found.check()
    assert found.left > 1_000
