"""Removes or changes the fields of a Converse request that the model does not accept."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from langchain_modelmgr.catalog.shipped import known_beta_flags, known_request_fields
from langchain_modelmgr.runtime.masking import mask_account_ids
from langchain_modelmgr.runtime.rate_limited_log import RateLimitedLog

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from langchain_modelmgr.catalog import ModelConfig

    Note = Callable[[str], None]

logger = logging.getLogger(__name__)
_quiet = RateLimitedLog(logger)

_ON_THE_WIRE = {"temperature": "temperature", "top_p": "topP", "stop_sequences": "stopSequences"}
_FIELDS = "additionalModelRequestFields"
_INFERENCE = "inferenceConfig"

THINKING = "thinking"
"""The request field that turns Claude's thinking on, as Anthropic names it."""

REASONING_CONFIG = "reasoning_config"
"""AWS's name for the same field."""

THINKING_FIELDS = (THINKING, REASONING_CONFIG)
"""Both names of the field that turns thinking on."""

_LEAST_BUDGET = 1_024
_LEAST_TOP_P = 0.95
"""Anthropic's limits for requests with thinking. Source: "Extended thinking", read 2026-11-26."""

_INTERLEAVED = "interleaved-thinking-2025-05-14"
"""With this flag the thinking budget may be above ``max_tokens``. Source: as above."""


def fit_fields(formed: dict[str, Any], model: ModelConfig, note: Note) -> None:
    """Remove or change the fields that ``model`` refuses.

    Args:
        formed: A Converse request, changed in place; nested values are replaced, not modified.
        model: A model of the catalog.
        note: Called with a description of each kind of change.
    """
    inference = dict(formed.get(_INFERENCE) or {})
    fields = formed.get(_FIELDS)
    fields = dict(fields) if isinstance(fields, Mapping) else {}
    if fields:
        _drop_foreign(fields, model, note)
        _fit_flags(fields, model, note)
        _fit_effort(fields, model, note)
        _fit_thinking(fields, inference, model, note)
    _drop_refused(inference, model, note)
    _fit_stops(inference, model, note)
    for name, section in ((_INFERENCE, inference), (_FIELDS, fields)):
        if section:
            formed[name] = section
        elif formed.get(name):
            del formed[name]
    _fit_tier(formed, model, note)


def _drop(section: dict[str, Any], name: str, why: str, note: Note) -> None:
    if section.pop(_ON_THE_WIRE.get(name, name), None) is not None:
        note(f"{name} not sent: {why}")


def _drop_foreign(fields: dict[str, Any], model: ModelConfig, note: Note) -> None:
    """Remove the fields that the model does not have and that other models are known to have."""
    taken = model.request_fields
    if taken is None:
        return
    for name in [n for n in fields if n not in taken and n in known_request_fields()]:
        _drop(fields, name, "the model does not accept it", note)


def _fit_flags(fields: dict[str, Any], model: ModelConfig, note: Note) -> None:
    flags = fields.get("anthropic_beta")
    if model.beta_flags is None or not isinstance(flags, list | tuple):
        return
    known = known_beta_flags() if model.beta_flags else flags
    unknown = [flag for flag in flags if flag not in known]
    kept = [flag for flag in flags if flag in model.beta_flags or flag in unknown]
    if unknown:
        _quiet.warning(
            "anthropic_beta %s: unknown whether %s accepts it; sent unchanged",
            ", ".join(map(str, unknown)),
            mask_account_ids(model.model_id),
        )
    for flag in flags:
        if flag not in kept:
            note(f"anthropic_beta {flag} not sent: the model does not accept it")
    if kept:
        fields["anthropic_beta"] = kept
    else:
        del fields["anthropic_beta"]


def _fit_effort(fields: dict[str, Any], model: ModelConfig, note: Note) -> None:
    config = fields.get("output_config")
    if model.reasoning_efforts is None or not isinstance(config, Mapping) or "effort" not in config:
        return
    if config["effort"] not in model.reasoning_efforts:
        note("output_config.effort not sent: the model does not accept it")
        rest = {key: value for key, value in config.items() if key != "effort"}
        fields["output_config"] = rest
        if not rest:
            del fields["output_config"]


def takes_thinking(thinking: Mapping[str, Any], model: ModelConfig) -> bool:
    """Return whether the model accepts this value of ``thinking``, unchanged or adapted."""
    types, kind = model.thinking_types, thinking.get("type")
    return types is None or kind in types or (kind == "enabled" and "adaptive" in types)


def _fit_thinking(
    fields: dict[str, Any], inference: dict[str, Any], model: ModelConfig, note: Note
) -> None:
    name = next((name for name in THINKING_FIELDS if isinstance(fields.get(name), Mapping)), None)
    if name is None:
        return
    thinking, types = fields[name], model.thinking_types
    if not takes_thinking(thinking, model):
        _drop(fields, name, "the model does not accept it", note)
        return
    if types is not None and thinking.get("type") not in types:
        note(f"{name} sent as adaptive: the model accepts no budget")
        thinking = {key: value for key, value in thinking.items() if key != "budget_tokens"}
        fields[name] = thinking = {**thinking, "type": "adaptive"}
    if thinking.get("type") == "disabled" or not _fit_budget(name, fields, inference, note):
        return
    if inference.get("temperature", 1) != 1:
        _drop(inference, "temperature", "the model thinks", note)
    if inference.get("topP", 1) < _LEAST_TOP_P:
        _drop(inference, "top_p", "the model thinks", note)
    _drop(fields, "top_k", "the model thinks", note)


def _fit_budget(
    name: str, fields: dict[str, Any], inference: Mapping[str, Any], note: Note
) -> bool:
    """Lower the thinking budget below ``max_tokens``; return False if thinking was removed."""
    budget, most = fields[name].get("budget_tokens"), inference.get("maxTokens")
    interleaved = _INTERLEAVED in fields.get("anthropic_beta", ())
    if not isinstance(budget, int) or most is None or budget < most or interleaved:
        return True
    if most <= _LEAST_BUDGET:
        _drop(fields, name, f"max_tokens of {most} leaves no room for it", note)
        return False
    note(f"thinking budget lowered to {most - 1}: it must be below max_tokens")
    fields[name] = {**fields[name], "budget_tokens": most - 1}
    return True


def _drop_refused(inference: dict[str, Any], model: ModelConfig, note: Note) -> None:
    for name in model.refused_parameters or ():  # null in the YAML
        _drop(inference, name, "the model refuses it", note)
    preferred, *others = model.exclusive_parameters or ("",)
    if _ON_THE_WIRE.get(preferred) in inference:
        for name in others:
            _drop(inference, name, f"the model does not accept it with {preferred}", note)


def _fit_stops(inference: dict[str, Any], model: ModelConfig, note: Note) -> None:
    stops: Collection[str] = inference.get("stopSequences") or ()
    kept = list(stops)
    if model.supports_blank_stop_sequences is False:
        kept = [stop for stop in kept if not isinstance(stop, str) or stop.strip()]
        if len(kept) < len(stops):
            note("blank stop_sequences not sent: the model refuses them")
    longest = model.max_stop_sequence_length
    if longest is not None and any(len(stop) > longest for stop in kept):
        note(f"stop_sequences over {longest} characters not sent: the model refuses them")
        kept = [stop for stop in kept if len(stop) <= longest]
    if len(kept) == len(stops):
        return
    if kept:
        inference["stopSequences"] = kept
    else:
        del inference["stopSequences"]


def _fit_tier(formed: dict[str, Any], model: ModelConfig, note: Note) -> None:
    tier = (formed.get("serviceTier") or {}).get("type")
    if tier is None or model.accepted_service_tiers is None:
        return
    if tier not in model.accepted_service_tiers:
        del formed["serviceTier"]
        note(f"service_tier {tier} not sent: the model does not support it")
