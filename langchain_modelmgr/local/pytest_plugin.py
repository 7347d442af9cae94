"""The pytest fixture ``local_aws``; on with ``-p langchain_modelmgr.local.pytest_plugin``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from langchain_modelmgr.local.aws import LocalAWS

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def local_aws() -> Iterator[LocalAWS]:
    """A local AWS, started; boto3 clients made in the test reach it."""
    with LocalAWS() as aws, aws.environment():
        yield aws
