"""Spans and metrics in memory, and agents that make them."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

from langchain_modelmgr import ConfigurationManager, ManagedBedrockChat
from langchain_modelmgr.chain import policy
from langchain_modelmgr.local import LocalAWS
from tests.models import HAIKU, SONNET
from tests.tracing.span_recorder import Spans

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_SPANS = Spans()


@pytest.fixture(scope="session")
def provider() -> TracerProvider:
    """Make a provider this process's own, unless it has one: it can be set only once."""
    provider = trace.get_tracer_provider()
    if not isinstance(provider, TracerProvider):
        provider = TracerProvider()
        trace.set_tracer_provider(provider)
    provider.add_span_processor(_SPANS)
    return provider


@pytest.fixture
def spans(provider: TracerProvider, caplog: pytest.LogCaptureFixture) -> Iterator[Spans]:
    _SPANS.ended.clear()
    _SPANS.open.clear()
    yield _SPANS
    was_failing, _SPANS.fails_at = _SPANS.fails_at, ""
    # OpenTelemetry warns of a second end, and of a context that is detached in another one.
    names = {record.name for record in caplog.records if record.levelno >= logging.WARNING}
    assert was_failing or not [name for name in names if name.startswith("opentelemetry")]


@pytest.fixture(scope="module")
def server() -> Iterator[LocalAWS]:
    with LocalAWS() as aws:
        yield aws


@pytest.fixture
def local_aws(server: LocalAWS) -> Iterator[LocalAWS]:
    """Give the module's server: managers that call the same one share their clients."""
    yield server
    server.clear_faults()
    server.script(lambda _: None)


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy, "BACKOFF_BASE_SECONDS", 0.001)


@pytest.fixture
def traced(tmp_path: Path, local_aws: LocalAWS) -> Callable[..., ConfigurationManager]:
    """Give a configuration with ``metrics.otel`` on."""

    def configure(
        agents: str = f"a: {{model: '{SONNET}', fallbacks: ['{HAIKU}']}}",
        *,
        otel: str = "true",
        more: str = "",
    ) -> ConfigurationManager:
        (tmp_path / "traced.yaml").write_text(
            f"aws: {{region: us-east-1, endpoint_url: {local_aws.url}}}\n"
            f"metrics: {{sink: memory, otel: {otel}}}\n{more}\nagents:\n  {agents}\n"
        )
        return ConfigurationManager("traced", tmp_path)

    return configure


@pytest.fixture
def llm(traced: Callable[..., ConfigurationManager], spans: Spans) -> ManagedBedrockChat:
    return ManagedBedrockChat("a", config=traced())
