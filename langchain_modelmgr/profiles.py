"""What every model of a chain can do, in the words of LangChain's model profiles."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_modelmgr.catalog import ModelConfig


class ChainProfile(dict[str, Any]):
    """A profile made here, not given by a user: it is made anew when the chain changes."""


def chain_profile(models: Sequence[ModelConfig]) -> ChainProfile:
    """Merge the profiles of a chain: what each model can, and the least of their limits.

    Args:
        models: The chain's models. An unknown ability counts as missing, since create_agent
            builds on what a profile promises; an unknown limit is left out.
    """
    profile = ChainProfile(
        tool_calling=all(m.supports_tools for m in models),
        tool_choice=all("any" in (m.tool_choices or ()) for m in models),
        structured_output=all(m.supports_structured_output for m in models),
        image_inputs=all(m.supports_images for m in models),
        pdf_inputs=all(m.supports_documents for m in models),
        video_inputs=all(m.supports_video for m in models),
        audio_inputs=all(m.supports_audio for m in models),
        text_inputs=True,
        text_outputs=True,
    )
    for key, limits in (
        ("max_input_tokens", [m.context_window for m in models]),
        ("max_output_tokens", [m.max_tokens for m in models]),
    ):
        if known := [limit for limit in limits if limit is not None]:
            profile[key] = min(known)
    return profile
