"""What is known of each model."""

from __future__ import annotations

import logging
import subprocess
import sys

import pytest

from langchain_modelmgr.catalog import PREFIXES, ModelCatalog, named_model, split_prefix
from tests.models import HAIKU, LLAMA, OPUS, SONNET, TITAN

ACCOUNT_ARN = "arn:aws:bedrock:us-east-1:123456789012"


@pytest.mark.parametrize(
    ("model_id", "family", "max_tokens", "tools", "cost_in", "cost_out"),
    [
        (SONNET, "Claude", 8192, True, 0.003, 0.015),
        (HAIKU, "Claude", 8192, True, 0.001, 0.005),
        (OPUS, "Claude", 4096, True, 0.015, 0.075),
        (TITAN, "Titan", 3072, False, 0.0005, 0.0015),
        (LLAMA, "Llama", 2048, False, 0.00265, 0.0035),
    ],
)
def test_the_guides_models_have_the_guides_figures(
    model_id: str, family: str, max_tokens: int, tools: bool, cost_in: float, cost_out: float
) -> None:
    model = ModelCatalog().get(model_id)

    assert model is not None
    assert (model.model_family, model.max_tokens) == (family, max_tokens)
    assert (model.supports_tools, model.supports_streaming) == (tools, True)
    assert model.cost_per_1k_input_tokens == cost_in
    assert model.cost_per_1k_output_tokens == cost_out


def test_the_catalog_lists_its_models() -> None:
    assert [m.model_id for m in ModelCatalog()] == [SONNET, HAIKU, OPUS, TITAN, LLAMA]


@pytest.mark.parametrize("prefix", PREFIXES)
def test_every_geography_resolves_to_its_base_model(prefix: str) -> None:
    model = ModelCatalog().get(f"{prefix}.{SONNET}")

    assert model is not None
    assert model.model_id == f"{prefix}.{SONNET}"
    assert model.base_model_id == SONNET
    assert model.context_window == 200_000


@pytest.mark.parametrize("model_id", [SONNET, "us.pallets", "zz.anthropic.claude", "plain"])
def test_what_is_no_geography_is_no_prefix(model_id: str) -> None:
    assert split_prefix(model_id) == (None, model_id)


@pytest.mark.parametrize(
    ("model_id", "fallback"),
    [
        (SONNET, HAIKU),
        (HAIKU, SONNET),
        (OPUS, SONNET),
        (TITAN, SONNET),
        (LLAMA, SONNET),
        (f"eu.{SONNET}", f"eu.{HAIKU}"),
        ("us.amazon.nova-lite-v1:0", f"us.{SONNET}"),
        (f"{ACCOUNT_ARN}:inference-profile/eu.{SONNET}", f"eu.{HAIKU}"),
        (f"{ACCOUNT_ARN}:application-inference-profile/abc", None),
    ],
)
def test_the_family_rule_gives_one_fallback_in_the_same_geography(
    model_id: str, fallback: str | None
) -> None:
    assert ModelCatalog().fallback_for(model_id) == fallback


def test_a_model_without_another_has_no_fallback() -> None:
    catalog = ModelCatalog({"x.y": {"falls_back_to": "x.y"}})

    assert catalog.fallback_for("x.y") is None


@pytest.mark.parametrize(
    ("arn", "name"),
    [
        (f"arn:aws:bedrock:us-east-1::foundation-model/{SONNET}", SONNET),
        (f"{ACCOUNT_ARN}:inference-profile/us.{SONNET}", f"us.{SONNET}"),
        (f"{ACCOUNT_ARN}:application-inference-profile/abc", None),
        (SONNET, SONNET),
    ],
)
def test_an_arn_names_its_model_or_does_not(arn: str, name: str | None) -> None:
    assert named_model(arn) == name


def test_an_arn_that_hides_its_model_is_known_by_its_base_model() -> None:
    arn = f"{ACCOUNT_ARN}:application-inference-profile/abc"

    by_argument = ModelCatalog().resolve(arn, f"us.{HAIKU}")
    by_yaml = ModelCatalog({arn: {"base_model_id": HAIKU}}).get(arn)

    assert by_yaml is not None
    for model in (by_argument, by_yaml):
        assert model.model_id == arn
        assert model.base_model_id == HAIKU
        assert model.provider == "anthropic"
        assert model.cost_per_1k_input_tokens == 0.001
        assert "123456789012" not in repr(model)


def test_own_facts_win_and_hold_for_every_geography() -> None:
    catalog = ModelCatalog({HAIKU: {"cost_per_1k_input_tokens": 0.0008}})

    model = catalog.resolve(f"us.{HAIKU}")

    assert model.cost_per_1k_input_tokens == 0.0008
    assert model.cost_per_1k_output_tokens == 0.005


def test_a_model_outside_the_catalog_works_with_one_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    catalog = ModelCatalog()

    with caplog.at_level(logging.WARNING):
        first = catalog.resolve("us.amazon.nova-lite-v1:0")
        catalog.resolve("us.amazon.nova-lite-v1:0")
        silent = catalog.get("acme.unheard-of-v1:0")

    assert silent is None
    assert len(caplog.records) == 1
    assert "us.amazon.nova-lite-v1:0 is not in the catalog" in caplog.text
    assert (first.supports_tools, first.context_window) == (True, 300_000)
    assert first.cost_per_1k_input_tokens is None
    assert not first.in_catalog


def test_a_model_that_nobody_knows_is_allowed_everything() -> None:
    model = ModelCatalog().resolve("acme.unheard-of-v1:0")

    assert model.provider == "acme"
    assert model.supports_tools is None
    assert model.max_tokens is None


def test_the_catalog_loads_neither_boto3_nor_langchain() -> None:
    code = (
        "import sys; from langchain_modelmgr.catalog import ModelCatalog;"
        "ModelCatalog().resolve('us.amazon.nova-lite-v1:0');"
        "print({'boto3', 'langchain_aws', 'langchain_core'} & set(sys.modules))"
    )

    run = subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )

    assert run.stdout.strip() == "set()"
