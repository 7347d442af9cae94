"""The pytest fixture ``local_aws``: enable with ``-p langchain_modelmgr.local.pytest_plugin``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from langchain_modelmgr.local.aws import LocalAWS

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def local_aws() -> Iterator[LocalAWS]:
    """A running local AWS; boto3 clients created in the test use it."""
    with LocalAWS.running() as aws:
        yield aws
