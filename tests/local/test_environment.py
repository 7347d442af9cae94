"""How a program that knows nothing of the local AWS reaches it, and what is restored afterwards."""

from __future__ import annotations

import os
from typing import Any

import boto3
import pytest

from langchain_modelmgr import ConfigurationManager, ManagedBedrockChat
from langchain_modelmgr.local import LocalAWS
from tests.models import SONNET
from tests.support import ROOT

HELLO: Any = [{"role": "user", "content": [{"text": "Hello"}]}]


def aws_settings() -> dict[str, str]:
    names = ("AWS_", "MODELMGR_", "NO_PROXY", "no_proxy")
    return {name: value for name, value in os.environ.items() if name.startswith(names)}


@pytest.fixture
def own_settings(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Set what a user may have set, and return it."""
    monkeypatch.setenv("AWS_PROFILE", "mine")
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    return aws_settings()


def test_the_environment_points_boto3_to_the_local_aws_and_is_restored(
    local_aws: LocalAWS, own_settings: dict[str, str]
) -> None:
    with local_aws.environment():
        assert "AWS_PROFILE" not in os.environ
        reply = boto3.client("bedrock-runtime").converse(modelId=SONNET, messages=HELLO)

    assert reply["stopReason"] == "end_turn"
    assert aws_settings() == own_settings


def test_one_line_runs_a_local_aws_and_points_programs_to_it(own_settings: dict[str, str]) -> None:
    config = ConfigurationManager("dev", ROOT / "config")

    with LocalAWS.running() as aws:
        reply = ManagedBedrockChat("sql_agent", config=config).invoke("ready?")

    assert reply.text
    assert aws.requests(SONNET) == 1
    assert aws_settings() == own_settings


def test_a_local_aws_runs_without_a_with_statement_until_it_is_stopped(
    own_settings: dict[str, str],
) -> None:
    aws = LocalAWS.running()
    boto3.client("bedrock-runtime").converse(modelId=SONNET, messages=HELLO)
    aws.stop()
    aws.stop()

    assert aws.requests(SONNET) == 1
    assert aws_settings() == own_settings
    with pytest.raises(RuntimeError, match="not started"):
        _ = aws.url


def test_the_environment_is_restored_after_an_error(own_settings: dict[str, str]) -> None:
    with pytest.raises(ZeroDivisionError), LocalAWS.running():
        _ = 1 / 0

    assert aws_settings() == own_settings


def test_a_local_aws_inside_another_one_gives_the_outer_one_back() -> None:
    with LocalAWS.running() as outer:
        with LocalAWS.running() as inner:
            assert os.environ["AWS_ENDPOINT_URL"] == inner.url
        assert os.environ["AWS_ENDPOINT_URL"] == outer.url


def test_a_taken_port_leaves_the_environment_alone(own_settings: dict[str, str]) -> None:
    with LocalAWS() as aws, pytest.raises(OSError, match="in use"):
        LocalAWS.running(int(aws.url.rpartition(":")[2]))

    assert aws_settings() == own_settings
