"""What every test runs under: no AWS account, no network but loopback, no settings of its user."""

from __future__ import annotations

import gc
import os
import warnings
from textwrap import dedent, indent
from typing import TYPE_CHECKING

import pytest
from botocore.handlers import BUILTIN_HANDLERS
from hypothesis import HealthCheck, settings
from pytest_socket import socket_allow_hosts

from langchain_modelmgr import ConfigurationManager
from langchain_modelmgr.budgets.tasks import TASKS
from langchain_modelmgr.local import LocalAWS
from langchain_modelmgr.runtime.at_exit import AT_EXIT
from langchain_modelmgr.runtime.aws_settings import BOTO3_VARIABLE
from tests.stray_requests import StrayRequests

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytest_plugins = ["tests.held_replies", "tests.metrics_fixtures"]

# A loaded machine is slow, which must not fail a test.
settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any machine")

_AWS_SETTINGS = ("AWS_", "MODELMGR_", "LANGSMITH_", "LANGCHAIN_")


def pytest_runtest_logfinish(nodeid: str) -> None:
    """Collect what tests of closed event loops leave behind, when nothing of them is kept.

    In another test its warnings would be errors.
    """
    if "test_awaited_loops" in nodeid:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            gc.collect()


def pytest_runtest_setup() -> None:
    """Remove the event handler that moto adds to all clients when a test imports it.

    The tests use moto's server only, and a client with a mock's handler is not an ordinary one.
    """
    BUILTIN_HANDLERS[:] = [
        entry for entry in BUILTIN_HANDLERS if not type(entry[1]).__module__.startswith("moto.")
    ]
    socket_allow_hosts(["127.0.0.1", "::1"], allow_unix_socket=True)


@pytest.fixture(scope="session")
def stray_requests() -> Iterator[StrayRequests]:
    """Listen as the account of whoever runs the tests."""
    with StrayRequests() as server:
        yield server
    assert server.take() == []  # what arrived after the last test


@pytest.fixture(autouse=True)
def no_request_leaves_for_another_account(stray_requests: StrayRequests) -> Iterator[None]:
    yield
    assert stray_requests.take() == []


@pytest.fixture(autouse=True)
def clean_environment(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    stray_requests: StrayRequests,
    no_request_leaves_for_another_account: None,  # checked last, when managers have ended
) -> None:
    for name in list(os.environ):
        if name.startswith(_AWS_SETTINGS) and name != BOTO3_VARIABLE:
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "dummy")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_ENDPOINT_URL", stray_requests.url)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "no-aws-config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "no-aws-credentials"))
    monkeypatch.setenv("LANGSMITH_TRACING", "false")
    monkeypatch.setenv("MODELMGR_STATE_DIR", str(tmp_path / "state"))


@pytest.fixture(autouse=True)
def no_flush_at_the_end_of_pytest() -> Iterator[None]:
    """Leave what a test's sinks still hold: their servers are gone, and pytest has the last word."""
    yield
    AT_EXIT._sinks.clear()


@pytest.fixture(autouse=True)
def no_task_of_another_test() -> Iterator[None]:
    """Forget the tasks with a budget: a project with one refuses names that it does not know."""
    yield
    TASKS.projects.clear()
    TASKS._named.clear()


@pytest.fixture
def local_aws() -> Iterator[LocalAWS]:
    with LocalAWS() as aws:
        yield aws


@pytest.fixture
def configured(tmp_path: Path, local_aws: LocalAWS) -> Callable[..., ConfigurationManager]:
    """Give a configuration from the YAML under ``agents:``, pointed at the local AWS."""

    def configure(
        agents: str, more: str = "", *, region: str | None = "us-east-1"
    ) -> ConfigurationManager:
        where = f"region: {region}, " if region else ""
        text = (
            f"aws: {{{where}endpoint_url: {local_aws.url}}}\n"
            f"metrics: {{sink: memory}}\n{more}\nagents:\n{indent(dedent(agents), '  ')}\n"
        )
        (tmp_path / "test.yaml").write_text(text)
        return ConfigurationManager("test", tmp_path)

    return configure
