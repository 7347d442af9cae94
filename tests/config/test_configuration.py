"""Reading a configuration."""

from __future__ import annotations

import copy
import os
import pickle
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from langchain_aws import ChatBedrockConverse

from langchain_modelmgr import ConfigurationError, ConfigurationManager
from langchain_modelmgr.config import AgentConfig, FallbackConfig
from langchain_modelmgr.config.schema import PLACES, REQUEST_FIELDS
from langchain_modelmgr.config.yaml_tree import merged, read_tree
from tests.models import HAIKU, SONNET
from tests.support import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

GUIDE = f"""\
agents:
  default_model: {SONNET}
  context_window_size: 5

  sql_agent:
    enabled: true
    model: {SONNET}  # Use Sonnet for complex SQL
    timeout_seconds: 60

  inventory_optimizer:
    enabled: true
    model: {HAIKU}  # Use Haiku for cost savings
    timeout_seconds: 90
"""


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., ConfigurationManager]:
    def reader(text: str, base: str | None = None) -> ConfigurationManager:
        (tmp_path / "dev.yaml").write_text(text)
        if base is not None:
            (tmp_path / "base.yaml").write_text(base)
        return ConfigurationManager("dev", tmp_path)

    return reader


def test_the_guides_yaml_is_accepted_word_for_word(read: Any) -> None:
    config = read(GUIDE)

    assert config.agent_names == ("sql_agent", "inventory_optimizer")
    assert config.agent("sql_agent").model == SONNET
    assert config.agent("inventory_optimizer").timeout_seconds == 90
    assert (config.default_model, config.context_window_size) == (SONNET, 5)
    assert (config.project_prefix, config.namespace) == ("modelmgr", "modelmgr/Models")


@pytest.mark.parametrize("environment", ["dev", "staging", "prod"])
def test_the_shipped_environments_have_the_guides_agents(environment: str) -> None:
    config = ConfigurationManager(environment, ROOT / "config")

    assert config.agent_names == (
        "sql_agent",
        "inventory_optimizer",
        "logistics_planner",
        "supplier_analyzer",
        "orchestrator",
    )
    assert all(config.agent(name).model for name in config.agent_names)


def test_the_models_for_real_bedrock_are_known_to_langchain_aws() -> None:
    config = ConfigurationManager("aws", ROOT / "config")

    models = {m for name in config.agent_names for m in config.models_of(name)}
    facts = [config.catalog.resolve(m) for m in models]

    assert len(models) == 2
    assert all(f.supports_tools and f.context_window for f in facts)


def test_the_folder_and_environment_come_from_argument_variable_or_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "dev.yaml").write_text(GUIDE)
    (tmp_path / "config" / "prod.yaml").write_text(GUIDE)
    monkeypatch.chdir(tmp_path)

    by_default = ConfigurationManager()
    monkeypatch.setenv("MODELMGR_ENV", "prod")
    monkeypatch.setenv("MODELMGR_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.chdir("/")
    by_variable = ConfigurationManager()
    by_argument = ConfigurationManager("dev", tmp_path / "config")

    assert by_default.environment == by_argument.environment == "dev"
    assert by_variable.environment == "prod"
    assert by_default.config_dir == by_variable.config_dir


def test_an_agent_without_a_model_has_the_default_one(read: Any) -> None:
    config = read(f"agents: {{default_model: '{HAIKU}', a: , b: {{}}}}")

    assert config.agent("a").model == config.agent("b").chosen_model == HAIKU
    assert config.models_of("a") == (HAIKU,)


def test_an_unknown_agent_is_allowed_only_on_request(read: Any) -> None:
    config = read(f"agents: {{default_model: '{HAIKU}', allow_unknown: true}}")

    assert config.agent("anybody") == AgentConfig(model=HAIKU)
    with pytest.raises(ValueError, match="has no model"):
        _ = AgentConfig().chosen_model


def test_fallbacks_are_ids_or_maps(read: Any) -> None:
    config = read(f"""
agents:
  a:
    model: {SONNET}
    fallbacks:
      - {HAIKU}
      - {{model: {SONNET}, region: us-west-2, parameters: {{top_p: 0.5}}}}
  none: {{model: {SONNET}, fallbacks: []}}
""")

    first, second = config.agent("a").fallbacks
    assert first == FallbackConfig(model=HAIKU)
    assert (second.region, second.parameters) == ("us-west-2", {"top_p": 0.5})
    assert config.agent("none").fallbacks == ()
    assert config.models_of("a") == (SONNET, HAIKU, SONNET)


def test_an_environment_is_laid_over_the_base(read: Any) -> None:
    config = read(
        "agents: {a: {requires: [tools], timeout_seconds: 9}}",
        base=f"project_prefix: p\nagents: {{a: {{model: '{SONNET}', requires: [images]}}}}",
    )

    agent = config.agent("a")
    assert (config.project_prefix, agent.model) == ("p", SONNET)
    assert (agent.requires, agent.timeout_seconds) == (("tools",), 9)


def test_models_change_the_catalog(read: Any) -> None:
    arn = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc"
    config = read(f"""
models:
  {HAIKU}: {{cost_per_1k_input_tokens: 0.0008}}
  {arn}: {{base_model: {HAIKU}}}
agents: {{a: {{model: '{arn}'}}}}
""")

    model = config.catalog.get(arn)
    assert model.base_model_id == HAIKU
    assert model.cost_per_1k_input_tokens == 0.0008


def test_variables_fill_scalars_after_parsing(read: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECONDS", "7")
    monkeypatch.setenv("PROFILE", "dev\nagents: {}")
    monkeypatch.setenv("DAY", "2026-01-01")
    config = read(f"""
project_prefix: p-${{DAY}}-${{NOBODY:-x}}
aws: {{profile: '${{PROFILE}}'}}
agents:
  a:
    model: {SONNET}
    parameters: {{stop_sequences: ["$${{LITERAL}}"]}}
    timeout_seconds: ${{SECONDS}}
    max_tokens: ${{TOKENS:-5}}
""")

    assert config.project_prefix == "p-2026-01-01-x"
    assert config.aws.profile == "dev\nagents: {}"
    assert config.agent("a").parameters["stop_sequences"] == ["${LITERAL}"]
    assert (config.agent("a").timeout_seconds, config.agent("a").max_tokens) == (7, 5)


def test_merge_keys_and_anchors_work(read: Any) -> None:
    config = read(f"""
agents:
  a: &a {{model: {SONNET}, timeout_seconds: 5, requires: [tools]}}
  b:
    <<: *a
    timeout_seconds: 6
""")

    assert config.agent("b").requires == ("tools",)
    assert config.agent("b").timeout_seconds == 6


def test_a_pickle_contains_variables_unresolved_and_resolves_them_where_it_is_loaded(
    read: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFIX", "top-secret")
    config = read(f"project_prefix: ${{PREFIX}}\nagents: {{a: {{model: '{SONNET}'}}}}")

    data = pickle.dumps(config)
    monkeypatch.setenv("PREFIX", "elsewhere")
    loaded = pickle.loads(data)  # noqa: S301

    assert b"top-secret" not in data
    assert loaded.project_prefix == "elsewhere"
    assert loaded.fingerprint != config.fingerprint
    assert copy.deepcopy(config) is config


def test_the_same_content_has_the_same_fingerprint(read: Any) -> None:
    assert read(GUIDE).fingerprint == read(GUIDE + "\n# a comment\n").fingerprint
    assert read(GUIDE).fingerprint != read(GUIDE.replace("60", "61")).fingerprint


def test_a_repr_names_environment_and_folder(read: Any, tmp_path: Path) -> None:
    config = read(GUIDE)

    assert repr(config) == f"ConfigurationManager('dev', {str(tmp_path)!r})"
    assert str(config) == str(tmp_path / "dev.yaml")


def test_request_fields_are_langchain_aws_own() -> None:
    own = set(ChatBedrockConverse.model_fields)
    not_of_a_request = {
        "bedrock_client", "cache", "callbacks", "client", "config", "custom_get_token_ids",
        "max_retries", "metadata", "name", "output_version", "profile",
        "rate_limiter", "raw_blocks", "streaming", "tags", "verbose",
    }  # fmt: skip

    assert own >= REQUEST_FIELDS
    assert own - REQUEST_FIELDS - set(PLACES) == not_of_a_request


words = st.text("ab1.:-#'~<&*é☃ ", max_size=5)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63) + 1, 2**63 - 1) | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=8,
)


def laid(base: Any, over: Any) -> Any:
    if isinstance(base, dict) and isinstance(over, dict):
        return {**base, **{k: laid(base[k], v) if k in base else v for k, v in over.items()}}
    return over


def plain(tree: Any) -> Any:
    if isinstance(tree.value, dict):
        return {k: plain(v) for k, v in tree.value.items()}
    return [plain(v) for v in tree.value] if isinstance(tree.value, list) else tree.value


@given(base=values, over=values)
def test_maps_merge_and_all_else_replaces(base: Any, over: Any) -> None:
    trees = [read_tree(yaml.safe_dump(value, allow_unicode=True), "f") for value in (base, over)]

    assert plain(merged(*trees)) == laid(base, over)  # type: ignore[arg-type]


def test_reading_changes_no_environment(read: Any) -> None:
    before = dict(os.environ)

    read(GUIDE)

    assert dict(os.environ) == before
    with pytest.raises(ConfigurationError):
        read("")
