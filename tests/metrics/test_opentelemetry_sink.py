"""The sink of OpenTelemetry's metrics."""

from __future__ import annotations

import pickle
import subprocess
import sys
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.instrumentation import botocore
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from langchain_modelmgr import ConfigurationManager, ModelManager
from langchain_modelmgr.metrics import MemorySink, MetricsSink, OpenTelemetrySink, SinkGroup
from langchain_modelmgr.tracing import names
from tests.models import HAIKU, SONNET
from tests.usage_records import make

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from langchain_modelmgr.local import LocalAWS
    from tests.agents import Configure

_INSTRUMENTOR: Any = botocore.BotocoreInstrumentor
AGENT = f"a: {{model: '{SONNET}', fallbacks: ['{HAIKU}']}}"


class Measured:
    """A meter provider in memory, and what it got."""

    def __init__(self) -> None:
        self._reader = InMemoryMetricReader()
        self.provider = MeterProvider(metric_readers=[self._reader])

    def points(self, scope: str = names.SCOPE) -> dict[str, list[Any]]:
        data: Any = self._reader.get_metrics_data()
        scopes = [] if data is None else data.resource_metrics[0].scope_metrics
        return {
            metric.name: list(metric.data.data_points)
            for found in scopes
            if found.scope.name.startswith(scope)
            for metric in found.metrics
        }


@pytest.fixture
def measured() -> Iterator[Measured]:
    measured = Measured()
    yield measured
    measured.provider.shutdown()


def test_an_attempt_is_recorded_under_the_names_of_the_convention(measured: Measured) -> None:
    group = SinkGroup([OpenTelemetrySink(measured.provider)])

    group.record(make(cache_read_tokens=30, time_to_first_token_ms=120.0))
    group.record(
        make(outcome="failed", error_message="BedrockTimeoutError", has_usage=False, cost_usd=None)
    )

    found = measured.points()
    assert group.sink_errors == 0
    assert isinstance(group.sinks[0], MetricsSink)
    durations = found["gen_ai.client.operation.duration"]
    assert [point.sum for point in durations] == [0.8125, 0.8125]
    assert {point.attributes.get("error.type") for point in durations} == {
        None,
        "BedrockTimeoutError",
    }
    assert dict(durations[0].attributes) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "aws.bedrock",
        "gen_ai.request.model": SONNET,
        "gen_ai.agent.name": "sql_agent",
        "modelmgr.outcome": "answered",
    }
    tokens = found["gen_ai.client.token.usage"]
    assert {p.attributes["gen_ai.token.type"]: p.sum for p in tokens} == {
        "input": 150,
        "output": 30,
    }
    assert [p.sum for p in found["gen_ai.client.operation.time_to_first_chunk"]] == [0.12]
    assert [p.value for p in found["modelmgr.client.cost"]] == [0.00081]
    assert "modelmgr.client.unpriced_attempts" not in found


def test_an_unknown_cost_is_counted_and_is_not_0(measured: Measured) -> None:
    sink = OpenTelemetrySink(measured.provider)

    sink.record(make(cost_usd=None))
    sink.record(make(outcome="cached", cost_usd=None, has_usage=False))

    found = measured.points()
    assert [point.value for point in found["modelmgr.client.unpriced_attempts"]] == [1]
    assert "modelmgr.client.cost" not in found
    assert [point.count for point in found["gen_ai.client.operation.duration"]] == [1]


def test_an_attempt_that_its_caller_left_is_no_error_and_its_estimated_cost_is_separate(
    measured: Measured,
) -> None:
    usage = make(
        outcome="aborted",
        has_usage=False,
        cost_usd=None,
        estimated_wasted_cost_usd=Decimal("0.5"),
    )

    OpenTelemetrySink(measured.provider).record(usage)

    found = measured.points()
    (duration,) = found["gen_ai.client.operation.duration"]
    assert duration.attributes["modelmgr.outcome"] == "aborted"
    assert "error.type" not in duration.attributes
    assert [point.value for point in found["modelmgr.client.estimated_wasted_cost"]] == [0.5]
    assert not found.keys() & {"modelmgr.client.cost", "modelmgr.client.unpriced_attempts"}


def test_a_record_without_a_latency_has_no_duration(measured: Measured) -> None:
    OpenTelemetrySink(measured.provider).record(make(latency_ms=None))

    found = measured.points()
    assert "gen_ai.client.operation.duration" not in found
    assert "gen_ai.client.token.usage" in found


def test_account_ids_are_masked(measured: Measured) -> None:
    arn = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc"

    OpenTelemetrySink(measured.provider).record(make(model_id=arn))

    for points in measured.points().values():
        for point in points:
            assert point.attributes["gen_ai.request.model"] == arn.replace("123456789012", "*" * 12)


def test_buckets_are_those_that_the_convention_advises(measured: Measured) -> None:
    OpenTelemetrySink(measured.provider).record(make(time_to_first_token_ms=1.0))

    found = measured.points()
    assert found["gen_ai.client.operation.duration"][0].explicit_bounds == names.DURATION_BUCKETS
    assert found["gen_ai.client.token.usage"][0].explicit_bounds[-1] == 67_108_864


def test_a_sink_with_the_global_provider_can_be_pickled() -> None:
    sink = pickle.loads(pickle.dumps(OpenTelemetrySink(duplicate=True)))  # noqa: S301 - our own

    assert sink._duplicate is True


@pytest.fixture
def botocore_is_instrumented(measured: Measured) -> Iterator[InMemorySpanExporter]:
    spans, traces = InMemorySpanExporter(), TracerProvider()
    traces.add_span_processor(SimpleSpanProcessor(spans))
    instrumentor: Any = _INSTRUMENTOR()
    instrumentor.instrument(tracer_provider=traces, meter_provider=measured.provider)
    yield spans
    instrumentor.uninstrument()


@pytest.mark.parametrize("duplicate", [False, True])
@pytest.mark.parametrize("mode", ["invoke", "stream"])
def test_botocores_instrumentation_records_duration_and_tokens_alone_while_it_is_on(
    configured: Configure,
    measured: Measured,
    botocore_is_instrumented: InMemorySpanExporter,
    mode: str,
    *,
    duplicate: bool,
) -> None:
    sink = OpenTelemetrySink(measured.provider, duplicate=duplicate)
    llm = ModelManager(configured(AGENT), sinks=[sink]).chat_model("a")

    llm.invoke("how many pallets?") if mode == "invoke" else list(llm.stream("how many pallets?"))

    standard = {"gen_ai.client.operation.duration", "gen_ai.client.token.usage"}
    theirs = measured.points("opentelemetry.instrumentation.botocore")
    ours = measured.points()
    assert standard <= theirs.keys()
    assert (standard & ours.keys()) == (standard if duplicate else set())
    assert "modelmgr.client.cost" in ours
    spans = botocore_is_instrumented.get_finished_spans()
    # botocore is instrumented for the whole process: threads of earlier tests make calls, too.
    (span,) = [s for s in spans if (s.attributes or {})["rpc.service"] == "Bedrock Runtime"]
    scope = span.instrumentation_scope
    assert scope is not None
    # docs/opentelemetry.md filters by this name.
    assert scope.name == "opentelemetry.instrumentation.botocore.bedrock-runtime"


def test_the_sink_records_everything_again_when_the_instrumentation_is_off(
    configured: Configure, measured: Measured, botocore_is_instrumented: InMemorySpanExporter
) -> None:
    sink = OpenTelemetrySink(measured.provider)
    llm = ModelManager(configured(AGENT), sinks=[sink]).chat_model("a")
    llm.invoke("how many pallets?")

    _INSTRUMENTOR().uninstrument()
    llm.invoke("how many pallets?")
    _INSTRUMENTOR().instrument()

    (duration,) = measured.points()["gen_ai.client.operation.duration"]
    assert duration.count == 1


def test_the_yaml_adds_one_sink_to_the_users_own(
    tmp_path: Path, local_aws: LocalAWS, measured: Measured
) -> None:
    (tmp_path / "on.yaml").write_text(
        f"aws: {{region: us-east-1, endpoint_url: {local_aws.url}}}\n"
        f"metrics: {{sink: memory, otel: true}}\nagents:\n  {AGENT}\n"
    )
    config = ConfigurationManager("on", tmp_path)
    own = OpenTelemetrySink(measured.provider)

    added = ModelManager(config, sinks=[MemorySink()]).totals.sinks.sinks
    kept = ModelManager(config, sinks=[own]).totals.sinks.sinks
    default = ModelManager(config).totals.sinks.sinks

    assert [type(sink) for sink in added] == [MemorySink, OpenTelemetrySink]
    assert kept == (own,)
    assert [type(sink) for sink in default] == [MemorySink, OpenTelemetrySink]


_CODE = """
import sys

importers = []

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] != "opentelemetry":
            return
        frame = sys._getframe(1)
        while "importlib" in frame.f_code.co_filename:
            frame = frame.f_back
        importers.append(frame.f_globals["__name__"])
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())

from langchain_modelmgr import ConfigurationError, ConfigurationManager, ModelManager
from langchain_modelmgr.local import LocalAWS

def config(aws, otel):
    with open("one.yaml", "w") as file:
        file.write(f"aws: {{region: us-east-1, endpoint_url: {aws.url}}}\\n")
        file.write(f"metrics: {{sink: memory, otel: {otel}}}\\nagents: {{a: {{model: MODEL}}}}\\n")
    return ConfigurationManager("one", ".")

with LocalAWS() as aws:
    assert ModelManager(config(aws, "false")).chat_model("a").invoke("hi").content
    print([name for name in importers if name.startswith("langchain_modelmgr")])
    print([name for name in sys.modules if name.startswith("langchain_modelmgr.tracing.")])
    try:
        ModelManager(config(aws, "true"))
    except ConfigurationError as error:
        print(error)
"""


def test_without_the_option_nothing_is_imported_and_with_it_an_error_names_the_extra(
    tmp_path: Path,
) -> None:
    code = _CODE.replace("MODEL", f"'{HAIKU}'")

    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )

    importers, modules, error = done.stdout.splitlines() or [done.stderr, "", ""]
    assert importers == "[]"
    assert modules == "['langchain_modelmgr.tracing.names']"
    assert error.endswith(
        "one.yaml: metrics.otel: OpenTelemetry is not installed: "
        "pip install 'langchain-modelmgr[otel]'"
    )
