"""EMF lines say what was recorded: read back by a reader that knows only AWS's specification."""

from __future__ import annotations

import io
import json
import math
import subprocess
import sys
from collections import defaultdict
from decimal import Decimal
from textwrap import dedent
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_modelmgr.metrics import EMFSink, default_sinks
from langchain_modelmgr.metrics.series import EXTRAS

if TYPE_CHECKING:
    from pathlib import Path

    from tests.usage_records import MakeUsage

ARN = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc"


def read(text: str) -> dict[tuple[str, str, frozenset[tuple[str, str]]], list[float]]:
    """Return the values of each metric, as CloudWatch Logs takes them from EMF lines."""
    found: dict[Any, list[float]] = defaultdict(list)
    for line in filter(None, text.splitlines()):
        document = json.loads(line, parse_constant=pytest.fail)
        assert isinstance(document["_aws"]["Timestamp"], int)
        directives = document["_aws"]["CloudWatchMetrics"]
        assert sum(len(d["Metrics"]) for d in directives) <= 100
        for directive in directives:
            for names in directive["Dimensions"]:
                assert len(names) <= 30
                dimensions = frozenset((name, document[name]) for name in names)
                for metric in directive["Metrics"]:
                    value = document[metric["Name"]]
                    key = (directive["Namespace"], metric["Name"], dimensions)
                    found[key] += value if isinstance(value, list) else [value]
    return dict(found)


def test_a_line_has_the_five_metrics_under_their_dimensions(usage: MakeUsage) -> None:
    stream = io.StringIO()

    EMFSink("x/Models", stream=stream).record(usage(model_id=ARN))

    both = frozenset({("Agent", "sql_agent"), ("Model", ARN.replace("123456789012", "*" * 12))})
    assert read(stream.getvalue()) == {
        ("x/Models", "ModelInvocations", both | {("Success", "true")}): [1],
        ("x/Models", "ModelLatency", both): [812.5],
        ("x/Models", "InputTokens", both): [120],
        ("x/Models", "OutputTokens", both): [30],
        ("x/Models", "ModelCost", both): [0.00081],
    }
    assert "123456789012" not in stream.getvalue()


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["a", "b"]),
            st.floats(0, 1e9, allow_subnormal=False),
            st.decimals(0, 1000, places=9),
            st.booleans(),
        ),
        max_size=40,
    )
)
def test_read_back_the_lines_give_the_same_sums(
    usage: MakeUsage, attempts: list[tuple[str, float, Decimal, bool]]
) -> None:
    stream = io.StringIO()
    sink = EMFSink("x/Models", extra=EXTRAS, stream=stream)

    for agent, latency, cost, failed in attempts:
        outcome = "failed" if failed else "answered"
        sink.record(usage(agent_name=agent, latency_ms=latency, cost_usd=cost, outcome=outcome))

    found = read(stream.getvalue())

    def total(name: str, *, rolled_up: bool) -> float:
        return math.fsum(
            value
            for (_, metric, dimensions), values in found.items()
            if metric == name and ("Agent" in dict(dimensions)) is not rolled_up
            for value in values
        )

    for rolled_up in (False, True):
        assert total("ModelInvocations", rolled_up=rolled_up) == len(attempts)
        assert total("ModelLatency", rolled_up=rolled_up) == pytest.approx(
            math.fsum(latency for _, latency, _, _ in attempts)
        )
        assert total("ModelCost", rolled_up=rolled_up) == pytest.approx(
            float(sum(cost for _, _, cost, _ in attempts)), abs=1e-12
        )
    assert sink.stats().sent == 7 * len(attempts)


def test_a_value_that_is_not_a_number_is_unknown(usage: MakeUsage) -> None:
    stream = io.StringIO()
    sink = EMFSink("x/Models", stream=stream)

    sink.record(usage(latency_ms=math.nan, cost_usd=Decimal("Infinity")))

    assert (sink.stats().sent, sink.stats().dropped) == (3, 0)
    assert "ModelLatency" not in stream.getvalue()


def test_agents_beyond_the_cap_are_other(usage: MakeUsage) -> None:
    stream = io.StringIO()
    sink = EMFSink("x/Models", max_series=12, stream=stream)

    for n in range(5):
        sink.record(usage(agent_name=f"a{n}"))

    agents = {dict(dimensions)["Agent"] for _, _, dimensions in read(stream.getvalue())}
    assert agents == {"a0", "other"}
    assert sink.stats().folded == 4


def test_an_agent_of_the_yaml_keeps_its_metrics_whoever_came_before(usage: MakeUsage) -> None:
    stream = io.StringIO()
    sink = EMFSink("x/Models", agents=["planner"], max_series=24, stream=stream)

    for name in ("a0", "a1", "a2", "a3", "planner"):
        sink.record(usage(agent_name=name))

    agents = {dict(dimensions)["Agent"] for _, _, dimensions in read(stream.getvalue())}
    assert agents == {"a0", "a1", "other", "planner"}


def test_a_stream_that_is_closed_costs_no_call(usage: MakeUsage) -> None:
    stream = io.StringIO()
    stream.close()
    sink = EMFSink("x/Models", stream=stream)

    sink.record(usage())

    assert sink.stats().errors == 1


def test_an_answer_of_the_cache_writes_nothing(
    usage: MakeUsage, capsys: pytest.CaptureFixture[str]
) -> None:
    sink = EMFSink("x/Models")

    sink.record(usage(outcome="cached"))
    assert capsys.readouterr().out == ""
    sink.record(usage())
    sink.close()

    assert len(capsys.readouterr().out.split()) == 1


def test_a_line_is_readable_after_a_part_of_a_line(
    usage: MakeUsage, capsys: pytest.CaptureFixture[str]
) -> None:
    sink = EMFSink("x/Models")

    for _ in range(3):
        print("chunk", end="")  # noqa: T201 - as a program prints a stream
        sink.record(usage())

    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    assert len(lines) == 3
    assert read("\n".join(lines))


def test_lines_are_readable_while_other_threads_print(tmp_path: Path) -> None:
    code = """
        import sys, threading
        from datetime import UTC, datetime
        from langchain_modelmgr import ModelUsageMetrics
        from langchain_modelmgr.metrics import EMFSink

        sys.setswitchinterval(1e-6)
        sink = EMFSink("x/Models")
        usage = ModelUsageMetrics("a", "acme.m", datetime.now(UTC), 1, 1, 1.0, True)

        def talk():
            while not done.is_set():
                print("some words", end="")
                print(" and the end of a line")

        done = threading.Event()
        talkers = [threading.Thread(target=talk) for _ in range(3)]
        recorders = [
            threading.Thread(target=lambda: [sink.record(usage) for _ in range(250)])
            for _ in range(2)
        ]
        for thread in (*talkers, *recorders):
            thread.start()
        for thread in recorders:
            thread.join()
        done.set()
    """
    printed = tmp_path / "stdout"
    with printed.open("w") as stdout:
        subprocess.run([sys.executable, "-c", dedent(code)], stdout=stdout, check=True)

    lines = [line for line in printed.read_text().splitlines() if line.startswith("{")]
    assert len(read("\n".join(lines))) == 4
    assert len(lines) == 500


def test_lambda_gets_it_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "f")

    (sink,) = default_sinks("auto", "x/Models", client=lambda: None)

    assert isinstance(sink, EMFSink)


def test_the_first_fold_is_logged_once_with_its_meaning(
    usage: MakeUsage, caplog: pytest.LogCaptureFixture
) -> None:
    sink = EMFSink("x/Models", max_series=12, stream=io.StringIO())

    for n in range(20):
        sink.record(usage(agent_name=f"agent-{n}"))

    assert [record.getMessage() for record in caplog.records] == [
        "more than 12 metrics: further agents are counted as 'other', where no alarm of theirs "
        "sees them; agents of the configuration keep their own"
    ]
