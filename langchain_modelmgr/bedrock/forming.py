"""Applies the last changes to a request that ChatBedrockConverse formed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from langchain_modelmgr.bedrock.adaptation import NOTHING, OriginalRequest, fitted
from langchain_modelmgr.bedrock.kept_names import with_own_names
from langchain_modelmgr.bedrock.names import with_accepted_names
from langchain_modelmgr.bedrock.tool_schemas import with_accepted_schemas

if TYPE_CHECKING:
    from langchain_modelmgr.bedrock.names import NameMap
    from langchain_modelmgr.catalog import ModelConfig


@dataclass(frozen=True, slots=True)
class Forming:
    """Facts about a request that the formed request does not show.

    Attributes:
        original: The caller's request.
        names_kept: True if ``with_kept_names`` changed names in the messages.
    """

    original: OriginalRequest = NOTHING
    names_kept: bool = False


def formed(
    params: dict[str, Any], model: ModelConfig, forming: Forming
) -> tuple[dict[str, Any], tuple[str, ...], NameMap | None]:
    """Return the request to send, what was changed, and the names to restore in its reply.

    Args:
        params: The request in Converse's shapes; the caller's messages in it are not modified.
        model: The model that receives the request.
        forming: Facts about the request.
    """
    if forming.names_kept:
        params["messages"] = with_own_names(params["messages"])
    params, adapted = fitted(params, model, forming.original)
    params, changes = with_accepted_schemas(params, model.tool_limits)
    params, names = with_accepted_names(params, model)
    return params, (*adapted, *changes, *(names.changes if names else ())), names


def for_converse(params: dict[str, Any]) -> dict[str, Any]:
    """Return a request without the guardrail's processing mode, which only ConverseStream has."""
    guardrail = params.get("guardrailConfig")
    if not isinstance(guardrail, dict) or "streamProcessingMode" not in guardrail:
        return params
    whole = {key: value for key, value in guardrail.items() if key != "streamProcessingMode"}
    return {**params, "guardrailConfig": whole}
