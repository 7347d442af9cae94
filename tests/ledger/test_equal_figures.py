"""Server, summary, usage table and CloudWatch tell the same of many mixed calls."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.ledger.equal_figures import prove

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.timeout(300)
def test_four_accounts_of_mixed_calls_are_equal(tmp_path: Path) -> None:
    figures = prove(400, tmp_path)

    assert figures["unpriced"] > 0
    assert figures["wasted_usd"] > 0
