"""The design guide's code blocks, typed out, with what their comments promise."""

from __future__ import annotations

import inspect
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from examples.supply_chain.agents.base_agent import BaseAgent
from examples.supply_chain.orchestrator import SupplyChainOrchestrator
from examples.supply_chain.script import supply_chain_model
from langchain_modelmgr import (
    ConfigurationManager,
    ModelConfig,
    ModelManager,
    ModelManagerError,
    ModelUsageMetrics,
)
from tests.models import HAIKU, SONNET, TITAN

if TYPE_CHECKING:
    from pathlib import Path

    from langchain_modelmgr.local import LocalAWS

DEV = f"""
# config/dev.yaml
agents:
  default_model: {SONNET}

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
def model_manager(
    tmp_path: Path, local_aws: LocalAWS, monkeypatch: pytest.MonkeyPatch
) -> ModelManager:
    (tmp_path / "dev.yaml").write_text(DEV)
    monkeypatch.setenv("MODELMGR_CONFIG_DIR", str(tmp_path))
    for name, value in local_aws.env().items():
        monkeypatch.setenv(name, value)
    config = ConfigurationManager("dev")
    return ModelManager(config)


def test_per_agent_model_configuration(model_manager: ModelManager) -> None:
    assert model_manager.get_model_for_agent("sql_agent") == SONNET
    assert model_manager.get_model_for_agent("inventory_optimizer") == HAIKU
    assert model_manager.config.agent("inventory_optimizer").timeout_seconds == 90


def test_model_compatibility_validation(model_manager: ModelManager) -> None:
    is_compatible, error = model_manager.validate_model_compatibility(
        "amazon.titan-text-premier-v1:0", requires_tools=True
    )

    # Returns: (False, "Model does not support tools")
    assert (is_compatible, error) == (False, "Model does not support tools")


def test_basic_usage(model_manager: ModelManager, capsys: pytest.CaptureFixture[str]) -> None:
    response = model_manager.invoke_model(
        agent_name="sql_agent",
        messages=[{"role": "user", "content": [{"text": "Hello"}]}],
        system_prompt="You are a SQL expert",
        use_fallback=True,
    )

    if response["success"]:
        print(f"Model used: {response['model_id']}")
        print(f"Latency: {response['latency_ms']}ms")
        print(f"Cost: ${response['cost']:.4f}")
        print(f"Tokens: {response['usage']['total_tokens']}")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"Model used: {SONNET}"
    assert lines[2] == "Cost: $0.0001"
    assert len(lines) == 4


def test_environment_specific_configuration(tmp_path: Path) -> None:
    (tmp_path / "prod.yaml").write_text(
        f"agents:\n  default_model: {SONNET}\n  context_window_size: 10\n\n"
        f"  sql_agent:\n    model: {SONNET}  # Use best model\n"
    )

    config = ConfigurationManager("prod", tmp_path)

    assert config.context_window_size == 10
    assert config.agent("sql_agent").model == SONNET


def test_usage_summary_and_flushing(
    model_manager: ModelManager, local_aws: LocalAWS, capsys: pytest.CaptureFixture[str]
) -> None:
    model_manager.invoke_model("sql_agent", [{"role": "user", "content": [{"text": "Hello"}]}])

    summary = model_manager.get_usage_summary()
    print(f"Total invocations: {summary['total_invocations']}")
    print(f"Total cost: ${summary['total_cost_usd']:.4f}")
    print(f"Average latency: {summary['average_latency_ms']:.2f}ms")
    model_manager.flush_metrics()

    assert capsys.readouterr().out.startswith("Total invocations: 1\nTotal cost: $0.0001\n")
    listed = local_aws.client("cloudwatch").list_metrics(Namespace="modelmgr/Models")["Metrics"]
    assert {m["MetricName"]: tuple(sorted(d["Name"] for d in m["Dimensions"])) for m in listed} == {
        "ModelLatency": ("Agent", "Model"),
        "InputTokens": ("Agent", "Model"),
        "OutputTokens": ("Agent", "Model"),
        "ModelInvocations": ("Agent", "Model", "Success"),
        "ModelCost": ("Agent", "Model"),
    }


def test_model_unavailable(model_manager: ModelManager, local_aws: LocalAWS) -> None:
    local_aws.fail(SONNET, "ServiceUnavailableException", times=1)

    # Primary model fails -> automatically tries fallback
    response = model_manager.invoke_model(
        agent_name="sql_agent",
        messages=[{"role": "user", "content": [{"text": "Hello"}]}],
        use_fallback=True,
    )

    assert response.get("fallback_used")
    assert response["model_id"] == HAIKU


def test_no_fallback_available(model_manager: ModelManager, local_aws: LocalAWS) -> None:
    local_aws.fail(None, "AccessDeniedException", times=9)

    with pytest.raises(ModelManagerError, match="AccessDeniedException"):
        model_manager.invoke_model("sql_agent", [{"role": "user", "content": [{"text": "Hello"}]}])


def test_compatibility_issues(model_manager: ModelManager) -> None:
    is_compatible, error = model_manager.validate_model_compatibility(
        model_id=TITAN, requires_tools=True
    )

    assert not is_compatible
    assert f"Model not compatible: {error}" == "Model not compatible: Model does not support tools"


def test_model_config_and_usage_metrics_are_the_guides_dataclasses() -> None:
    config = ModelConfig(
        model_id="m",
        model_family="Claude",
        max_tokens=8192,
        temperature=0.7,
        supports_tools=True,
        supports_streaming=True,
        cost_per_1k_input_tokens=0.003,
        cost_per_1k_output_tokens=0.015,
    )
    metrics = ModelUsageMetrics(
        agent_name="sql_agent",
        model_id="m",
        timestamp=datetime(2026, 11, 23, tzinfo=UTC),
        input_tokens=1000,
        output_tokens=2000,
        latency_ms=12.5,
        success=True,
        error_message=None,
    )

    assert metrics.get_cost(config) == 0.033
    fields = metrics.to_dict()
    assert fields["timestamp"] == "2026-11-23T00:00:00+00:00"
    assert list(fields)[:8] == [
        "agent_name",
        "model_id",
        "timestamp",
        "input_tokens",
        "output_tokens",
        "latency_ms",
        "success",
        "error_message",
    ]


def test_integration_with_agents(model_manager: ModelManager, local_aws: LocalAWS) -> None:
    class MyAgent(BaseAgent):
        def process_query(self, query: str, session_id: str, context: Any = None) -> dict[str, Any]:
            # ModelManager is automatically used if available
            response = self.invoke_bedrock_model(
                prompt=query, system_prompt="You are a helpful assistant"
            )
            return {"response": response}

    for agent in (MyAgent(model_manager, []), MyAgent(model_manager), MyAgent()):
        answer = agent.process_query("Hello", "session-123")

        assert answer == {"response": "You said: Hello"}
        assert local_aws.calls()[-1].body["system"] == [{"text": "You are a helpful assistant"}]
        assert agent.agent_name == "sql_agent"  # the YAML's first: it has no my_agent


class Planner(BaseAgent):
    """Writes nothing at all."""


def test_an_agent_without_a_name_has_that_of_its_class(
    tmp_path: Path, local_aws: LocalAWS, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in local_aws.env().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MODELMGR_CONFIG_DIR", str(tmp_path))
    agents = (
        f"agents: {{default_model: '{SONNET}', sql_agent: {{}}, planner: {{model: '{HAIKU}'}}}}"
    )
    (tmp_path / "dev.yaml").write_text(f"metrics: {{sink: none}}\n{agents}")

    answer = Planner().process_query("Hello", "session-123")

    assert answer == {"response": "You said: Hello", "models": [HAIKU]}


def test_integration_with_the_orchestrator(
    local_aws: LocalAWS, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in local_aws.env().items():
        monkeypatch.setenv(name, value)
    local_aws.script(supply_chain_model)

    # ModelManager is automatically initialized
    orchestrator = SupplyChainOrchestrator()

    # All agents will use ModelManager for model invocations
    result = orchestrator.process_query(
        query="Show me inventory levels", persona="warehouse_manager", session_id="session-123"
    )

    assert "Hamburg" in result["answer"]
    assert orchestrator.manager.get_usage_summary()["attempts"] == local_aws.requests() > 1
    orchestrator.close()


def test_monitoring_costs(model_manager: ModelManager) -> None:
    threshold, switched = 0.00001, False
    model_manager.invoke_model("sql_agent", [{"role": "user", "content": [{"text": "Hello"}]}])

    summary = model_manager.get_usage_summary()
    if summary["total_cost_usd"] > threshold:
        # Consider switching to cheaper models
        switched = True

    assert switched


@pytest.mark.parametrize(
    ("method", "signature"),
    [
        ("__init__", ["self", "config", "region=None"]),
        ("get_model_for_agent", ["self", "agent_name"]),
        ("get_fallback_model", ["self", "primary_model_id"]),
        ("get_model_config", ["self", "model_id"]),
        (
            "validate_model_compatibility",
            ["self", "model_id", "requires_tools=False", "requires_streaming=False"],
        ),
        (
            "invoke_model",
            [
                "self",
                "agent_name",
                "messages",
                "system_prompt=''",
                "tools=None",
                "max_tokens=None",
                "temperature=None",
                "use_fallback=True",
            ],
        ),
        ("flush_metrics", ["self", "timeout=None"]),
        ("get_usage_summary", ["self"]),
        ("list_available_models", ["self"]),
    ],
)
def test_the_api_has_the_guides_signatures(method: str, signature: list[str]) -> None:
    parameters = inspect.signature(getattr(ModelManager, method)).parameters.values()

    positional = [
        p.name if p.default is p.empty else f"{p.name}={p.default!r}"
        for p in parameters
        if p.kind is p.POSITIONAL_OR_KEYWORD
    ]
    assert positional == signature
