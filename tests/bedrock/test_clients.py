"""The YAML's ``aws:`` configures the clients, and errors name the setting to correct."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import boto3
import pytest

from langchain_modelmgr import ConfigurationError, ConfigurationManager, ModelManager
from langchain_modelmgr.metrics import cloudwatch_client
from tests.models import HAIKU, SONNET

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from langchain_modelmgr.local import LocalAWS
    from tests.agents import Configure


@pytest.fixture
def manager(tmp_path: Path, local_aws: LocalAWS) -> Any:
    def make(aws: str, agent: str = "", **given: Any) -> ModelManager:
        (tmp_path / "dev.yaml").write_text(
            f"aws: {{endpoint_url: {local_aws.url}{aws}}}\nmetrics: {{sink: memory}}\n"
            f"agents: {{a: {{model: '{SONNET}'{agent}}}}}\n"
        )
        return ModelManager(ConfigurationManager("dev", tmp_path), **given)

    return make


# -- headers


def test_default_headers_go_along_with_every_request(manager: Any, local_aws: LocalAWS) -> None:
    made = manager(", region: us-east-1, default_headers: {X-Team: pallets, x-cost: '7'}")
    llm = made.chat_model("a")
    local_aws.fail(SONNET, "ThrottlingException")

    llm.invoke("x")
    list(llm.stream("x"))

    assert [call.model_id for call in local_aws.calls()] == [SONNET, HAIKU, SONNET]
    assert [c.headers["X-Team"] for c in local_aws.calls()] == ["pallets"] * 3
    assert [c.headers["x-cost"] for c in local_aws.calls()] == ["7"] * 3


def test_managers_with_other_headers_do_not_share_clients(
    manager: Any, local_aws: LocalAWS
) -> None:
    for team in ("a", "b"):
        made = manager(f", region: us-east-1, default_headers: {{X-Team: {team}}}")
        made.chat_model("a").invoke("x")
    manager(", region: us-east-1").chat_model("a").invoke("x")

    assert [c.headers.get("X-Team") for c in local_aws.calls()] == ["a", "b", None]


@pytest.mark.parametrize(
    ("headers", "text"),
    [
        ("{Authorization: Bearer x}", "Authorization: is a header that boto3 sets and signs"),
        ("{x-amz-date: now}", "x-amz-date: is a header that boto3 sets"),
        ("{'X Team': a}", "X Team: must be valid names and values of HTTP headers"),
        ('{X-Team: "a\\r\\nHost: b"}', "X-Team: must be valid names and values"),
        ("{X-Team: 5}", "X-Team: must be text: put it in quotes"),
        ("[X-Team]", "default_headers: must be a map"),
    ],
)
def test_an_invalid_header_is_a_configuration_error(manager: Any, headers: str, text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"dev\.yaml:1: aws\.default_headers") as caught:
        manager(f", region: us-east-1, default_headers: {headers}")

    assert text in str(caught.value)
    assert "Bearer" not in str(caught.value)


def test_an_error_for_a_parameter_of_that_name_says_where_it_belongs(manager: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"default_headers.*use aws.default_headers"):
        manager(", region: us-east-1", ", parameters: {default_headers: {a: b}}")


# -- profiles


@pytest.mark.parametrize("variable", ["AWS_PROFILE", "AWS_DEFAULT_PROFILE"])
def test_a_profile_that_does_not_exist_is_the_environments_mistake(
    manager: Any, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.setenv(variable, "nowhere")

    with pytest.raises(ConfigurationError, match=rf"^{variable}: The config profile \(nowhere\)"):
        manager("").chat_model("a").invoke("x")


def test_a_profile_that_the_file_names_is_the_files_mistake(
    manager: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_PROFILE", "elsewhere")

    with pytest.raises(ConfigurationError, match=r"dev\.yaml: aws\.profile: The config profile"):
        manager(", region: us-east-1, profile: nowhere").chat_model("a").invoke("x")


# -- regions


@pytest.mark.parametrize(
    ("region", "meant"),
    [
        ("us-esat-1", "us-east-1"),
        ("eu-cental-1", "eu-central-1"),
        ("us-east-1a", "us-east-1"),
        ("ap-southeest-2", "ap-southeast-2"),
        ("US-EAST-1", "us-east-1"),
        ("eu_west_1", "eu-west-1"),
        ("us-gov-wset-1", "us-gov-west-1"),
    ],
)
def test_an_error_for_a_mistyped_region_suggests_the_nearest(
    manager: Any, region: str, meant: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        manager(f", region: {region}")
    assert "aws.region: " in str(caught.value)
    assert f"did you mean {meant!r}?" in str(caught.value)

    with pytest.raises(ConfigurationError) as caught:
        manager(", region: us-east-1", f", fallbacks: [{{model: '{HAIKU}', region: {region}}}]")
    assert f"did you mean {meant!r}?" in str(caught.value)


@pytest.mark.parametrize("region", ["us-esat-1", "us_esat_1"])
def test_an_error_for_a_region_from_elsewhere_says_so(
    manager: Any, monkeypatch: pytest.MonkeyPatch, region: str
) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", region)

    for made in (manager(""), manager("", region=region)):
        with pytest.raises(
            ConfigurationError, match=r"(?i)did you mean 'us-east-1'\? The region comes"
        ):
            made.chat_model("a").invoke("x")


@pytest.mark.parametrize("region", ["us-east-3", "ap-southeast-19", "mars-north-1", "local"])
def test_a_region_may_be_newer_than_botocore(manager: Any, region: str) -> None:
    assert manager(f", region: {region}").chat_model("a").invoke("x").text


class OneAtATime(boto3.Session):
    """Counts the clients that are built while another is."""

    def __init__(self) -> None:
        super().__init__()
        self.building = self.overlaps = 0

    def client(self, *args: Any, **kwargs: Any) -> Any:
        self.building += 1
        self.overlaps += self.building > 1
        time.sleep(0.05)
        try:
            return super().client(*args, **kwargs)
        finally:
            self.building -= 1


def test_a_session_builds_clients_for_one_thread_at_a_time(
    configured: Configure, local_aws: LocalAWS
) -> None:
    session = OneAtATime()
    config = configured(f"a: {{model: '{SONNET}'}}")
    managers = [ModelManager(config, session=session, sinks=[]) for _ in range(2)]
    builds: list[Callable[[], Any]] = [
        *(manager.clients.runtime for manager in managers),
        *(manager.clients.control for manager in managers),
        *(manager.clients.cloudwatch() for manager in managers),
        lambda: cloudwatch_client(session),
    ]

    with ThreadPoolExecutor(len(builds)) as pool:
        clients = [future.result() for future in [pool.submit(build) for build in builds]]

    assert all(clients)
    assert session.overlaps == 0
