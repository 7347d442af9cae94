"""References to the environment: filled, or an error; never taken for what they are written as."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from langchain_modelmgr import ConfigurationError, ConfigurationManager
from tests.models import HAIKU, SONNET

if TYPE_CHECKING:
    from pathlib import Path

MALFORMED = "invalid reference to a variable"


@pytest.fixture
def read(tmp_path: Path) -> Any:
    def make(text: str) -> ConfigurationManager:
        (tmp_path / "dev.yaml").write_text(text)
        return ConfigurationManager("dev", tmp_path)

    return make


@pytest.mark.parametrize(
    ("text", "environment", "model"),
    [
        ("${A:-${B}}", {"A": SONNET}, SONNET),
        ("${A:-${B}}", {"B": HAIKU}, HAIKU),
        (f"${{A:-${{B:-{HAIKU}}}}}", {}, HAIKU),
        ("${A:-anthropic.${B:-claude-3-5-haiku}-20241022-v1:0}", {}, HAIKU),
        ("${A:-${B:-${C:-${D}}}}", {"D": HAIKU}, HAIKU),
        ("${A:-x${}", {"A": HAIKU}, None),
    ],
)
def test_a_default_may_contain_references(
    read: Any,
    monkeypatch: pytest.MonkeyPatch,
    text: str,
    environment: dict[str, str],
    model: str | None,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    yaml = f"agents: {{a: {{model: '{text}'}}}}"

    if model is None:
        with pytest.raises(ConfigurationError, match="invalid reference"):
            read(yaml)
    else:
        assert read(yaml).agent("a").model == model


def test_a_default_that_is_not_needed_needs_no_variables(
    read: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("A", SONNET)

    assert read("agents: {a: {model: '${A:-${NOBODY}}'}}").agent("a").model == SONNET
    with pytest.raises(ConfigurationError, match="the environment variable NOBODY is not set"):
        read("agents: {a: {model: '${B:-${NOBODY}}'}}")


MALFORMED_TEXTS = [
    "${MY-MODEL}",
    "${}",
    "${1A}",
    "${A",
    "${A:}",
    "${A-b}",
    "${A:-b",
    "${A.b}",
    "${ A }",
    "${A:-" * 2_000 + "}" * 2_000,
]


@pytest.mark.parametrize("text", MALFORMED_TEXTS)
@pytest.mark.parametrize(
    ("line", "path"),
    [
        ("model: '%'", "agents.a.model"),
        ("parameters: {stop_sequences: [x, '%']}", "agents.a.parameters.stop_sequences[1]"),
    ],
)
def test_an_incomplete_reference_is_an_error(read: Any, line: str, path: str, text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read(f"agents:\n  a:\n    {line.replace('%', text)}\n")

    assert f"dev.yaml:3: {path}: {MALFORMED}" in str(caught.value)


@pytest.mark.parametrize(
    ("yaml", "path"),
    [
        ("agents: {a: {model: $HOME}}", "agents.a.model: not a valid model id"),
        ("agents: {a: {model: anthropic.$NAME}}", "agents.a.model: not a valid model id"),
        (f"aws: {{region: $REGION}}\nagents: {{a: {{model: '{SONNET}'}}}}", "aws.region: must be"),
        (f"aws: {{endpoint_url: $URL}}\nagents: {{a: {{model: '{SONNET}'}}}}", "aws.endpoint_url:"),
        (f"project_prefix: $X y\nagents: {{a: {{model: '{SONNET}'}}}}", "project_prefix: must be"),
    ],
)
def test_a_shell_variable_gets_a_hint(read: Any, yaml: str, path: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read(yaml)

    assert path in str(caught.value)
    assert "write an environment variable as ${NAME}" in str(caught.value)


def test_a_dollar_in_a_text_of_ones_own_is_a_dollar(read: Any) -> None:
    config = read(
        f"agents: {{a: {{model: '{SONNET}', parameters: {{stop_sequences: ['US$5 $X']}}}}}}"
    )

    assert config.agent("a").parameters["stop_sequences"] == ["US$5 $X"]


@pytest.mark.parametrize("value", ["5", "1.5", "true", "0x10"])
@pytest.mark.parametrize(
    ("yaml", "path"),
    [
        ("agents:\n  a:\n    model: ${VALUE}\n", "agents.a.model"),
        ("agents:\n  a:\n    model: x.y\n    fallbacks:\n      - model: ${VALUE}\n",
         "agents.a.fallbacks[0].model"),
        ("agents:\n  a:\n    model: x.y\n    parameters:\n      stop_sequences:\n        - ${VALUE}\n",
         "agents.a.parameters.stop_sequences[0]"),
        ("aws:\n  profile: ${VALUE}\nagents: {a: {model: x.y}}", "aws.profile"),
        ("ledger: ${VALUE}\nagents: {a: {model: x.y}}", "ledger"),
        ("aws:\n  region: ${VALUE}\nagents: {a: {model: x.y}}", "aws.region"),
        ("project_prefix: ${VALUE}\nagents: {a: {model: x.y}}", "project_prefix"),
    ],
)  # fmt: skip
def test_a_number_from_the_environment_where_text_is_wanted_is_to_be_quoted(
    read: Any, monkeypatch: pytest.MonkeyPatch, yaml: str, path: str, value: str
) -> None:
    monkeypatch.setenv("VALUE", value)

    with pytest.raises(ConfigurationError) as caught:
        read(yaml)

    expected = f'{path}: must be text: put the reference in quotes, as "${{NAME}}"'
    assert expected in str(caught.value)
    assert value not in str(caught.value).partition(path)[2]
    assert read("project_prefix: '${VALUE}'\nagents: {a: {model: x.y}}").project_prefix == value


@pytest.mark.parametrize(
    ("given", "expected"),
    [("${VALUE}", ': put the reference in quotes, as "${NAME}"'), ("7", ": put it in quotes")],
)
def test_a_fallback_that_is_a_number_too(
    read: Any, monkeypatch: pytest.MonkeyPatch, given: str, expected: str
) -> None:
    monkeypatch.setenv("VALUE", "7")

    with pytest.raises(ConfigurationError) as caught:
        read(f"agents:\n  a:\n    model: x.y\n    fallbacks:\n      - {given}\n")

    assert f"agents.a.fallbacks[0]: must be a model id or a map{expected}" in str(caught.value)
