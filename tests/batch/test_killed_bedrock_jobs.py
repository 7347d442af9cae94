"""Drivers of batch inference jobs that are killed leave each row asked, and paid, once."""

from __future__ import annotations

import sys

import pytest

from tests.batch.killed_bedrock_jobs import prove

if sys.platform == "win32":
    pytest.skip("kills processes by signals", allow_module_level=True)


def test_each_row_is_asked_and_accounted_once_after_drivers_were_killed(s3_url: str) -> None:
    prove(rows=400, kills=2, s3_url=s3_url).check()
