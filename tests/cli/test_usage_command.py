"""``modelmgr usage``: what calls cost, from the ledger and from CloudWatch."""

from __future__ import annotations

import csv
import io
import json
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from langchain_modelmgr import ConfigurationManager, ModelManager
from tests.cli.command import modelmgr, run
from tests.models import HAIKU, SONNET

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from langchain_modelmgr.local import LocalAWS

HELLO = [{"role": "user", "content": [{"text": "How many pallets?"}]}]


@pytest.fixture
def folder(local_aws: LocalAWS, tmp_path: Path) -> Iterator[Path]:
    """Two calls, one of which a fallback answered."""
    (tmp_path / "dev.yaml").write_text(
        "project_prefix: usage-test\nretired_models: warning\n"
        f"agents: {{planner: {{model: '{SONNET}', fallbacks: ['{HAIKU}']}}}}\n"
    )
    local_aws.fail(SONNET, "ThrottlingException", times=1)
    with local_aws.environment():
        with ModelManager(ConfigurationManager("dev", tmp_path)) as manager:
            for _ in range(2):
                manager.invoke_model("planner", HELLO)
            manager.flush_metrics()
        yield tmp_path


def test_the_ledgers_figures_are_shown_with_their_source_and_the_shares(folder: Path) -> None:
    lines = run("usage", "--config-dir", str(folder)).stdout.splitlines()

    assert lines[0].startswith("from the ledger in ")
    assert lines[0].endswith("environment dev")
    headings = lines[3].split()
    assert headings[:4] == ["AGENT", "MODEL", "CALLS", "ATTEMPTS"]
    rows = {line.split()[1]: line.split() for line in lines[4:6]}
    assert rows[HAIKU][2:4] == ["0", "1"]
    assert rows[SONNET][2:4] == ["2", "2"]
    assert lines[6].split()[:3] == ["total", "2", "3"]
    assert "fallbacks  50.0 % of the answers, 1 of 2" in lines
    assert any(line.startswith("waste      0 % of the cost") for line in lines)


def test_json_and_csv_have_the_same_figures_with_money_as_text(folder: Path) -> None:
    found = json.loads(run("usage", "--config-dir", str(folder), "--json").stdout)
    as_csv = run("usage", "--config-dir", str(folder), "--csv")

    with ModelManager(ConfigurationManager("dev", folder), sinks=[], ledger="auto") as manager:
        table = manager.usage()
    assert Decimal(found["totals"]["cost_usd"]) == table.totals["cost_usd"]
    assert found["fallback_share"] == 0.5
    assert as_csv.stderr.startswith("from the ledger in ")
    rows = list(csv.DictReader(io.StringIO(as_csv.stdout)))
    assert [row["model"] for row in rows] == [row["model"] for row in found["rows"]]
    assert [row["cost_usd"] for row in rows] == [row["cost_usd"] for row in found["rows"]]


def test_cloudwatch_has_the_ledgers_figures(folder: Path) -> None:
    ledger = json.loads(run("usage", "--config-dir", str(folder), "--json").stdout)
    given = ("usage", "--cloudwatch", "--config-dir", str(folder))
    cloudwatch = json.loads(run(*given, "--json").stdout)

    assert cloudwatch["source"] == "from CloudWatch in us-east-1, namespace usage-test/Models"
    names = ("agent", "model", "attempts", "input_tokens", "output_tokens", "cost_usd")
    assert [[row[n] for n in names] for row in cloudwatch["rows"]] == [
        [row[n] for n in names] for row in ledger["rows"]
    ]
    text = run(*given)
    assert text.stdout.startswith("from CloudWatch in us-east-1")
    assert "waste      unknown: add wasted_cost to metrics.extra" in text.stdout
    assert "fallbacks  unknown: add fallbacks to metrics.extra" in text.stdout
    assert "reading CloudWatch" in text.stderr


@pytest.mark.parametrize("source", [[], ["--cloudwatch"]])
@pytest.mark.parametrize("extra", ["[unpriced, wasted_cost, fallbacks]", "[]"])
def test_answers_without_a_known_price_are_counted_and_shown(
    local_aws: LocalAWS, tmp_path: Path, source: list[str], extra: str
) -> None:
    unpriced = "zz.unknown-model-v1:0"
    (tmp_path / "dev.yaml").write_text(
        f"project_prefix: usage-test\nmetrics: {{extra: {extra}}}\n"
        f"models: {{'{unpriced}': {{model_family: Test}}}}\n"
        f"agents: {{planner: {{model: '{unpriced}', fallbacks: []}}}}\n"
    )
    with local_aws.environment():
        with ModelManager(ConfigurationManager("dev", tmp_path)) as manager:
            manager.invoke_model("planner", HELLO)
            manager.flush_metrics()
        given = ("usage", *source, "--config-dir", str(tmp_path))
        text, found = run(*given).stdout, json.loads(run(*given, "--json").stdout)

    if source and extra == "[]":
        assert found["totals"]["unpriced"] is None
        assert "unpriced   unknown: add unpriced to metrics.extra" in text
        return
    assert found["totals"]["unpriced"] == 1
    assert "unpriced   1 answers have no known price: the cost leaves them out" in text
    (headings,) = (line for line in text.splitlines() if line.startswith("AGENT"))
    assert "UNPRICED" in headings.split()


def test_cloudwatch_that_refuses_is_reported_with_the_permissions(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")

    found = run("usage", "--cloudwatch", "--config-dir", str(folder))

    assert (found.exit_code, found.stdout) == (1, "")
    assert "CloudWatch can't be read: Could not connect" in found.stderr
    assert "it takes cloudwatch:ListMetrics and cloudwatch:GetMetricData" in found.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--since", "soon"], "since 'soon' is not a time: use 7d, 24h"),
        (["--by", "agnt"], "unknown column 'agnt' in by: did you mean 'agent'?"),
        (["--by", "hour", "--cloudwatch"], "no figures by 'hour': use agent, model, day"),
    ],
)
def test_a_wrong_argument_is_a_mistake(arguments: list[str], said: str, folder: Path) -> None:
    found = run("usage", *arguments, "--config-dir", str(folder))

    assert (found.exit_code, found.stdout) == (2, "")
    assert said in found.stderr


def test_metadata_in_cloudwatch_are_refused_with_the_reason_before_anything_is_read(
    folder: Path,
) -> None:
    found = run(
        "usage", "--cloudwatch", "--by", "agent,metadata.tenant", "--config-dir", str(folder)
    )

    assert (found.exit_code, found.stdout) == (2, "")
    assert " ".join(found.stderr.split()) == (
        "CloudWatch has no figures by 'metadata.tenant', because metadata are not dimensions of "
        "the metrics: use agent, model, day, or the ledger (without --cloudwatch)"
    )


def test_the_help_of_by_says_what_only_the_ledger_has() -> None:
    text = " ".join(run("usage", "--help").stdout.replace("│", " ").split())

    assert "from the ledger only: hour, outcome, metadata.KEY" in text


def test_a_ledger_that_is_off_is_reported_with_the_other_source(tmp_path: Path) -> None:
    (tmp_path / "dev.yaml").write_text(f"ledger: off\nagents: {{a: {{model: '{SONNET}'}}}}\n")

    found = run("usage", "--config-dir", str(tmp_path))

    assert found.exit_code == 2
    assert "the ledger is off, or in memory: use --cloudwatch" in found.stderr


def test_a_time_without_calls_says_so(folder: Path) -> None:
    found = run("usage", "--since", "2020-01", "--config-dir", str(folder))

    assert found.exit_code == 0
    assert "nothing was recorded in this time" in found.stdout


@pytest.mark.parametrize("columns", [80, 120])
@pytest.mark.parametrize("source", [[], ["--cloudwatch"]])
def test_usage_fits_the_terminal_and_cuts_no_price(
    columns: int, source: list[str], folder: Path
) -> None:
    found = modelmgr("usage", *source, "--config-dir", str(folder), COLUMNS=str(columns))

    lines = found.stdout.splitlines()
    table = [line for line in lines if line.startswith(("AGENT", "planner", "total"))]
    assert max(map(len, table)) <= columns
    assert len(table) == 4
    assert "USD" in table[0]
    assert all("$0.00" in line for line in table[1:])
