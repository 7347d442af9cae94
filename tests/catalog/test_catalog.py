"""What is known of each model."""

from __future__ import annotations

import copy
import logging
import subprocess
import sys
import threading

import pytest

from langchain_modelmgr.catalog import (
    PREFIXES,
    ModelCatalog,
    named_model,
    shipped,
    split_prefix,
    underlying_model,
)
from langchain_modelmgr.catalog.shipped import installed_profiles
from tests.models import HAIKU, LLAMA, OPUS, SONNET, TITAN

SONNET_45 = "anthropic.claude-sonnet-4-5-20250929-v1:0"
HAIKU_45 = "anthropic.claude-haiku-4-5-20251001-v1:0"
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


def test_the_catalog_lists_its_models_the_guides_first() -> None:
    listed = [m.model_id for m in ModelCatalog()]

    assert listed[:5] == [SONNET, HAIKU, OPUS, TITAN, LLAMA]
    profiled = {split_prefix(model_id)[1] for model_id in installed_profiles()}
    assert profiled <= set(listed)


@pytest.mark.parametrize("prefix", PREFIXES)
def test_every_geography_resolves_to_its_base_model(prefix: str) -> None:
    model = ModelCatalog().get(f"{prefix}.{SONNET}")

    assert model is not None
    assert model.model_id == f"{prefix}.{SONNET}"
    assert model.base_model_id == SONNET
    assert model.context_window == 200_000


@pytest.mark.parametrize("model_id", [SONNET, "us.pallets", "zz.anthropic.claude", "plain"])
def test_only_geographies_are_prefixes(model_id: str) -> None:
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
        ("us.amazon.nova-lite-v1:0", "us.anthropic.claude-sonnet-5"),
        ("ca.amazon.nova-lite-v1:0", None),
        ("acme.unheard-of", None),  # no known fallback
        ("anthropic.claude-sonnet-9", None),
        (f"eu.{SONNET_45}", f"eu.{HAIKU_45}"),
        (f"us.{HAIKU_45}", "us.anthropic.claude-sonnet-4-6"),
        ("jp.anthropic.claude-opus-4-7", "jp.anthropic.claude-sonnet-4-6"),
        ("anthropic.claude-sonnet-5-5", "anthropic.claude-haiku-5-5"),
        ("global.anthropic.claude-opus-5-5", "global.anthropic.claude-sonnet-5-5"),
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


def test_own_facts_win_in_every_geography() -> None:
    catalog = ModelCatalog({HAIKU: {"cost_per_1k_input_tokens": 0.0008}})

    model = catalog.resolve(f"us.{HAIKU}")

    assert model.cost_per_1k_input_tokens == 0.0008
    assert model.cost_per_1k_output_tokens == 0.005


def test_a_model_outside_the_catalog_works_with_one_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    catalog = ModelCatalog()

    with caplog.at_level(logging.WARNING):
        first = catalog.resolve("us.acme.new-lite-v1:0")
        catalog.resolve("us.acme.new-lite-v1:0")
        silent = catalog.get("acme.unheard-of-v1:0")

    assert silent is None
    assert len(caplog.records) == 1
    assert "us.acme.new-lite-v1:0 is not in the catalog" in caplog.text
    assert first.cost_per_1k_input_tokens is None
    assert not first.in_catalog


def test_a_model_newer_than_the_catalog_is_known_as_langchain_aws_knows_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    newer = {"acme.newer-v1:0": {"tool_calling": True, "max_input_tokens": 300_000}}
    monkeypatch.setattr(shipped, "installed_profiles", lambda: newer)

    model = ModelCatalog().resolve("us.acme.newer-v1:0")

    assert (model.supports_tools, model.context_window) == (True, 300_000)
    assert not model.in_catalog


def test_an_unknown_model_is_assumed_to_support_everything() -> None:
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

    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert run.stdout.strip() == "set()"


def _profile_model(model_id: str, *regions: str) -> str | None:
    return underlying_model(f"arn:aws:bedrock:{r}::foundation-model/{model_id}" for r in regions)


@pytest.mark.parametrize(
    ("regions", "prefix"),
    [
        (("us-west-2",), ""),
        (("us-east-1", "us-east-2", "us-west-2"), "us."),
        (("eu-west-1", "eu-central-1"), "eu."),
        (("ap-northeast-1", "ap-northeast-3"), "jp."),
        (("ap-southeast-2", "ap-southeast-4"), "au."),
        (("ap-northeast-1", "ap-southeast-2"), "apac."),
        (("ap-south-1", "ap-south-2"), "in."),
        (("ca-central-1", "ca-west-1"), "ca."),
        (("us-gov-west-1", "us-gov-east-1"), "us-gov."),
        (("us-east-1", ""), "global."),
        (("us-east-1", "eu-west-1"), "global."),
    ],
)
def test_a_profile_is_priced_by_the_regions_it_routes_to(
    regions: tuple[str, ...], prefix: str
) -> None:
    assert _profile_model(HAIKU_45, *regions) == f"{prefix}{HAIKU_45}"


def test_a_profile_over_two_models_names_none() -> None:
    arns = [f"arn:aws:bedrock:us-east-1::foundation-model/{m}" for m in (HAIKU, SONNET)]

    assert underlying_model(arns) is None
    assert underlying_model([]) is None


def test_a_discount_and_an_agreed_price_win_over_the_lists() -> None:
    catalog = ModelCatalog(
        {
            HAIKU_45: {"price_multiplier": 0.9},
            "moonshotai.kimi-k3": {"cost_per_1k_input_tokens": 0.001},
        }
    )

    discounted = catalog.resolve(f"global.{HAIKU_45}")
    agreed = catalog.resolve("us.moonshotai.kimi-k3")

    assert discounted.cost_per_1k_input_tokens == 0.0009
    assert discounted.cost_per_1k_cache_write_1h_tokens == 0.0018
    assert discounted.price_source == "models: in the configuration"
    assert agreed.cost_per_1k_input_tokens == 0.001
    assert agreed.cost_per_1k_output_tokens == 0.0165  # the list's: nothing else was agreed on
    assert agreed.service_tiers == {}  # the list's tiers say nothing of an agreed price


def test_an_unknown_price_has_a_reason() -> None:
    catalog = ModelCatalog()

    assert catalog.resolve("ca.amazon.nova-micro-v1:0").price_unknown == (
        "prices differ by geography, and no public list has this one"
    )
    assert catalog.resolve("us-gov.anthropic.claude-opus-4-7").cost_per_1k_input_tokens is None
    assert catalog.resolve("global.amazon.nova-lite-v1:0").price_unknown == (
        "no public list has a price for its global id"
    )
    assert catalog.resolve("ai21.jamba-9-v1:0").price_unknown is None  # an unknown model


def test_a_lookup_reads_the_disk_once() -> None:
    code = (
        "import sys\n"
        "from langchain_modelmgr.catalog import ModelCatalog\n"
        "opened = []\n"
        f"ModelCatalog().resolve('us.{HAIKU_45}')\n"
        "shown = ('open', 'socket.connect')\n"
        "sys.addaudithook(lambda event, args: opened.append(args) if event in shown else 0)\n"
        "catalog = ModelCatalog()\n"
        f"for prefix in ('eu', 'us', 'global'): catalog.resolve(prefix + '.{SONNET_45}')\n"
        "print(opened)"
    )

    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert run.stdout == "[]\n"


GOV = "arn:aws-us-gov:bedrock:us-gov-west-1"


@pytest.mark.parametrize(
    ("model_id", "region"),
    [
        (f"us-gov.{SONNET_45}", None),
        (f"{GOV}::foundation-model/{SONNET_45}", None),
        (f"{GOV}:123456789012:inference-profile/us-gov.{SONNET_45}", None),
        (f"{GOV}:123456789012:application-inference-profile/abc", None),
        (f"arn:aws:bedrock:us-gov-east-1::foundation-model/{SONNET_45}", None),
        (SONNET_45, "us-gov-west-1"),
    ],
)
def test_govcloud_has_prices_of_its_own_by_prefix_partition_and_region(
    model_id: str, region: str | None
) -> None:
    catalog = ModelCatalog()
    catalog.learn(f"{GOV}:123456789012:application-inference-profile/abc", SONNET_45)

    model = catalog.resolve(model_id, region=region)

    assert model.cost_per_1k_input_tokens == 0.0036
    assert catalog.resolve(SONNET_45, region="us-east-1").cost_per_1k_input_tokens == 0.0033


def test_a_model_that_no_list_prices_in_govcloud_is_unpriced_there() -> None:
    model = ModelCatalog().resolve(f"{GOV}::foundation-model/{HAIKU}")

    assert model.cost_per_1k_input_tokens is None
    assert model.price_unknown == "prices differ by geography, and no public list has this one"


def test_readers_meet_no_half_learned_catalog() -> None:
    catalog = ModelCatalog()
    arns = [f"{ACCOUNT_ARN}:application-inference-profile/{n}" for n in range(300)]
    wrong: list[str] = []
    done = threading.Event()

    def read() -> None:
        try:
            while not done.is_set():
                for n, arn in enumerate(arns):
                    catalog.resolve(arn)
                    catalog.get(f"acme.m{n}.{threading.get_ident()}")
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the finding
            wrong.append(repr(error))

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        readers = [threading.Thread(target=read) for _ in range(3)]
        for reader in readers:
            reader.start()
        for arn in arns:
            catalog.learn(arn, HAIKU)
            found = catalog.resolve(arn).base_model_id
            if found != HAIKU:
                wrong.append(f"{found} after it was learned")
    finally:
        sys.setswitchinterval(before)
        done.set()
    for reader in readers:
        reader.join()

    assert wrong == []
    assert {catalog.resolve(arn).base_model_id for arn in arns} == {HAIKU}


def test_ever_new_ids_take_bounded_memory() -> None:
    catalog = ModelCatalog()

    for n in range(1_100):
        catalog.resolve(f"anthropic.claude-sonnet-4-6-{n}")

    for n in range(1_100):
        catalog.learn(f"{ACCOUNT_ARN}:application-inference-profile/{n}", HAIKU)
        assert catalog.resolve(f"{ACCOUNT_ARN}:application-inference-profile/{n}").provider

    assert len(catalog._found) <= 1_024
    assert len(catalog._resolved) <= 1_024
    assert len(catalog._warned) <= 1_024
    copy.deepcopy(catalog)
