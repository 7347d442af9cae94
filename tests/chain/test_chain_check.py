"""Every chain is held against its agent before an outage does it."""

from __future__ import annotations

import datetime as dt
import re
from typing import TYPE_CHECKING

import pytest

from langchain_modelmgr import ConfigurationManager, ModelManager
from langchain_modelmgr.chain.builder import Overrides
from langchain_modelmgr.chain.check import checks_of
from langchain_modelmgr.metrics import MemorySink
from tests.models import HAIKU, SONNET, TITAN

if TYPE_CHECKING:
    from pathlib import Path

    from langchain_modelmgr.chain.check import CandidateCheck
    from langchain_modelmgr.local import LocalAWS
    from tests.agents import Configure


SONNET_4 = "us.anthropic.claude-sonnet-4-20250514-v1:0"
SONNET_45 = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
SONNET_46 = "us.anthropic.claude-sonnet-4-6"
HAIKU_45 = "us.anthropic.claude-haiku-4-5-20251001-v1:0"
ARN = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc"


def _on(
    manager: ModelManager, agent: str, day: str, *, served: bool = False
) -> list[CandidateCheck]:
    chain = manager.chains.chain(agent, Overrides())
    today = dt.date.fromisoformat(day)
    given = manager.config.agent(agent)
    text = checks_of(agent, given, chain.candidates, manager.catalog, today, lambda: served)
    return list(text)


def test_each_model_of_each_enabled_chain_is_reported(configured: Configure) -> None:
    config = configured(
        f"a: {{model: {SONNET_45}}}\n"
        f"b: {{model: {HAIKU_45}, fallbacks: ['{TITAN}'], requires: [streaming]}}\n"
        "off: {model: x.y, enabled: false}"
    )

    manager = ModelManager(config, sinks=[])
    members = [*_on(manager, "a", "2026-11-27"), *_on(manager, "b", "2026-11-27", served=True)]

    assert len(manager.check_chains()) == len(members)
    assert [(m.agent_name, m.model_id, m.position) for m in members] == [
        ("a", SONNET_45, 0),
        ("a", HAIKU_45, 1),
        ("b", HAIKU_45, 0),
        ("b", TITAN, 1),
    ]
    titan = members[-1]
    assert titan.ok
    assert titan.answered is None
    assert "does not support tools, which the agent's primary model does" in titan.warnings
    assert "does not support a forced tool choice, which the agent's primary model does" in (
        titan.warnings
    )
    assert (
        "its context window of 32,000 tokens is smaller than the primary's 200,000"
        in titan.warnings
    )
    assert members[2].warnings == ()


def test_parameters_that_a_model_does_not_get_are_reported(configured: Configure) -> None:
    config = configured(f"""
    a:
      model: {SONNET_45}
      max_tokens: 2000
      temperature: 0.2
      fallbacks: [us.amazon.nova-pro-v1:0, openai.gpt-oss-120b-1:0]
      parameters:
        stop_sequences: ["\\nObservation"]
        service_tier: priority
        additional_model_request_fields: {{thinking: {{type: enabled, budget_tokens: 4000}}}}
    """)

    claude, nova, gpt = ModelManager(config, sinks=[]).check_chains()

    assert "thinking budget lowered to 1999: it must be below max_tokens" in claude.warnings
    assert "temperature not sent: the model thinks" in claude.warnings
    assert "service_tier priority not sent: the model does not support it" in claude.warnings
    assert "thinking not sent: the model does not accept it" in nova.warnings
    assert "stop_sequences not sent: the model refuses it" in gpt.warnings
    assert "does not support video, which the agent's primary model does" not in nova.warnings
    assert all(member.ok for member in (claude, nova, gpt))


def test_content_that_only_the_primary_can_read_is_reported(configured: Configure) -> None:
    config = configured(f"a: {{model: us.amazon.nova-pro-v1:0, fallbacks: ['{SONNET_45}']}}")

    _, claude = ModelManager(config, sinks=[]).check_chains()

    assert "does not support video, which the agent's primary model does" in claude.warnings
    assert "does not support sources in Amazon S3, which the agent's primary model does" in (
        claude.warnings
    )


def test_the_end_of_a_models_life_is_reported_in_time(configured: Configure) -> None:
    manager = ModelManager(configured(f"a: {{model: {SONNET_4}, fallbacks: []}}"), sinks=[])

    (before,) = _on(manager, "a", "2026-10-01")
    (after,) = _on(manager, "a", "2026-10-14")
    (here,) = _on(manager, "a", "2026-10-14", served=True)

    source = r"\(LiteLLM \S+ model_prices_and_context_window.json, checked 2026-11-26\)"
    successor = "; its successor: us.anthropic.claude-sonnet-5-5"
    legacy = rf"legacy: retires on 2026-10-14, in 13 days {source}{successor}"
    retired = rf"retired on 2026-10-14 {source}{successor}"
    assert before.ok
    assert re.fullmatch(legacy, before.warnings[-1])
    assert not after.ok
    assert re.fullmatch(retired, after.problems[0])
    assert here.ok
    assert re.fullmatch(retired, here.warnings[-1])


@pytest.mark.parametrize(
    ("model", "text"),
    [
        (HAIKU, 'retired (AWS, "Model lifecycle", as awslabs/startups#131 quotes it on 2026-07-17'),
        ("anthropic.claude-3-7-sonnet-20250219-v1:0", "retired on 2026-04-28 (AWS, "),
        ("anthropic.claude-3-haiku-20240307-v1:0", "retired on 2026-09-10 (AWS, "),
        ("ai21.jamba-1-5-mini-v1:0", "retired on 2026-11-26 (LiteLLM "),
    ],
)
def test_a_model_past_its_end_is_a_problem(configured: Configure, model: str, text: str) -> None:
    manager = ModelManager(configured(f"a: {{model: '{model}', fallbacks: []}}"), sinks=[])

    (member,) = _on(manager, "a", "2026-11-27")

    assert member.problems[0].startswith(text)


def test_the_local_aws_serves_what_is_past_its_end(configured: Configure) -> None:
    manager = ModelManager(configured(f"a: {{model: '{SONNET}', fallbacks: []}}"), sinks=[])

    (member,) = manager.check_chains()

    assert member.ok
    assert any(w.startswith("retired on 2026-07-30") for w in member.warnings)


def test_elsewhere_a_file_can_say_that_it_knows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL")  # AWS itself; no request is sent
    agents = f"aws: {{region: us-east-1}}\nagents: {{a: {{model: '{SONNET}', fallbacks: []}}}}\n"
    (tmp_path / "plain.yaml").write_text(agents)
    (tmp_path / "knows.yaml").write_text(f"retired_models: warning\n{agents}")

    plain, knows = (
        ModelManager(ConfigurationManager(name, tmp_path), sinks=[]).check_chains()[0]
        for name in ("plain", "knows")
    )

    assert (plain.ok, knows.ok) == (False, True)
    assert any(w.startswith("retired on 2026-07-30") for w in knows.warnings)


def test_a_model_without_a_region_is_checked_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    (tmp_path / "dev.yaml").write_text(f"agents: {{a: {{model: '{SONNET}', fallbacks: []}}}}")

    (member,) = ModelManager(ConfigurationManager("dev", tmp_path), sinks=[]).check_chains()

    assert not member.ok


@pytest.mark.parametrize(
    ("own", "text"),
    [
        ("lifecycle: active", ()),
        ("retirement_date: 2030-01-01", ("legacy: retires on 2030-01-01, in 1131 days (models:",)),
        ("lifecycle: legacy", ("legacy: its end is announced (models: in the configuration)",)),
    ],
)
def test_the_life_cycle_under_models_wins(
    configured: Configure, own: str, text: tuple[str, ...]
) -> None:
    config = configured(
        f"a: {{model: '{HAIKU}', fallbacks: []}}", f"models: {{'{HAIKU}': {{{own}}}}}"
    )

    (member,) = _on(ModelManager(config, sinks=[]), "a", "2026-11-27")

    assert member.ok
    life = [w for w in member.warnings if w.startswith(("legacy", "retired"))]
    assert len(life) == len(text)
    assert all(w.startswith(t) for w, t in zip(life, text, strict=True))


def test_a_life_that_no_list_has_is_unknown(configured: Configure) -> None:
    manager = ModelManager(
        configured("a: {model: 'mistral.mistral-large-2402-v1:0', fallbacks: []}"), sinks=[]
    )

    (member,) = _on(manager, "a", "2026-11-27")

    assert "its lifecycle is unknown: no list has it" in member.warnings


def test_an_old_catalog_says_so_once_an_agent(configured: Configure) -> None:
    manager = ModelManager(
        configured(f"a: {{model: {HAIKU_45}, fallbacks: [{SONNET_46}]}}"), sinks=[]
    )

    fresh = _on(manager, "a", "2027-01-25")
    old = _on(manager, "a", "2027-01-26")

    assert [m.warnings for m in fresh] == [(), ()]
    assert old[0].warnings[0].startswith("the catalog is of 2026-11-26, 61 days old: prices and")
    assert old[1].warnings == ()


def test_unknown_facts_are_warnings(configured: Configure) -> None:
    config = configured(
        f"a: {{model: '{HAIKU}', fallbacks: ['{ARN}', acme.unheard-of]}}\n"
        f"b: {{model: ca.amazon.nova-lite-v1:0, requires: [images]}}\n"
        f"c: {{model: '{SONNET}', requires: [structured_output], fallbacks: []}}"
    )

    haiku, hidden, unheard, nova, sonnet = ModelManager(config, sinks=[]).check_chains()

    assert any(w.startswith("its price is disputed: the design guide's") for w in haiku.warnings)
    assert any(w.startswith("retired") for w in haiku.warnings)
    assert hidden.model_id == ARN.replace("123456789012", "*" * 12)
    assert any("or set base_model" in w for w in hidden.warnings)
    assert "not in the catalog: its capabilities are unknown and assumed" in unheard.warnings
    assert any("its price is disputed: genai-prices has one price" in w for w in nova.warnings)
    assert sonnet.problems == ("Model does not support structured output",)


def test_live_each_model_gets_a_request_for_one_token_that_is_recorded(
    configured: Configure, local_aws: LocalAWS, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", local_aws.url)
    local_aws.inference_profile(ARN, HAIKU_45.removeprefix("us."))
    thinking = "{additional_model_request_fields: {thinking: {type: enabled, budget_tokens: 1024}}}"
    config = configured(
        f"a: {{model: '{SONNET}', fallbacks: ['{HAIKU}', '{ARN}'], parameters: {thinking}}}"
    )
    manager = ModelManager(config, sinks=[MemorySink()])
    local_aws.fail(HAIKU, "AccessDeniedException")

    sonnet, haiku, hidden = manager.check_chains(live=True)

    assert (sonnet.ok, sonnet.answered, haiku.ok, haiku.answered) == (True, True, False, False)
    assert sonnet.latency_ms is not None
    assert haiku.problems[0].startswith("BedrockPermissionDeniedError: AccessDeniedException")
    assert hidden.answered
    assert not any("or set base_model" in w for w in hidden.warnings)
    bodies = [c.body for c in local_aws.calls() if c.operation == "Converse"]
    assert [b["inferenceConfig"] for b in bodies] == [{"maxTokens": 1}] * 3
    summary = manager.get_usage_summary()
    assert (summary["total_invocations"], summary["attempts"]) == (3, 3)
    assert summary["total_cost_usd"] > 0
    (sink,) = manager.totals.sinks.sinks
    assert isinstance(sink, MemorySink)
    assert {record.tags for record in sink.records} == {("check_chains",)}


def test_prompt_caching_that_a_model_does_not_do_is_a_warning(configured: Configure) -> None:
    config = configured(
        """
        a:
          model: us.anthropic.claude-sonnet-4-5-20250929-v1:0
          prompt_caching: {ttl: 1h}
          fallbacks: ['us.amazon.nova-pro-v1:0', 'us.meta.llama3-3-70b-instruct-v1:0']
        """
    )
    with ModelManager(config) as manager:
        claude, nova, llama = manager.check_chains()

    assert not any("cache" in text for text in claude.warnings)
    assert "does not cache prompts for 1h: they are cached for 5m" in nova.warnings
    assert "has no prompt cache: prompt_caching has no effect" in llama.warnings
    assert llama.ok
