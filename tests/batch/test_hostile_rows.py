"""Rows that a model can't be sent fail alone, and nothing of them is in an error."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from langchain_core.messages import ChatMessage, HumanMessage

if TYPE_CHECKING:
    from pathlib import Path

    from langchain_core.messages import BaseMessage

    from langchain_modelmgr import ModelManager
    from langchain_modelmgr.local import LocalAWS

IMAGE = {"type": "image_url", "image_url": {"url": "https://x.example/secret.png"}}


@pytest.mark.parametrize(
    "message",
    [
        HumanMessage([IMAGE]),
        HumanMessage([{"type": "odd", "secret": 1}]),
        ChatMessage(content="secret", role="odd"),
    ],
)
def test_a_row_that_cannot_be_converted_fails_without_its_content(
    message: BaseMessage, manager: ModelManager, tmp_path: Path
) -> None:
    job = manager.batch("labeler", [[message], "fine"], into=tmp_path / "job")

    status = job.run()

    assert (status.done, status.failed, status.pending, status.reason) == (1, 1, 0, None)
    error = job.results().to_table().column("error").to_pylist()[0]
    assert "the messages can't be converted to a request" in error
    assert "secret" not in error


def test_rows_of_which_none_can_be_converted_end_the_run(
    manager: ModelManager, tmp_path: Path, local_aws: LocalAWS
) -> None:
    rows = [[HumanMessage([IMAGE])] for _ in range(40)]

    status = manager.batch("labeler", rows, into=tmp_path / "job").run(concurrency=4)

    assert status.pending > 0
    assert status.reason is not None
    assert "can't be converted to a request, like those of the rows before it" in status.reason
    assert "secret" not in status.reason
    assert local_aws.requests() == 0
