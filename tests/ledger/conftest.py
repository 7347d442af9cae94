"""Fixtures for a ledger that uses the local AWS."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from langchain_modelmgr.local import LocalAWS


@pytest.fixture
def folder(tmp_path: Path, local_aws: LocalAWS, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, value in local_aws.env().items():
        monkeypatch.setenv(name, value)
    return tmp_path / "ledger"
