"""What cooldowns log: start, probe and end, and only a few lines a day about a dead model."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from langchain_modelmgr import ModelManager
from langchain_modelmgr.chain.cooldown import Caller, Cooldowns
from langchain_modelmgr.chain.policy import HealthEffect
from langchain_modelmgr.chain.request import HealthKey
from tests.models import HAIKU, SONNET

if TYPE_CHECKING:
    from langchain_modelmgr.local import LocalAWS
    from tests.agents import Configure

KEY = HealthKey("eu-central-1", SONNET, None, None)
NAME = f"{SONNET} in eu-central-1"
CALL = Caller("a", 30, 60, lambda: "x")
COUNTS = HealthEffect("counts")
DAY = 86_400


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def info(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "langchain_modelmgr.chain")


def _fail(cooldowns: Cooldowns, times: int) -> list[bool]:
    return [cooldowns.failed(KEY, CALL, COUNTS, cooldowns.now()) for _ in range(times)]


@pytest.mark.parametrize("is_stream", [False, True])
def test_start_probe_and_end_are_logged(
    caplog: pytest.LogCaptureFixture, *, is_stream: bool
) -> None:
    clock = Clock()
    cooldowns = Cooldowns(clock)

    _fail(cooldowns, 3)
    clock.now = 31
    assert cooldowns.admits(KEY, CALL)
    if is_stream:
        cooldowns.content_came(KEY, CALL, 31)
    cooldowns.answered(KEY, CALL, 31)

    assert caplog.messages == [
        f"{NAME}: skipped for 30 s, because it keeps failing",
        f"{NAME}: its cooldown is over; one call tests it",
        f"{NAME}: answers again; its cooldown has ended",
    ]
    assert {record.levelname for record in caplog.records} == {"INFO"}


def test_a_model_that_answers_logs_nothing(caplog: pytest.LogCaptureFixture) -> None:
    cooldowns = Cooldowns()

    _fail(cooldowns, 2)
    cooldowns.answered(KEY, CALL, cooldowns.now())

    assert caplog.messages == []


def test_a_day_of_a_dead_model_gives_a_few_lines_each_hour(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = Clock()
    cooldowns = Cooldowns(clock)
    warnings = 0

    while clock.now < DAY:  # a call each second
        if cooldowns.admits(KEY, CALL):
            warnings += cooldowns.failed(KEY, CALL, COUNTS, clock.now)
        clock.now += 1

    lines = len(caplog.messages)
    assert 24 <= lines <= 24 * 3
    assert 24 <= warnings <= 24 * 2
    last_hour = [r for r in caplog.records[-3:] if "keeps failing" in r.message]
    assert last_hour, "the last lines say that it still fails"


def test_a_day_of_a_dead_primary_warns_of_its_fallback_each_hour(
    configured: Configure, local_aws: LocalAWS, caplog: pytest.LogCaptureFixture
) -> None:
    config = configured(f"a: {{model: '{SONNET}', fallbacks: ['{HAIKU}']}}")
    local_aws.fail(SONNET, "InternalServerException", times=None)
    manager = ModelManager(config, sinks=[])
    llm = manager.chat_model("a")
    clock = Clock()
    manager.chains._cooldowns._clock = clock

    for number in range(300):  # one every five minutes: each is a probe
        clock.now = number * 301
        assert llm.invoke(f"question {number}").response_metadata["model_manager"]["fallback_used"]

    warnings = [r for r in caplog.records if r.levelno == logging.WARNING]
    assert 24 <= len(warnings) <= 24 * 2
    assert all("falling back from" in warning.message for warning in warnings)


def test_a_key_names_no_account() -> None:
    arn = "arn:aws:bedrock:us-east-1:123456789012:provisioned-model/abc"

    text = str(HealthKey(None, arn, "flex", "optimized"))

    assert "123456789012" not in text
    assert text.endswith("(service tier flex) (latency optimized)")
