"""Files that are too deep, too long or too large to be meant, and a place for anchors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from langchain_modelmgr import ConfigurationError, ConfigurationManager
from tests.models import HAIKU, SONNET

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def read(tmp_path: Path) -> Any:
    def make(text: str) -> ConfigurationManager:
        (tmp_path / "dev.yaml").write_text(text)
        return ConfigurationManager("dev", tmp_path)

    return make


@pytest.mark.parametrize(
    "deep",
    [
        "[" * 2_000 + "]" * 2_000,
        "[" * 2_000,
        "{a: " * 2_000 + "}" * 2_000,
        "\n" + "\n".join("  " * n + "a:" for n in range(1, 400)),
        "- " * 2_000,
        "[" * 70 + "]" * 70,
    ],
)
def test_excessive_nesting_is_a_mistake_of_the_file(read: Any, deep: str) -> None:
    with pytest.raises(ConfigurationError, match=r"dev\.yaml:\d+: .*(too deep|bad YAML)") as caught:
        read(f"agents: {deep}")

    assert len(str(caught.value)) < 500


def test_reasonable_nesting_is_read(read: Any) -> None:
    deep = "{a: " * 50 + "1" + "}" * 50
    fields = f"parameters: {{additional_model_request_fields: {deep}}}"

    assert read(f"agents: {{a: {{model: '{SONNET}', {fields}}}}}").agent_names == ("a",)


NUMBERS = ["9" * 5_000, "-" + "9" * 5_000, "0x" + "f" * 5_000, "9" * 20, "9" * 4_400]


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize(
    "line",
    ["max_tokens: %", "parameters: {additional_model_request_fields: {top_k: %}}", "x: [%]"],
)
def test_a_number_beyond_64_bits_is_a_mistake_of_the_file(
    read: Any, line: str, number: str
) -> None:
    with pytest.raises(ConfigurationError, match="a whole number must fit in 64 bits") as caught:
        read(f"agents:\n  a:\n    model: {SONNET}\n    {line.replace('%', number)}\n")

    assert "dev.yaml:4" in str(caught.value)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("number", NUMBERS)
def test_a_value_from_the_environment_too(
    read: Any, monkeypatch: pytest.MonkeyPatch, number: str
) -> None:
    monkeypatch.setenv("NUMBER", number)

    with pytest.raises(ConfigurationError, match=r"agents\.a\.max_tokens: a whole number must fit"):
        read(f"agents:\n  a:\n    model: {SONNET}\n    max_tokens: ${{NUMBER}}\n")


@pytest.mark.parametrize("number", [".inf", ".nan", "1.0e+999"])
@pytest.mark.parametrize(
    "line",
    [
        f"models: {{'{SONNET}': {{cost_per_1k_input_tokens: %}}}}",
        f"models: {{'{SONNET}': {{price_multiplier: %}}}}",
    ],
)
def test_a_price_is_a_finite_number(read: Any, line: str, number: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read(f"{line.replace('%', number)}\nagents: {{a: {{model: '{SONNET}'}}}}")

    assert "dev.yaml:1" in str(caught.value)
    assert "must be a finite number" in str(caught.value)


def test_no_agent_waits_for_ever(read: Any) -> None:
    for key in ("timeout_seconds", "deadline_seconds", "cooldown_seconds", "temperature"):
        with pytest.raises(ConfigurationError, match=f"agents.a.{key}: must be"):
            read(f"agents: {{a: {{model: '{SONNET}', {key}: .inf}}}}")


def test_keys_at_the_top_that_begin_with_x_are_a_place_for_anchors(
    read: Any, tmp_path: Path
) -> None:
    (tmp_path / "base.yaml").write_text("x-shared: &s {a: '${NOBODY}'}\nagents: {}")
    config = read(
        "x-cheap: &cheap\n"
        f"  model: {HAIKU}\n"
        "  timeout_seconds: 5\n"
        "x-unused: ${NOBODY_SETS_THIS}\n"
        "agents:\n"
        "  a: *cheap\n"
        "  b: {<<: *cheap, timeout_seconds: 6}\n"
    )

    assert config.agent("a") == config.agent("b").model_copy(update={"timeout_seconds": 5.0})
    with pytest.raises(ConfigurationError, match=r"agents\.x-cheap: no model"):
        read("agents: {x-cheap: {}}")
    with pytest.raises(ConfigurationError, match=r"aws\.x-y: unknown key"):
        read(f"aws: {{x-y: 1}}\nagents: {{a: {{model: '{SONNET}'}}}}")
