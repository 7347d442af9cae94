"""``modelmgr models``: the catalog in a terminal."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import pytest

from langchain_modelmgr.catalog import ModelCatalog
from tests.cli.command import left_early, modelmgr, run
from tests.models import HAIKU
from tests.support import ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from langchain_modelmgr.local import LocalAWS

HAIKU_45 = "anthropic.claude-haiku-4-5-20251001-v1:0"
OPUS_41 = "anthropic.claude-opus-4-1-20250805-v1:0"


def test_the_docs_show_a_model_as_the_command_does() -> None:
    found = run("models", f"us.{HAIKU_45}")

    assert found.stdout in (ROOT / "docs" / "models.md").read_text("utf-8")


def test_a_disputed_price_is_marked_wherever_it_is_shown() -> None:
    model = ModelCatalog().resolve(HAIKU)

    assert "the public lists say input 0.0008" in str(model.price_disputed)
    assert "price_disputed=\"the design guide's price" in repr(model)
    assert "DISPUTED" in run("models", HAIKU).stdout
    assert "1.00*" in run("models").stdout
    assert "modelmgr models MODEL_ID" in run("models").stderr


def test_an_unknown_id_is_reported_with_the_nearest_and_without_an_account() -> None:
    hidden = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc"

    found = run("models", "amazon.nova-lit-v1:0", hidden, HAIKU)

    nearest, arn = found.stderr.splitlines()
    assert found.exit_code == 1
    assert "did you mean amazon.nova-lite-v1:0?" in nearest
    assert "base_model under models:" in arn
    assert "123456789012" not in found.stderr
    assert found.stdout.startswith(HAIKU)
    assert "describe it under models:" in run("models", "acme.unheard-of").stderr


def test_without_an_id_every_model_is_shown_in_a_line() -> None:
    heading, *lines = run("models").stdout.splitlines()

    assert heading.split()[:3] == ["MODEL", "WINDOW", "OUTPUT"]
    assert [line.split()[0] for line in lines] == [model.model_id for model in ModelCatalog()]
    nova = next(line for line in lines if line.startswith("amazon.nova-micro-v1:0"))
    assert nova.split()[1:] == ["128K", "10K", "0.035", "0.14"]


@pytest.mark.parametrize("columns", [80, 120])
def test_no_line_of_the_list_is_wrapped_and_no_price_is_cut(columns: int) -> None:
    lines = modelmgr("models", COLUMNS=str(columns)).stdout.splitlines()

    assert len(lines) == 1 + len(list(ModelCatalog()))
    assert max(map(len, lines)) <= columns
    assert ("OUTPUT" in lines[0]) == (columns == 120)
    assert not [line for line in lines if "…" in line]


def test_models_that_end_soon_and_take_what_is_needed_can_be_listed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = run("models", "--retiring", "3650d", "--needs", "tools,images", "--json")

    models = json.loads(found.stdout)
    assert OPUS_41 in [model["model_id"] for model in models]
    assert all(m["supports_tools"] and m["supports_images"] for m in models)
    assert all(m["retirement_date"] or m["lifecycle"] == "legacy" for m in models)
    assert json.loads(run("models", "--retiring", "0d", "--needs", "video", "--json").stdout) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--retiring", "soon"], "'soon' is not a number of days: write 90d"),
        (["--needs", "tools,smell"], "unknown 'smell': use tools, streaming"),
    ],
)
def test_a_wrong_value_is_a_mistake(arguments: list[str], said: str) -> None:
    found = run("models", *arguments)

    assert found.exit_code == 2
    assert said in " ".join(found.stderr.replace("│", " ").split())


def test_json_has_the_fields_of_model_config_with_money_as_text() -> None:
    (nova,) = json.loads(run("models", "amazon.nova-2-lite-v1:0", "--json").stdout)

    fields = ModelCatalog().resolve("amazon.nova-2-lite-v1:0").__dataclass_fields__
    assert nova.keys() == fields.keys()
    assert nova["cost_per_1k_input_tokens"] == "0.00033"
    assert nova["service_tiers"]["flex"]["input"] == "0.000165"


def test_prices_under_models_in_the_yaml_count(tmp_path: Path) -> None:
    (tmp_path / "dev.yaml").write_text(
        f"agents: {{a: {{model: '{HAIKU_45}'}}}}\n"
        f"models: {{'{HAIKU_45}': {{cost_per_1k_input_tokens: 0.5}}}}\n"
    )

    found = run("models", HAIKU_45, "--config-dir", str(tmp_path))

    assert "input          $0.5 per 1,000 tokens" in found.stdout


def test_a_filter_that_no_model_passes_says_so() -> None:
    found = run("models", "--retiring", "0d", "--needs", "video")

    assert (found.exit_code, found.stdout) == (0, "")
    assert "no model in the catalog matches" in found.stderr


@pytest.mark.parametrize("command", [[], ["--check"], [*[HAIKU] * 5_000]])
def test_a_reader_may_leave_early(command: list[str]) -> None:
    status, stderr = left_early("models", *command, lines=1)

    assert stderr in (
        "",
        "* public lists differ on this price: modelmgr models MODEL_ID says how\n",
    )
    assert status in (0, 128 + 13)  # written before it left, or not


def test_what_a_model_takes_and_what_it_refuses_is_shown() -> None:
    found = run("models", "meta.llama3-70b-instruct-v1:0", "amazon.nova-2-lite-v1:0")

    llama, nova = found.stdout.split("amazon.nova-2-lite-v1:0  ")
    assert "supports       streaming, system prompt, documents" in llama
    assert "unsupported    tools, streaming tools, images" in llama
    assert "flex           input $0.000165, output $0.001375" in nova


def test_check_lists_what_differs_and_why(
    local_aws: LocalAWS, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = run("models", "--check")

    assert found.exit_code == 0
    assert (
        "eu.amazon.nova-lite-v1:0  input: ours 0.000078, genai-prices: 0.00006  (" in found.stdout
    )
    assert found.stdout.endswith("0 of them without a reason\n")

    monkeypatch.setenv("AWS_ENDPOINT_URL", local_aws.url)
    local_aws.prices.offer(
        "AmazonBedrock",
        "0.1",
        "1K tokens",
        regionCode="us-east-1",
        model="Nova Micro",
        inferenceType="Input tokens",
    )
    found = run("models", "--check", "--aws", "us-east-1")
    assert found.exit_code == 1
    assert "amazon.nova-micro-v1:0  input: ours 0.000035, AWS Price List, us-east-1: 0.1" in (
        found.stdout
    )
    assert json.loads(run("models", "--check", "--aws", "us-east-1", "--json").stdout)[
        "without_reason"
    ]


def test_a_check_that_fails_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    found = run("models", "--check", "--aws", "us-east-1")
    assert found.exit_code == 1
    assert "the AWS Price List can't be read: EndpointConnectionError" in found.stderr

    monkeypatch.setitem(sys.modules, "genai_prices.data_snapshot", None)
    found = run("models", "--check")
    assert found.exit_code == 1
    assert "pip install genai-prices" in found.stderr
