"""Checks the fields of a request against the facts of its model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_modelmgr.local.facts import known_request_fields

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_MODEL_ERROR = "The model returned the following errors: "
_LEAST_BUDGET = 1_024
_LEAST_TOP_P = 0.95
_ON_THE_WIRE = {"top_p": "topP", "stop_sequences": "stopSequences"}
"""Anthropic's bounds. Source: "Extended thinking", read 2026-11-26."""


def field_violations(facts: Mapping[str, Any], body: Mapping[str, Any]) -> Iterator[str]:
    """Yield each error that a model with these facts raises for a request's fields."""
    inference = body.get("inferenceConfig") or {}
    fields = body.get("additionalModelRequestFields") or {}
    yield from _of_inference(facts, inference)
    yield from _of_fields(facts, fields)
    if thinking := fields.get("thinking") or fields.get("reasoning_config"):
        yield from _of_thinking(facts, thinking, inference, fields)
        yield from _of_thinking_in_messages(facts, thinking, body)
    tier = (body.get("serviceTier") or {}).get("type", "default")
    if tier not in facts.get("accepted_service_tiers", [tier]):
        yield f"This model doesn't support the service tier {tier}."


def _of_inference(facts: Mapping[str, Any], inference: Mapping[str, Any]) -> Iterator[str]:
    for name in facts.get("refused_parameters", ()):
        field = _ON_THE_WIRE.get(name, name)
        if field == "stopSequences" and inference.get(field):
            yield f"This model doesn't support the {field} field. Remove {field} and try again."
        elif field in inference:
            yield f"{_MODEL_ERROR}`{name}` is deprecated for this model."
    exclusive = facts.get("exclusive_parameters", ())
    if exclusive and all(_ON_THE_WIRE.get(name, name) in inference for name in exclusive):
        names = " and ".join(f"`{name}`" for name in exclusive)
        yield (
            f"{_MODEL_ERROR}{names} cannot both be specified for this model. Please use only one."
        )
    most = facts.get("max_tokens")
    if most is not None and inference.get("maxTokens", 0) > most:
        yield (
            f"The maximum tokens you requested exceeds the model limit of {most}. Try again with a "
            f"maximum tokens value that is lower than {most}."
        )
    longest = facts.get("max_stop_sequence_length")
    for index, stop in enumerate(inference.get("stopSequences") or ()):
        if longest is not None and len(stop) > longest:
            yield (
                f"The stop sequence you provided at index {index} is longer than the model limit "
                f"of {longest} characters"
            )
        if not stop.strip() and facts.get("supports_blank_stop_sequences") is False:
            yield f"{_MODEL_ERROR}stop_sequences: each stop sequence must contain non-whitespace"


def _of_fields(facts: Mapping[str, Any], fields: Mapping[str, Any]) -> Iterator[str]:
    taken = facts.get("request_fields")
    for name in fields:
        if taken is not None and name not in taken and name in known_request_fields():
            yield (
                f"Malformed input request: #: extraneous key [{name}] is not permitted, please "
                "reformat your input and try again."
            )
    flags = facts.get("beta_flags")
    if flags is not None and not set(fields.get("anthropic_beta") or ()) <= set(flags):
        yield f"{_MODEL_ERROR}invalid beta flag"


def _of_thinking(
    facts: Mapping[str, Any],
    thinking: Mapping[str, Any],
    inference: Mapping[str, Any],
    fields: Mapping[str, Any],
) -> Iterator[str]:
    kind, types = thinking.get("type"), facts.get("thinking_types")
    if types is not None and kind not in types:
        expected = ", ".join(f"'{name}'" for name in types)
        yield (
            f"{_MODEL_ERROR}thinking: Input tag '{kind}' found using 'type' does not match any of "
            f"the expected tags: {expected or 'none'}"
        )
    if kind == "disabled":
        return
    budget, most = thinking.get("budget_tokens"), inference.get("maxTokens")
    if budget is not None and budget < _LEAST_BUDGET:
        yield (
            f"{_MODEL_ERROR}thinking.enabled.budget_tokens: Input should be greater than or equal "
            f"to {_LEAST_BUDGET}"
        )
    if budget is not None and most is not None and most <= budget:
        yield f"{_MODEL_ERROR}`max_tokens` must be greater than `thinking.budget_tokens`."
    if inference.get("temperature", 1) != 1:
        yield f"{_MODEL_ERROR}`temperature` may only be set to 1 when thinking is enabled."
    if inference.get("topP", 1) < _LEAST_TOP_P:
        yield (
            f"{_MODEL_ERROR}`top_p` must be greater than or equal to {_LEAST_TOP_P} or unset when "
            "thinking is enabled."
        )
    if "top_k" in fields:
        yield f"{_MODEL_ERROR}`top_k` must be unset when thinking is enabled."


def _of_thinking_in_messages(
    facts: Mapping[str, Any], thinking: Mapping[str, Any], body: Mapping[str, Any]
) -> Iterator[str]:
    if thinking.get("type") == "disabled":
        return
    choice = body.get("toolConfig", {}).get("toolChoice", {})
    forced = "any" in choice or "tool" in choice
    if forced and facts.get("supports_forced_choice_while_thinking") is False:
        yield f"{_MODEL_ERROR}Thinking may not be enabled when tool_choice forces tool use."
    messages = body["messages"]
    answering = any("toolResult" in block for block in messages[-1]["content"])
    if answering and "reasoningContent" not in messages[-2]["content"][0]:
        yield (
            f"{_MODEL_ERROR}Expected `thinking` or `redacted_thinking`, but found `tool_use`. When "
            "`thinking` is enabled, a final `assistant` message must start with a thinking block."
        )
