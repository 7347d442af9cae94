"""The example with two tenants runs: one runs out, the other is answered."""

from __future__ import annotations

from typing import TYPE_CHECKING

from examples.tenants.__main__ import main

if TYPE_CHECKING:
    import pytest


def test_one_tenant_runs_out_and_the_other_is_answered(capsys: pytest.CaptureFixture[str]) -> None:
    main()

    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("acme: answered for $")
    assert lines[3].startswith("acme: refused: ")
    assert lines[4].startswith("umbra: answered for $")
    assert [line.split(":")[0] for line in lines[5:]] == ["acme", "umbra"]
