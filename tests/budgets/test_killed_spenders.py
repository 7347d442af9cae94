"""Processes that are killed at random never spend more than a budget, nor less than was billed."""

from __future__ import annotations

import sys

import pytest

from tests.budgets.killed_spenders import prove


@pytest.mark.skipif(sys.platform == "win32", reason="kills processes by signals")
def test_killed_processes_are_billed_at_most_what_is_spent_and_spend_at_most_the_limit() -> None:
    proof = prove(seconds=6, processes=2, threads=4)

    proof.check()
    assert proof.answers > 0
