"""Fields that a model rejects are removed or changed, and reported; others are sent."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Any

import pytest

from langchain_modelmgr.bedrock import request_fields
from langchain_modelmgr.bedrock.adaptation import fitted
from langchain_modelmgr.catalog import ModelCatalog
from langchain_modelmgr.runtime.rate_limited_log import RateLimitedLog

if TYPE_CHECKING:
    from tests.agents import Configure

SONNET_3 = "anthropic.claude-3-sonnet-20240229-v1:0"
SONNET_35 = "anthropic.claude-3-5-sonnet-20241022-v2:0"
SONNET_37 = "us.anthropic.claude-3-7-sonnet-20250219-v1:0"
SONNET_45 = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
HAIKU_45 = "us.anthropic.claude-haiku-4-5-20251001-v1:0"
OPUS_41 = "us.anthropic.claude-opus-4-1-20250805-v1:0"
OPUS_46 = "us.anthropic.claude-opus-4-6-v1"
OPUS_47 = "us.anthropic.claude-opus-4-7"
SONNET_5 = "us.anthropic.claude-sonnet-5"
NOVA = "us.amazon.nova-pro-v1:0"
LLAMA = "us.meta.llama3-3-70b-instruct-v1:0"
GPT_OSS = "openai.gpt-oss-120b-1:0"
QWEN = "qwen.qwen3-32b-v1:0"
R1 = "us.deepseek.r1-v1:0"
V3 = "deepseek.v3-v1:0"
CATALOG = ModelCatalog()
MESSAGES = [{"role": "user", "content": [{"text": "x"}]}]
ENABLED = {"type": "enabled", "budget_tokens": 2000}
ADAPTIVE = {"type": "adaptive"}
NO_THINKING = "thinking not sent: the model does not accept it"
NO_STOPS = "stop_sequences not sent: the model refuses it"
INTERLEAVED = "interleaved-thinking-2025-05-14"
MILLION = "context-1m-2025-08-07"
EFFORT = "effort-2025-11-24"
TOOL_SEARCH = "tool-search-tool-2025-10-19"


def _fit(model_id: str, **sections: Any) -> tuple[dict[str, Any], tuple[str, ...]]:
    params = {"messages": MESSAGES, **sections}
    before = deepcopy(params)
    formed, changes = fitted(params, CATALOG.resolve(model_id))
    assert params == before
    del formed["messages"]
    return formed, changes


@pytest.mark.parametrize(
    ("model_id", "given", "sent", "changes"),
    [
        (SONNET_35, ENABLED, None, (NO_THINKING,)),
        (NOVA, ENABLED, None, (NO_THINKING,)),
        (LLAMA, ADAPTIVE, None, (NO_THINKING,)),
        (GPT_OSS, ENABLED, None, (NO_THINKING,)),
        (SONNET_45, ENABLED, ENABLED, ()),
        (SONNET_45, ADAPTIVE, None, (NO_THINKING,)),
        (OPUS_46, ADAPTIVE, ADAPTIVE, ()),
        (OPUS_46, ENABLED, ENABLED, ()),
        (OPUS_47, ENABLED, ADAPTIVE, ("thinking sent as adaptive: the model accepts no budget",)),
        (OPUS_47, {"type": "disabled"}, None, (NO_THINKING,)),
        (SONNET_5, {"type": "disabled"}, {"type": "disabled"}, ()),
    ],
)
def test_thinking_is_sent_in_the_form_that_the_model_takes(
    model_id: str, given: Any, sent: Any, changes: tuple[str, ...]
) -> None:
    formed, report = _fit(model_id, additionalModelRequestFields={"thinking": given})

    assert formed.get("additionalModelRequestFields") == ({"thinking": sent} if sent else None)
    assert report == changes


@pytest.mark.parametrize(
    ("max_tokens", "flags", "budget", "changes"),
    [
        (4000, [], 2000, ()),
        (2000, [], 1999, ("thinking budget lowered to 1999: it must be below max_tokens",)),
        (1025, [], 1024, ("thinking budget lowered to 1024: it must be below max_tokens",)),
        (1024, [], None, ("thinking not sent: max_tokens of 1024 leaves no room for it",)),
        (1024, [INTERLEAVED], 2000, ()),  # then the budget spans several answers
    ],
)
def test_a_thinking_budget_stays_below_max_tokens(
    max_tokens: int, flags: list[str], budget: int | None, changes: tuple[str, ...]
) -> None:
    fields = {"thinking": ENABLED, **({"anthropic_beta": flags} if flags else {})}

    formed, report = _fit(
        SONNET_45,
        inferenceConfig={"maxTokens": max_tokens},
        additionalModelRequestFields=fields,
    )

    thinking = formed.get("additionalModelRequestFields", {}).get("thinking", {})
    assert thinking.get("budget_tokens") == budget
    assert report == changes


def test_sampling_that_thinking_excludes_is_left_out_while_the_model_thinks() -> None:
    config = {"temperature": 0.2, "topP": 0.5, "maxTokens": 9000}

    formed, changes = _fit(
        SONNET_37,
        inferenceConfig=config,
        additionalModelRequestFields={"thinking": ENABLED, "top_k": 5},
    )
    kept, nothing = _fit(
        SONNET_37,
        inferenceConfig={"temperature": 1, "topP": 0.95, "maxTokens": 9000},
        additionalModelRequestFields={"thinking": ENABLED},
    )
    off, _ = _fit(
        SONNET_37,
        inferenceConfig=config,
        additionalModelRequestFields={"thinking": {"type": "disabled"}, "top_k": 5},
    )

    assert formed["inferenceConfig"] == {"maxTokens": 9000}
    assert formed["additionalModelRequestFields"] == {"thinking": ENABLED}
    assert changes == tuple(
        f"{name} not sent: the model thinks" for name in ("temperature", "top_p", "top_k")
    )
    assert (kept["inferenceConfig"]["topP"], nothing) == (0.95, ())
    assert off["inferenceConfig"] == config


@pytest.mark.parametrize("model_id", [HAIKU_45, SONNET_45, OPUS_41, OPUS_46])
def test_of_two_parameters_that_exclude_each_other_the_temperature_is_sent(model_id: str) -> None:
    both, changes = _fit(model_id, inferenceConfig={"temperature": 0.2, "topP": 0.5})
    one, nothing = _fit(model_id, inferenceConfig={"topP": 0.5})

    assert both["inferenceConfig"] == {"temperature": 0.2}
    assert changes == ("top_p not sent: the model does not accept it with temperature",)
    assert (one["inferenceConfig"], nothing) == ({"topP": 0.5}, ())
    assert _fit(SONNET_37, inferenceConfig={"temperature": 0.2, "topP": 0.5})[1] == ()


def test_parameters_that_a_model_refuses_are_not_sent() -> None:
    config = {"temperature": 0.1, "topP": 0.5, "maxTokens": 9}

    formed, changes = _fit("anthropic.claude-opus-5", inferenceConfig=config)
    without, _ = _fit("anthropic.claude-opus-5", inferenceConfig={"temperature": 0.1})

    assert formed["inferenceConfig"] == {"maxTokens": 9}
    assert changes == (
        "temperature not sent: the model refuses it",
        "top_p not sent: the model refuses it",
    )
    assert "inferenceConfig" not in without


@pytest.mark.parametrize(
    ("model_id", "stops", "sent", "changes"),
    [
        (GPT_OSS, ["\nObservation"], None, (NO_STOPS,)),
        (QWEN, ["x"], None, (NO_STOPS,)),
        (V3, ["x"], None, (NO_STOPS,)),
        (NOVA, ["\nObservation"], ["\nObservation"], ()),
        (
            R1,
            ["Observation", "Human:"],
            ["Human:"],
            ("stop_sequences over 10 characters not sent: the model refuses them",),
        ),
        (
            SONNET_45,
            ["\n", "\nObservation"],
            ["\nObservation"],
            ("blank stop_sequences not sent: the model refuses them",),
        ),
        (
            SONNET_45,
            ["\n\n"],
            None,
            ("blank stop_sequences not sent: the model refuses them",),
        ),
        (NOVA, ["\n\n"], ["\n\n"], ()),
    ],
)
def test_stop_sequences_are_sent_as_far_as_the_model_takes_them(
    model_id: str, stops: list[str], sent: Any, changes: tuple[str, ...]
) -> None:
    formed, report = _fit(model_id, inferenceConfig={"stopSequences": stops})

    assert formed.get("inferenceConfig", {}).get("stopSequences") == sent
    assert report == changes


@pytest.mark.parametrize(
    ("model_id", "flags", "sent"),
    [
        (SONNET_45, [INTERLEAVED, MILLION], [INTERLEAVED, MILLION]),
        (HAIKU_45, [INTERLEAVED, MILLION], [INTERLEAVED]),
        (OPUS_47, [INTERLEAVED, MILLION], [INTERLEAVED]),
        (SONNET_35, [INTERLEAVED], None),
        (SONNET_45, [EFFORT, INTERLEAVED], [INTERLEAVED]),
        (OPUS_47, [TOOL_SEARCH, "claude-code-20250219"], None),
        (OPUS_46, [EFFORT], [EFFORT]),  # unknown: it stays
        (SONNET_5, ["some-later-flag"], ["some-later-flag"]),  # unknown: it stays
    ],
)
def test_beta_flags_are_sent_to_the_models_that_take_them(
    model_id: str, flags: list[str], sent: Any
) -> None:
    formed, report = _fit(model_id, additionalModelRequestFields={"anthropic_beta": flags})

    assert formed.get("additionalModelRequestFields", {}).get("anthropic_beta") == sent
    left_out = [flag for flag in flags if flag not in (sent or ())]
    assert report == tuple(
        f"anthropic_beta {flag} not sent: the model does not accept it" for flag in left_out
    )


def test_a_beta_flag_that_no_model_is_known_to_take_is_sent_with_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(request_fields, "_quiet", RateLimitedLog(request_fields.logger))
    fields = {"anthropic_beta": ["some-later-flag", MILLION]}

    formed, report = _fit(HAIKU_45, additionalModelRequestFields=fields)
    again, _ = _fit(HAIKU_45, additionalModelRequestFields=fields)
    none, _ = _fit(SONNET_3, additionalModelRequestFields=fields)

    assert formed["additionalModelRequestFields"] == {"anthropic_beta": ["some-later-flag"]}
    assert again == formed
    assert report == (f"anthropic_beta {MILLION} not sent: the model does not accept it",)
    assert none == {}  # one that takes no flag at all gets none
    (warned,) = caplog.messages
    assert "some-later-flag" in warned
    assert HAIKU_45 in warned


@pytest.mark.parametrize(
    ("model_id", "tier", "sent"),
    [
        (NOVA, "flex", True),
        (SONNET_45, "flex", False),
        (SONNET_45, "reserved", True),
        (LLAMA, "priority", False),
        (LLAMA, "default", True),
        ("amazon.nova-lite-v1:0", "priority", True),  # unknown: it stays
    ],
)
def test_a_service_tier_is_requested_where_the_model_has_it(
    model_id: str, tier: str, sent: bool
) -> None:
    formed, report = _fit(model_id, serviceTier={"type": tier})

    assert ("serviceTier" in formed) == sent
    assert report == (
        () if sent else (f"service_tier {tier} not sent: the model does not support it",)
    )


def test_awss_name_for_thinking_is_thinking_too() -> None:
    fields = {"reasoning_config": ENABLED}

    formed, report = _fit(
        SONNET_37, inferenceConfig={"maxTokens": 1500}, additionalModelRequestFields=fields
    )

    assert formed["additionalModelRequestFields"]["reasoning_config"]["budget_tokens"] == 1499
    assert len(report) == 1
    for model_id in (NOVA, SONNET_35):
        assert _fit(model_id, additionalModelRequestFields=fields)[0] == {}


def test_an_effort_that_the_model_does_not_know_is_left_out() -> None:
    fields = {"thinking": ADAPTIVE, "output_config": {"effort": "xhigh"}}

    formed, report = _fit(OPUS_46, additionalModelRequestFields=fields)

    assert formed["additionalModelRequestFields"] == {"thinking": ADAPTIVE}
    assert report == ("output_config.effort not sent: the model does not accept it",)
    assert _fit(OPUS_47, additionalModelRequestFields=fields)[1] == ()


def test_the_yaml_corrects_what_the_catalog_says_a_model_refuses(configured: Configure) -> None:
    config = configured(
        f"a: {{model: '{SONNET_45}'}}",
        f"models: {{'{SONNET_45}': {{accepted_service_tiers: [default, flex], beta_flags: null, "
        "exclusive_parameters: null, refused_parameters: null}}",
    )
    request = {
        "messages": MESSAGES,
        "inferenceConfig": {"temperature": 0.2, "topP": 0.5},
        "additionalModelRequestFields": {"anthropic_beta": ["some-later-flag"]},
        "serviceTier": {"type": "flex"},
    }

    assert fitted(request, config.catalog.resolve(SONNET_45)) == (request, ())
