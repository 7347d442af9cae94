"""Builds a LangChain model profile of what every model of a chain can do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_modelmgr.catalog import split_prefix
from langchain_modelmgr.catalog.shipped import installed_profiles

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from langchain_modelmgr.catalog import ModelConfig

_NOT_IN_CONVERSE = frozenset({"mid_conversation_system_messages", "mid_conversation_tools"})
"""Capabilities that exist only in other APIs: Converse moves every system message to the front,
and ChatBedrockConverse omits these keys (langchain-aws 1.9.1)."""


class ChainProfile(dict[str, Any]):
    """A profile built by this module, not passed by a user: it is rebuilt if the chain changes."""


def chain_profile(models: Sequence[ModelConfig]) -> ChainProfile:
    """Return the common profile of a chain: the shared capabilities and the smallest limits.

    It has the keys of ``ChatBedrockConverse.profile`` for the chain's first model. Names and dates
    are that model's.

    Args:
        models: The chain's models. An unknown capability counts as missing, because create_agent
            relies on the profile; an unknown limit is ignored.
    """
    first, *others = (_profile_of(model) for model in models)
    return ChainProfile({key: _merged(value, key, others) for key, value in first.items()})


def _merged(value: Any, key: str, others: Sequence[Mapping[str, Any]]) -> Any:
    others_values = [other.get(key) for other in others]
    if key == "open_weights" or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return value and all(others_values)
    if isinstance(value, list):
        return [item for item in value if all(item in (also or ()) for also in others_values)]
    return min([value, *(limit for limit in others_values if limit is not None)])


def _profile_of(model: ModelConfig) -> dict[str, Any]:
    """Return langchain-aws's profile of a model, overridden by the catalog's facts."""
    profiles = installed_profiles()
    base = model.base_model_id or split_prefix(model.model_id)[1]
    listed = profiles.get(model.model_id) or profiles.get(base) or {}
    known = {
        "name": listed.get("name") or model.name,
        "max_input_tokens": model.context_window,
        "max_output_tokens": model.max_tokens,
        "reasoning_effort_levels": list(model.reasoning_efforts or ()) or None,
    }
    return {
        **{key: value for key, value in listed.items() if key not in _NOT_IN_CONVERSE},
        **{key: value for key, value in known.items() if value is not None},
        **_abilities_of(model),
    }


def _abilities_of(model: ModelConfig) -> dict[str, bool]:
    media = (model.supports_images, model.supports_video, model.supports_audio)
    return {
        "tool_calling": bool(model.supports_tools),
        "tool_choice": "any" in (model.tool_choices or ()),
        "structured_output": bool(model.supports_structured_output),
        "reasoning_output": bool(model.supports_reasoning),
        "image_inputs": bool(model.supports_images),
        "pdf_inputs": bool(model.supports_documents),
        "video_inputs": bool(model.supports_video),
        "audio_inputs": bool(model.supports_audio),
        "attachment": any(media) or bool(model.supports_documents),
        "temperature": "temperature" not in model.refused_parameters,
        "text_inputs": True,
        "text_outputs": True,
        "image_outputs": False,
        "audio_outputs": False,
        "video_outputs": False,
    }
