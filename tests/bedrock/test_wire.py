"""What the wire tells of one attempt."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from langchain_modelmgr.usage.meter import Meter, token_counts
from langchain_modelmgr.usage.pricing import TokenCounts
from langchain_modelmgr.usage.totals import tokens_of_message


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"inputTokens": 3, "outputTokens": 5, "totalTokens": 8}, TokenCounts(3, 5)),
        (
            {"inputTokens": 3, "outputTokens": 5, "cacheReadInputTokens": 7},
            TokenCounts(3, 5, cache_read_tokens=7),
        ),
        (
            {"inputTokens": 3, "outputTokens": 5, "cacheWriteInputTokens": 7},
            TokenCounts(3, 5, cache_write_5m_tokens=7),
        ),
        (
            {
                "inputTokens": 3,
                "outputTokens": 5,
                "cacheWriteInputTokens": 9,
                "cacheDetails": [
                    {"ttl": "5m", "inputTokens": 4},
                    {"ttl": "1h", "inputTokens": 5},
                ],
            },
            TokenCounts(3, 5, cache_write_5m_tokens=4, cache_write_1h_tokens=5),
        ),
        ({"inputTokens": None, "outputTokens": None}, TokenCounts()),
    ],
)
def test_bedrocks_counts_become_disjoint_ones(usage: dict[str, Any], expected: TokenCounts) -> None:
    assert token_counts(usage) == expected


def test_langchains_counts_become_the_same_disjoint_ones() -> None:
    usage = {
        "input_tokens": 19,
        "output_tokens": 5,
        "input_token_details": {
            "cache_read": 7,
            "cache_creation": 0,
            "ephemeral_5m_input_tokens": 4,
            "ephemeral_1h_input_tokens": 5,
        },
    }

    assert tokens_of_message(usage) == TokenCounts(3, 5, 7, 4, 5)
    assert tokens_of_message({}) == TokenCounts()


def test_an_attempt_is_reported_once_however_many_threads_end_it() -> None:
    ends: list[Meter] = []
    meter = Meter("m", ends.append)
    meter.send()

    with ThreadPoolExecutor(8) as pool:
        for outcome in ("answered", "failed", "aborted") * 20:
            pool.submit(meter.finish, outcome)

    assert ends == [meter]


def test_an_attempt_of_which_nothing_was_sent_is_not_reported() -> None:
    ends: list[Meter] = []

    Meter("m", ends.append).finish("failed", "TypeError")

    assert ends == []


def test_a_reply_that_opens_after_its_cancellation_is_shut() -> None:
    class Raw:
        shut = False

        def shutdown(self) -> None:
            self.shut = True

    raw, meter = Raw(), Meter("m", lambda _: None)
    meter.cancel()
    meter.opened(raw)

    assert raw.shut
