"""A fallback never takes a request out of its geography, however the geography is set."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from langchain_modelmgr import ConfigurationError, ModelManager
from langchain_modelmgr.catalog import ModelCatalog
from langchain_modelmgr.catalog.geography import doubt_about, place_of, why_outside
from langchain_modelmgr.errors import BedrockRateLimitError
from tests.models import HAIKU, SONNET

if TYPE_CHECKING:
    from langchain_modelmgr.local import LocalAWS
    from tests.agents import Configure

SONNET_45 = "anthropic.claude-sonnet-4-5-20250929-v1:0"
HAIKU_45 = "anthropic.claude-haiku-4-5-20251001-v1:0"
FRANKFURT = "region: eu-central-1"
ACCOUNT = "123456789012"


def arn(region: str, resource: str = "application-inference-profile/abc") -> str:
    return f"arn:aws:bedrock:{region}:{ACCOUNT}:{resource}"


def _chain(primary: str, fallback: str) -> str:
    return f"a: {{model: '{primary}', fallbacks: [{fallback}]}}"


def _manager(configured: Configure, primary: str, fallback: str, region: str = "") -> ModelManager:
    config = configured(_chain(primary, fallback), region=region or None)
    return ModelManager(config, sinks=[])


OUTSIDE = [
    # primary, fallback, aws.region
    (f"eu.{SONNET_45}", f"us.{HAIKU_45}", ""),
    (f"eu.{SONNET_45}", f"global.{HAIKU_45}", ""),
    (f"eu.{SONNET_45}", f"{{model: '{HAIKU}', region: us-east-1}}", "eu-central-1"),
    (f"eu.{SONNET_45}", f"'{HAIKU}'", "us-east-1"),
    (f"eu.{SONNET_45}", f"'{arn('us-east-1')}'", "eu-central-1"),
    (
        f"eu.{SONNET_45}",
        f"{{model: '{arn('eu-west-1')}', base_model: 'us.{HAIKU_45}'}}",
        "eu-central-1",
    ),
    (f"eu.{SONNET_45}", f"'{arn('us-east-1', f'inference-profile/us.{HAIKU_45}')}'", ""),
    (f"eu.{SONNET_45}", f"'arn:aws:bedrock:us-west-2::foundation-model/{HAIKU}'", "eu-central-1"),
    (SONNET, f"us.{HAIKU_45}", "eu-central-1"),
    (SONNET, f"{{model: '{SONNET}', region: us-east-1}}", "eu-central-1"),
    (SONNET, f"{{model: '{SONNET}', region: eu-west-1}}", "us-east-1"),
    (arn("eu-central-1"), f"us.{HAIKU_45}", "us-east-1"),
    (arn("eu-central-1"), f"'{HAIKU}'", "us-east-1"),
    (f"jp.{SONNET_45}", f"apac.{SONNET}", ""),
    (f"jp.{SONNET_45}", f"{{model: '{HAIKU}', region: ap-southeast-2}}", "ap-northeast-1"),
    (f"us.{SONNET_45}", f"{{model: '{HAIKU}', region: us-gov-west-1}}", "us-east-1"),
    (f"us-gov.{SONNET_45}", f"us.{HAIKU_45}", ""),
    (SONNET, f"us.{HAIKU_45}", "sa-east-1"),
]
INSIDE = [
    (f"eu.{SONNET_45}", f"eu.{HAIKU_45}", ""),
    (f"eu.{SONNET_45}", f"'{HAIKU}'", "eu-central-1"),
    (f"eu.{SONNET_45}", f"{{model: '{HAIKU}', region: eu-west-3}}", "us-east-1"),
    (f"eu.{SONNET_45}", f"'{arn('eu-west-1')}'", "us-east-1"),
    (SONNET, f"'{HAIKU}'", "eu-central-1"),
    (SONNET, f"{{model: '{HAIKU}', region: eu-west-1}}", "eu-central-1"),
    (SONNET, f"eu.{HAIKU_45}", "eu-central-1"),
    (SONNET, f"apac.{SONNET}", "ap-northeast-1"),
    (SONNET, f"jp.{HAIKU_45}", "ap-northeast-1"),
    (f"apac.{SONNET}", f"jp.{HAIKU_45}", ""),
    (f"jp.{SONNET_45}", f"{{model: '{HAIKU}', region: ap-northeast-3}}", "us-east-1"),
    (f"global.{SONNET_45}", f"us.{HAIKU_45}", "eu-central-1"),
    (f"global.{SONNET_45}", f"{{model: '{HAIKU}', region: us-east-1}}", "eu-central-1"),
]


@pytest.mark.parametrize(("primary", "fallback", "region"), OUTSIDE)
def test_a_fallback_that_leaves_the_geography_is_a_mistake_of_the_file(
    configured: Configure, primary: str, fallback: str, region: str
) -> None:
    with pytest.raises(ConfigurationError, match="cannot fall back to one in") as caught:
        _manager(configured, primary, fallback, region)

    assert "agents.a.fallbacks[0]" in str(caught.value)
    assert ACCOUNT not in str(caught.value)


@pytest.mark.parametrize(("primary", "fallback", "region"), INSIDE)
def test_a_fallback_inside_the_geography_is_not_a_mistake(
    configured: Configure, primary: str, fallback: str, region: str
) -> None:
    manager = _manager(configured, primary, fallback, region)

    _, member = manager.check_chains()

    assert not any("geography" in text for text in (*member.problems, *member.warnings))


def test_the_base_model_that_the_yaml_sets_for_an_arn_counts_too(configured: Configure) -> None:
    report = f"models: {{'{arn('eu-west-1')}': {{base_model: 'us.{HAIKU_45}'}}}}"

    with pytest.raises(ConfigurationError, match="'eu' cannot fall back to one in 'us'"):
        configured(_chain(f"eu.{SONNET_45}", f"'{arn('eu-west-1')}'"), report, region=None)


def test_a_bare_id_that_falls_to_a_global_one_is_a_warning(configured: Configure) -> None:
    manager = _manager(configured, SONNET, f"global.{HAIKU_45}", "eu-central-1")

    _, member = manager.check_chains()

    assert member.ok
    assert (
        "may be served in any geography; the agent's own model is served in 'eu' only"
        in member.warnings
    )


def test_an_unknown_geography_is_a_warning(
    configured: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    manager = _manager(configured, f"eu.{SONNET_45}", f"'{HAIKU_45}'")

    _, member = manager.check_chains()

    assert member.ok
    assert any(w.startswith("may be served outside the geography") for w in member.warnings)


def test_a_region_that_only_boto3_knows_is_found_before_a_call(
    configured: Configure, local_aws: LocalAWS, caplog: pytest.LogCaptureFixture
) -> None:
    manager = _manager(configured, f"eu.{SONNET_45}", f"'{HAIKU}'")  # us-east-1 by the variable
    local_aws.fail(f"eu.{SONNET_45}", "ThrottlingException", times=None)

    _, member = manager.check_chains()
    with pytest.raises(BedrockRateLimitError) as caught:
        manager.chat_model("a", max_retries=0).invoke("x")

    assert any("'eu' cannot fall back to one in 'us'" in problem for problem in member.problems)
    assert f"skipped {HAIKU}: a model in 'eu' cannot fall back to one in 'us'" in str(caught.value)
    assert local_aws.requests(HAIKU) == 0
    assert f"agent a: {HAIKU} will not be used" in caplog.text


def test_a_managers_own_region_counts(configured: Configure) -> None:
    config = configured(_chain(f"eu.{SONNET_45}", f"'{HAIKU_45}'"), region=None)

    _, inside = ModelManager(config, sinks=[], region="eu-west-1").check_chains()
    _, outside = ModelManager(config, sinks=[], region="us-west-2").check_chains()

    assert (inside.ok, outside.ok) == (True, False)


def test_a_calls_own_model_does_not_fall_to_the_agents_geography(
    configured: Configure, local_aws: LocalAWS
) -> None:
    manager = _manager(configured, f"us.{SONNET_45}", f"'us.{HAIKU_45}'", "us-east-1")
    local_aws.fail(f"eu.{SONNET_45}", "AccessDeniedException")

    with pytest.raises(Exception, match=r"'eu' cannot fall back to one in 'us'"):
        manager.chat_model("a").invoke("x", model=f"eu.{SONNET_45}")

    assert local_aws.requests(f"us.{HAIKU_45}") == 0


def test_an_arn_that_turns_out_to_be_global_is_not_used(
    configured: Configure, local_aws: LocalAWS, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", local_aws.url)
    profile = arn("eu-central-1")
    local_aws.inference_profile(profile, HAIKU_45, regions=["eu-central-1", ""])
    manager = _manager(configured, f"eu.{SONNET_45}", f"'{profile}'", "eu-central-1")
    local_aws.fail(f"eu.{SONNET_45}", "AccessDeniedException")

    with pytest.raises(Exception, match=r"'eu' cannot fall back to one in 'global'"):
        manager.chat_model("a").invoke("x")

    assert local_aws.requests(profile) == 0


@pytest.mark.parametrize(
    ("primary", "region", "fallback"),
    [
        (f"eu.{SONNET_45}", "us-east-1", f"eu.{HAIKU_45}"),
        (SONNET, "eu-central-1", HAIKU),
        (f"eu.{SONNET}", "eu-central-1", f"eu.{HAIKU}"),
    ],
)
def test_the_family_rule_stays_in_the_geography(
    configured: Configure, primary: str, region: str, fallback: str
) -> None:
    manager = ModelManager(configured(f"a: {{model: '{primary}'}}", region=region), sinks=[])

    _, member = manager.check_chains()

    assert (member.model_id, member.ok) == (fallback, True)


def test_the_family_rule_gives_an_arn_the_geography_of_its_model(configured: Configure) -> None:
    primary = arn("eu-central-1")
    report = f"models: {{'{primary}': {{base_model: 'eu.{SONNET_45}'}}}}"
    config = configured(f"a: {{model: '{primary}'}}", report, region="us-east-1")

    _, member = ModelManager(config, sinks=[]).check_chains()

    assert (member.model_id, member.ok) == (f"eu.{HAIKU_45}", True)


def test_the_family_rule_leaves_no_region_of_an_arn(
    configured: Configure, local_aws: LocalAWS
) -> None:
    primary = arn("eu-central-1")
    report = f"models: {{'{primary}': {{base_model: '{SONNET}'}}}}"
    config = configured(f"a: {{model: '{primary}'}}", report, region="us-east-1")
    manager = ModelManager(config, sinks=[])
    local_aws.fail(primary, "AccessDeniedException")

    _, member = manager.check_chains()
    with pytest.raises(Exception, match="'eu' cannot fall back to one in 'us'"):
        manager.chat_model("a").invoke("x")

    assert not member.ok
    assert local_aws.requests(HAIKU) == 0


# -- the parts


def _place(model_id: str, region: str | None = None) -> Any:
    return place_of(ModelCatalog().look_up(model_id), region)


def test_a_prefix_takes_precedence_over_an_arns_region_and_that_over_the_callers() -> None:
    by_profile = _place(arn("ca-central-1", f"inference-profile/us.{HAIKU_45}"), "eu-west-1")

    assert by_profile.geography == "us"
    assert _place(arn("ca-central-1"), "eu-west-1").geography == "ca"
    assert _place(HAIKU, "eu-west-1").geography == "eu"
    assert _place(HAIKU).geography is None


def test_an_equal_endpoint_needs_no_region() -> None:
    assert why_outside(_place(SONNET), _place(HAIKU)) is None
    assert doubt_about(_place(SONNET), _place(HAIKU)) is None
