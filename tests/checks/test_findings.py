"""Findings: the most serious one counts, and a check that fails keeps no other from being made."""

from __future__ import annotations

from importlib import metadata
from typing import TYPE_CHECKING

from langchain_modelmgr import ModelManager
from langchain_modelmgr.checks import Finding, check_aws, check_configuration, worst
from langchain_modelmgr.checks.finding import attempted
from tests.models import SONNET

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest

    from langchain_modelmgr.local import LocalAWS
    from tests.agents import Configure


def test_the_most_serious_status_counts() -> None:
    ok, unchecked = Finding("a", "", "ok", ""), Finding("b", "", "unchecked", "")
    warning, problem = Finding("c", "", "warning", ""), Finding("d", "", "problem", "")

    assert worst([]) == "ok"
    assert worst([ok, unchecked]) == "unchecked"
    assert worst([warning, ok, unchecked]) == "warning"
    assert worst([problem, warning]) == "problem"


def test_a_check_that_raises_is_unchecked_and_keeps_what_it_had_found() -> None:
    def broken() -> Iterator[Finding]:
        yield Finding("x", "", "ok", "first")
        raise RuntimeError("of arn:aws:bedrock:us-east-1:123456789012:x")

    first, second = attempted("x", "it", broken, cure="repair it")

    assert first.text == "first"
    assert (second.status, second.cure) == ("unchecked", "repair it")
    assert second.text.startswith("could not be checked: RuntimeError: of arn:aws:bedrock")
    assert "123456789012" not in second.text


def test_a_dependency_that_is_too_old_is_a_problem(
    configured: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = metadata.version
    monkeypatch.setattr(metadata, "version", lambda n: "1.0" if n == "boto3" else real(n))
    manager = ModelManager(configured(f"a: {{model: '{SONNET}'}}"), sinks=[])

    found = [f for f in check_configuration(manager) if f.check == "versions"]

    (boto3,) = found
    assert (boto3.subject, boto3.status) == ("boto3", "problem")
    assert boto3.text.startswith("1.0 is installed; needed is ")
    assert boto3.cure.startswith("pip install --upgrade 'boto3")


def test_metrics_that_are_not_sent_to_cloudwatch_are_not_asked_for(
    configured: Configure, local_aws: LocalAWS
) -> None:
    with local_aws.environment():
        manager = ModelManager(configured(f"a: {{model: '{SONNET}'}}"), sinks=[])  # sink: memory

        (metrics,) = [f for f in check_aws(manager) if f.check == "metrics"]

    assert metrics.status == "ok"
    assert "nothing to ask" in metrics.text
