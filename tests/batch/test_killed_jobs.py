"""Drivers that are killed at random leave each row with exactly one answer."""

from __future__ import annotations

import sys

import pytest

from tests.batch.killed_jobs import prove

if sys.platform == "win32":
    pytest.skip("kills processes by signals", allow_module_level=True)


@pytest.mark.parametrize("place", ["folder", "s3"])
def test_each_row_has_one_answer_after_its_drivers_were_killed(place: str, s3_url: str) -> None:
    proof = prove(rows=200, kills=1, longest=0.5, s3_url=s3_url if place == "s3" else None)

    proof.check()
