"""Every mistake names file, line, agent, key, and what would be right."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from langchain_modelmgr import ConfigurationError, ConfigurationManager
from tests.models import HAIKU, SONNET

if TYPE_CHECKING:
    from pathlib import Path

    from tests.agents import Configure


@pytest.fixture
def mistake(tmp_path: Path) -> Any:
    def find(text: str) -> str:
        (tmp_path / "dev.yaml").write_text(text)
        with pytest.raises(ConfigurationError) as caught:
            ConfigurationManager("dev", tmp_path)
        return str(caught.value).replace(f"{tmp_path}/", "")

    return find


def agent(line: str) -> str:
    return f"agents:\n  a:\n    model: {SONNET}\n    {line}\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "dev.yaml:1: the file is empty: it needs at least agents:"),
        ("- a\n", "dev.yaml:1: the file must be a map with agents:"),
        ("aws: {}\n", "dev.yaml:1: agents: is missing"),
        ("agents: [a]\n", "dev.yaml:1: agents: must be a map"),
        ("agnets: {}\nagents: {}", "dev.yaml:1: agnets: unknown key; did you mean 'agents'?"),
        ("agents:\n  a: x: y\n", "dev.yaml:2: bad YAML at column 7: mapping values are not"),
        ("agents: {\n", "dev.yaml:2: bad YAML at column 1"),
        ("agents: !!python/object:os.system {}", "bad YAML"),
        ("agents: {a: {max_tokens: 2026-99-99}}", "not a valid date"),
        ("agents:\n  a: {}\n  a: {}\n", "dev.yaml:3: duplicate key 'a' (first on line 2)"),
        ("agents:\n  ? [a]\n  : 1\n", "dev.yaml:2: a key must be a scalar"),
        ("agents:\n  defalt_model: x\n", "agents.defalt_model: an agent must be a map; did you mean"),
        ("default_model: x.y\nagents: {}", "dev.yaml:1: default_model belongs under agents:"),
        ("agents:\n  a: {model: x.y}\n  default_model: [x]\n",
         "dev.yaml:3: agents.default_model: must be text"),
        ("agents:\n  a: {model: x.y}\n  allow_unknown: perhaps\n",
         "dev.yaml:3: agents.allow_unknown: must be true or false"),
        ("agents:\n  a: {}\n", "dev.yaml:2: agents.a: no model: set model, or agents.default_model"),
        ("agents:\n  'a b': {model: x.y}\n", "agents.a b: an agent's name must be 1 to 64 letters"),
        ("agents: {a: {model: x.y}}\nmetrics: {sink: cloudwach}",
         "dev.yaml:2: metrics.sink: must be one of 'auto', 'cloudwatch', 'emf', 'memory' or 'none'; did you"
         " mean 'cloudwatch'?"),
        ("agents: {a: {model: x.y}}\nmetrics: {otel: {duplicat: true}}",
         "dev.yaml:2: metrics.otel.duplicat: unknown key; did you mean 'duplicate'?"),
        ("agents: {a: {model: x.y}}\nmetrics: {otel: 1}",
         "dev.yaml:2: metrics.otel: must be true, false, or a map with duplicate"),
        ("agents: {a: {model: x.y}}\naws: {endpoint_url: localhost}",
         "dev.yaml:2: aws.endpoint_url: must start with http:// or https://"),
        ("agents: {a: {model: x.y}}\naws: {region: us east}",
         "dev.yaml:2: aws.region: must be the name of an AWS region such as us-east-1"),
        ("project_prefix: AWS/x\nagents: {a: {model: x.y}}", "dev.yaml:1: project_prefix: must be"),
        ("models: {x.y: {prise: 1}}\nagents: {a: {model: x.y}}", "models.x.y.prise: unknown key"),
        ("models: {x.y: {cost_per_1k_input_tokens: -1}}\nagents: {a: {model: x.y}}",
         "models.x.y.cost_per_1k_input_tokens: must be at least 0"),
    ],
)  # fmt: skip
def test_a_mistake_of_the_file_is_named(mistake: Any, text: str, expected: str) -> None:
    assert expected in mistake(text)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("modle: x", "dev.yaml:4: agents.a.modle: unknown key; did you mean 'model'?"),
        (
            "zzz: x",
            "dev.yaml:4: agents.a.zzz: unknown key; known: cooldown_seconds, deadline_seconds",
        ),
        ("enabled: 5", "dev.yaml:4: agents.a.enabled: must be true or false"),
        ("timeout_seconds: 0", "dev.yaml:4: agents.a.timeout_seconds: must be more than 0"),
        ("timeout_seconds: 901", "dev.yaml:4: agents.a.timeout_seconds: must be at most 900"),
        ("timeout_seconds: soon", "dev.yaml:4: agents.a.timeout_seconds: must be a number"),
        ("max_tokens: 1.5", "dev.yaml:4: agents.a.max_tokens: must be a whole number"),
        ("temperature: [1]", "dev.yaml:4: agents.a.temperature: must be a number"),
        ("fallbacks: x.y", "dev.yaml:4: agents.a.fallbacks: must be a list"),
        ("fallbacks: [5]", "dev.yaml:4: agents.a.fallbacks[0]: must be a model id or a map"),
        ("fallbacks: [{region: x}]", "dev.yaml:4: agents.a.fallbacks[0].model: is missing"),
        ("fallbacks: [{modell: x}]", "agents.a.fallbacks[0].modell: unknown key; did you mean"),
        (
            f"fallbacks: ['{SONNET}']",
            "dev.yaml:4: agents.a.fallbacks[0]: this model is already in the chain",
        ),
        ("requires: [tool]", "agents.a.requires[0]: must be one of"),
        ("requires: [tool]", "did you mean 'tools'?"),
        ("parameters: {top_pp: 1}", "agents.a.parameters: unknown request field 'top_pp'"),
        ("parameters: {top_pp: 1}", "did you mean 'top_p'?"),
        ("parameters: {max_tokens: 1}", "it is a key of the agent itself"),
        ("parameters: {region_name: x}", "use aws.region"),
        (
            "fallbacks: [{model: x.y, parameters: {guardrail_config: {a: b}}}]",
            "must be the agent's guardrail",
        ),
        ("parameters: 5", "dev.yaml:4: agents.a.parameters: must be a map"),
    ],
)
def test_a_mistake_of_an_agent_is_named(mistake: Any, line: str, expected: str) -> None:
    assert expected in mistake(agent(line))


@pytest.mark.parametrize(
    ("agent_parameters", "fallback", "repeats"),
    [
        ("{}", f"{{model: {SONNET}, parameters: {{service_tier: flex}}}}", False),
        (
            "{service_tier: flex}",
            f"{{model: {SONNET}, parameters: {{service_tier: default}}}}",
            False,
        ),
        ("{}", f"{{model: {SONNET}, parameters: {{top_p: 0.5}}}}", False),
        (
            "{}",
            f"{{model: {SONNET}, parameters: {{performance_config: {{latency: optimized}}}}}}",
            False,
        ),
        ("{}", f"{{model: {SONNET}, region: us-west-2}}", False),
        ("{}", SONNET, True),
        ("{}", f"{{model: {SONNET}, parameters: {{service_tier: default}}}}", True),
        ("{}", f"{{model: {SONNET}, region: us-east-1}}", True),
        ("{service_tier: flex}", f"{{model: {SONNET}, parameters: {{service_tier: flex}}}}", True),
    ],
)
def test_the_same_model_is_a_fallback_only_with_other_parameters_or_region(
    mistake: Any, configured: Configure, agent_parameters: str, fallback: str, repeats: bool
) -> None:
    agents = f"a: {{model: {SONNET}, parameters: {agent_parameters}, fallbacks: [{fallback}]}}"

    if repeats:
        said = mistake(f"aws: {{region: us-east-1}}\nagents:\n  {agents}")
        assert "agents.a.fallbacks[0]: this model is already in the chain" in said
    else:
        assert configured(agents).agent("a").fallbacks


def test_two_equal_fallbacks_are_a_mistake(mistake: Any) -> None:
    flex = f"{{model: {SONNET}, parameters: {{service_tier: flex}}}}"

    said = mistake(f"agents:\n  a: {{model: {SONNET}, fallbacks: [{flex}, {flex}]}}")

    assert "agents.a.fallbacks[1]: this model is already in the chain" in said
    assert "fallbacks[0]" not in said


def test_a_fallback_never_leaves_its_geography(mistake: Any) -> None:
    text = f"agents:\n  a:\n    model: eu.{SONNET}\n    fallbacks: [us.{HAIKU}, global.{HAIKU}]\n"

    said = mistake(text)

    assert "agents.a.fallbacks[0]: a model in 'eu' cannot fall back to one in 'us'" in said
    assert "agents.a.fallbacks[1]: a model in 'eu' cannot fall back to one in 'global'" in said


def test_all_mistakes_are_reported_at_once(mistake: Any) -> None:
    said = mistake(agent("modle: x\n    enabled: 5\n    timeout_seconds: 0"))

    assert len(said.splitlines()) == 3


def test_a_missing_variable_is_named_and_a_values_own_text_never(
    mistake: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", "cloudwatc")

    missing = mistake(agent("timeout_seconds: ${NOBODY}"))
    wrong = mistake("metrics: {sink: '${SECRET}'}\nagents: {a: {model: x.y}}")

    assert (
        "dev.yaml:4: agents.a.timeout_seconds: the environment variable NOBODY is not set"
        in missing
    )
    assert "must be one of" in wrong
    assert "cloudwatc'" not in wrong
    assert "did you mean" not in wrong


def test_nested_aliases_are_bounded(mistake: Any) -> None:
    bomb = "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
    for above, name in zip("abcdefg", "bcdefgh", strict=True):
        bomb += f"{name}: &{name} [{', '.join([f'*{above}'] * 10)}]\n"

    assert "too many values, or nested too deeply" in mistake(bomb)


def test_a_missing_file_is_reported_with_the_existing_ones(tmp_path: Path) -> None:
    (tmp_path / "staging.yaml").write_text("agents: {}")

    with pytest.raises(ConfigurationError, match="did you mean 'staging'"):
        ConfigurationManager("stagin", tmp_path)
    with pytest.raises(ConfigurationError, match="known: staging"):
        ConfigurationManager("prod", tmp_path)
    with pytest.raises(ConfigurationError, match=r"folder .* does not exist"):
        ConfigurationManager("prod", tmp_path / "nowhere")
    with pytest.raises(ConfigurationError, match="is not a valid name"):
        ConfigurationManager("../prod", tmp_path)


def test_an_unreadable_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "dev.yaml").write_bytes(b"\xff\xfe\x00")

    with pytest.raises(ConfigurationError, match=r"dev\.yaml: cannot be read: UnicodeDecodeError"):
        ConfigurationManager("dev", tmp_path)


def test_unknown_and_disabled_agents_are_distinguished(tmp_path: Path) -> None:
    (tmp_path / "dev.yaml").write_text(
        "agents: {sql_agent: {model: x.y, enabled: false}, planner: {model: x.y}}"
    )
    config = ConfigurationManager("dev", tmp_path)

    with pytest.raises(ConfigurationError, match="unknown agent 'plannr'; did you mean 'planner'"):
        config.agent("plannr")
    with pytest.raises(ConfigurationError, match="known: planner, sql_agent"):
        config.agent("x")
    with pytest.raises(ConfigurationError, match=r"agents\.sql_agent: the agent is disabled"):
        config.agent("sql_agent")
