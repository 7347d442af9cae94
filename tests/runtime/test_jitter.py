"""Jitter leaves the program's own random numbers alone."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from langchain_modelmgr import ModelManager
from tests.models import SONNET

if TYPE_CHECKING:
    from langchain_modelmgr.local import LocalAWS
    from tests.agents import Configure


def test_a_retry_leaves_the_programs_seed_alone(local_aws: LocalAWS, configured: Configure) -> None:
    manager = ModelManager(configured(f"a: {{model: '{SONNET}', fallbacks: [], retries: 2}}"))
    llm = manager.chat_model("a")
    expected = random.Random(7).random()

    def next_number_after_two_retries() -> float:
        before = local_aws.requests()
        local_aws.fail(SONNET, "ThrottlingException", times=2)
        random.seed(7)
        llm.invoke("x")
        assert local_aws.requests() - before == 3
        return random.random()

    # Threads of earlier tests draw numbers, too, in botocore's retries: one call without them counts.
    assert any(next_number_after_two_retries() == expected for _ in range(10))
