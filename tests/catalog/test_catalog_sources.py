"""Where the catalog's facts are from, and which public lists differ."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from decimal import Decimal
from typing import TYPE_CHECKING, Any, cast

import pytest

from langchain_modelmgr.catalog import (
    PREFIXES,
    ModelCatalog,
    named_model,
    shipped,
    split_prefix,
)
from langchain_modelmgr.catalog.check import against_aws
from langchain_modelmgr.chain.candidate import Candidate
from langchain_modelmgr.chain.request import CandidateSettings
from tests.models import HAIKU, SONNET
from tests.support import ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from langchain_modelmgr.local import LocalAWS

SONNET_45 = "anthropic.claude-sonnet-4-5-20250929-v1:0"
HAIKU_45 = "anthropic.claude-haiku-4-5-20251001-v1:0"
ACCOUNT_ARN = "arn:aws:bedrock:us-east-1:123456789012"


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("us.anthropic.claude-sonet-4-6", "us.anthropic.claude-sonnet-4-6"),
        ("Claude Sonnet 4.5", SONNET_45),
        ("nova-micro", "amazon.nova-micro-v1:0"),
    ],
)
def test_an_unknown_model_is_reported_with_the_closest_known_id(
    caplog: pytest.LogCaptureFixture, typed: str, meant: str
) -> None:
    ModelCatalog().resolve(typed)

    assert f"model {typed} is not in the catalog (did you mean {meant}?)" in caplog.text


def test_a_spelling_hint_never_names_an_arn(caplog: pytest.LogCaptureFixture) -> None:
    arn = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc"
    catalog = ModelCatalog({arn: {"base_model_id": HAIKU}, "acme.llm-1": {"max_tokens": 1}})

    assert catalog.like("acme.llm") == ["acme.llm-1"]
    assert catalog.like("application-inference-profile/abc") == []


# -- where the figures are from


def test_the_file_is_what_its_sources_say() -> None:
    """A library's update that changes a fact fails here; ``make catalog`` shows which."""
    run = subprocess.run(
        [sys.executable, "-m", "scripts.make_catalog", "--check"],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )

    assert run.stdout == "the catalog is what its sources say\n"
    assert run.returncode == 0


def test_a_changed_fact_is_shown(tmp_path: Path) -> None:
    for part in ("scripts", "langchain_modelmgr"):
        shutil.copytree(ROOT / part, tmp_path / part)
    target = tmp_path / "langchain_modelmgr" / "data" / "models.json"
    changed = json.loads(target.read_text())
    changed["models"][SONNET]["max_tokens"] = 1
    del changed["models"]["zai.glm-5"]
    target.write_text(json.dumps(changed))

    run = subprocess.run(
        [sys.executable, "-m", "scripts.make_catalog", "--check"],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )

    assert run.returncode == 1
    assert f"{SONNET} max_tokens: 1 -> 8192" in run.stdout
    assert "zai.glm-5 model_family: absent -> GLM" in run.stdout


def test_every_fact_and_every_price_has_a_dated_source() -> None:
    catalog = shipped.shipped()
    dated = {name for name, source in catalog["sources"].items() if "date" in source}

    for base, entry in catalog["models"].items():
        facts = entry.keys() - {"prefixes", "prices", "sources"}
        assert facts == entry["sources"].keys(), base
        assert set(entry["sources"].values()) <= catalog["sources"].keys()
        for price in entry["prices"].values():
            assert "unknown" in price or set(price["source"].split(", ")) <= dated, base


# -- what the product and langchain-aws make of an id


def _forms() -> list[str]:
    return [
        f"{prefix}.{base}" if prefix else base
        for base in shipped.shipped_models()
        for prefix in (None, *PREFIXES)
    ]


class _Clients:
    """Gives one object for every client: what would call AWS fails."""

    def runtime(self, region: str | None) -> object:
        return object()


def test_every_id_builds_a_model_as_the_catalog_says_without_a_call_to_aws(
    caplog: pytest.LogCaptureFixture,
) -> None:
    catalog = ModelCatalog()
    arns = [
        f"arn:aws:bedrock:us-east-1::foundation-model/{SONNET_45}",
        f"{ACCOUNT_ARN}:inference-profile/in.{HAIKU_45}",
        f"{ACCOUNT_ARN}:inference-profile/ca.amazon.nova-lite-v1:0",
    ]
    for model_id in (*_forms(), *arns):
        model = catalog.resolve(model_id)

        built = Candidate(
            CandidateSettings(model), cast("Any", _Clients()), cast("Any", None)
        ).model

        assert built.provider == model.provider
        assert built.base_model_id == split_prefix(named_model(model_id) or "")[1]
        assert tuple(built.supports_tool_choice_values) == model.tool_choices
        assert (built.disable_streaming is not True) == (model.supports_streaming is not False)
        with_tools = model.supports_streaming_tools is not False
        assert (built.disable_streaming is False) == with_tools
    assert "Streaming disabled" not in caplog.text  # nothing is left to what langchain-aws guesses


# -- the lists


def test_the_price_list_of_aws_is_compared_with_ours(local_aws: LocalAWS) -> None:
    def claude(usd: str, usage: str) -> None:
        local_aws.prices.offer(
            "AmazonBedrockFoundationModels",
            usd,
            "Units",
            regionCode="us-east-1",
            servicename="Claude Sonnet 4.6 (Amazon Bedrock Edition)",
            usagetype=f"USE1-MP:USE1_{usage}-Units",
        )

    def nova(usd: str, kind: str, **attributes: str) -> None:
        local_aws.prices.offer(
            "AmazonBedrock",
            usd,
            "1K tokens",
            regionCode="us-east-1",
            model="Nova Lite",
            inferenceType=kind,
            **attributes,
        )

    claude("3.3000000000", "InputTokenCount")
    claude("17.0000000000", "OutputTokenCount")
    claude("3.0000000000", "InputTokenCount_Global")
    claude("9.9000000000", "InputTokenCount_Batch")
    nova("0.0000600000", "Input tokens", usagetype="USE1-NovaLite-input-tokens")
    nova("0.0003000000", "Output tokens", usagetype="USE1-NovaLite-output-tokens")
    nova("0.0001", "Input tokens", service_tier="priority")

    found = against_aws(local_aws.client("pricing"), "us-east-1")

    assert [(d.model_id, d.kind, d.ours, d.theirs) for d in found] == [
        ("amazon.nova-lite-v1:0", "output", Decimal("0.00024"), Decimal("0.0003")),
        ("anthropic.claude-sonnet-4-6", "output", Decimal("0.0165"), Decimal("0.017")),
    ]


@pytest.mark.parametrize(
    ("model_id", "into", "out"),
    [
        ("ca.amazon.nova-lite-v1:0", 0.00006, 0.00024),
        ("google.gemma-4-31b", 0.00014, 0.0004),
        ("openai.gpt-oss-120b", 0.00015, 0.0006),
        ("openai.gpt-oss-20b", 0.00007, 0.0003),
        ("xai.grok-4.3", 0.00125, 0.0025),
        ("moonshotai.kimi-k3.1", 0.0044, 0.022),
        ("global.moonshotai.kimi-k3.1", 0.004, 0.02),
        ("us-gov.xai.grok-4.7", 0.00264, 0.00792),
    ],
)
def test_a_listed_model_is_priced(model_id: str, into: float, out: float) -> None:
    model = ModelCatalog().resolve(model_id)

    assert (model.cost_per_1k_input_tokens, model.cost_per_1k_output_tokens) == (into, out)
    assert model.price_source
    assert model.price_date


def test_prices_in_govcloud_are_a_fifth_above_the_others_or_name_their_source() -> None:
    """AWS bills 1.2 times the global price, or the regional one of what global is a discount on."""
    odd = []
    for base, entry in shipped.shipped_models().items():
        prices = entry["prices"]
        if (gov := prices.get("us-gov")) is None:
            continue
        others = [prices[k]["input"] for k in ("global", "regional", "in-region") if k in prices]
        ratios = {round(gov["input"] / other, 3) for other in others}
        if 1.2 not in ratios:
            odd.append(base)

    # Older than the rule, in LiteLLM's table; retired or legacy all.
    assert odd == [
        "amazon.titan-text-premier-v1:0",
        "meta.llama3-70b-instruct-v1:0",
        "amazon.titan-text-express-v1",
        "amazon.titan-text-lite-v1",
        "meta.llama3-8b-instruct-v1:0",
    ]


def test_limits_and_abilities_that_lists_disagree_on_are_the_checked_ones() -> None:
    models = shipped.shipped_models()

    for base, fact, value, source in (
        ("anthropic.claude-sonnet-4-6", "max_tokens", 128_000, "sonnet46"),
        ("google.gemma-3-27b-it", "supports_tools", False, "gemma3tools"),
        ("google.gemma-4-31b", "supports_tools", True, "profiles"),
        ("meta.llama3-2-3b-instruct-v1:0", "supports_tools", False, "llamatools"),
    ):
        assert (models[base][fact], models[base]["sources"][fact]) == (value, source)


def test_every_life_has_a_source_and_the_day_it_was_read() -> None:
    for model in ModelCatalog():
        known = model.lifecycle is not None or model.retirement_date is not None
        assert (model.lifecycle_source is not None) == known, model.model_id
        assert (model.lifecycle_checked is not None) == known, model.model_id
        assert model.served_by, model.model_id
