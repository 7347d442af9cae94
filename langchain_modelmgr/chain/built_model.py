"""Builds the ChatBedrockConverse that forms a candidate's requests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import ValidationError

from langchain_modelmgr.bedrock.unsendable import wrong_parameters
from langchain_modelmgr.chain.request import thinking_parameters
from langchain_modelmgr.errors import ConfigurationError
from langchain_modelmgr.runtime.masking import mask_account_ids

if TYPE_CHECKING:
    from collections.abc import Mapping

    from langchain_modelmgr.bedrock.clients import Clients
    from langchain_modelmgr.catalog import ModelConfig
    from langchain_modelmgr.chain.request import CandidateSettings

_UNRESOLVED = {
    "base_model_id": "unknown",
    "provider": "unknown",
    "disable_streaming": False,
    "supports_tool_choice_values": ("auto", "any", "tool"),
}
"""Arguments of ChatBedrockConverse for an unresolved ARN, which allow everything. Without them it
would call GetInferenceProfile again, and raise if that is denied (1.9.1)."""


def built_model(
    settings: CandidateSettings, clients: Clients, parameters: Mapping[str, Any]
) -> Any:
    """Return a ChatBedrockConverse of a model, without a request of its own to AWS.

    Args:
        settings: The candidate's settings.
        clients: The manager's clients.
        parameters: Parameters of ChatBedrockConverse.

    Raises:
        ConfigurationError: A parameter has a wrong value.
    """
    from langchain_aws import ChatBedrockConverse

    model = settings.model
    facts: dict[str, Any] = dict(_UNRESOLVED)
    if model.base_model_id is not None:
        facts = {"base_model_id": model.base_model_id}
    if model.provider is not None:
        facts["provider"] = model.provider
    streaming = _disable_streaming(model)
    if streaming is not None:
        facts["disable_streaming"] = streaming
    # Not set with thinking: langchain-aws knows which Claude models then can't be forced.
    if model.tool_choices is not None and not thinking_parameters(parameters, {}):
        facts["supports_tool_choice_values"] = model.tool_choices
    try:
        built = ChatBedrockConverse(
            model_id=model.model_id,
            client=clients.runtime(settings.region),
            bedrock_client=_Lazy(lambda: clients.control(settings.region)),
            **facts,
            **parameters,
        )
    except ValidationError as error:  # could not be checked when the file was read
        raise ConfigurationError(
            f"{mask_account_ids(settings.model.model_id)}: {wrong_parameters(error)}"
        ) from None
    # langchain-aws 1.9.1 overwrites the argument for ARNs of application inference profiles,
    # and uses True for models that it did not verify; here, unknown models may stream.
    if streaming is not None or built.disable_streaming is True:
        built.disable_streaming = streaming or False
    return built


def _disable_streaming(model: ModelConfig) -> bool | Literal["tool_calling"] | None:
    """Return LangChain's ``disable_streaming`` of a model; None leaves it to langchain-aws."""
    if model.supports_streaming is False:
        return True
    if model.supports_streaming_tools is None and not model.in_catalog:
        return None
    return "tool_calling" if model.supports_streaming_tools is False else False


class _Lazy:
    """Proxy of a client that is built on first access."""

    def __init__(self, build: Any) -> None:
        self._build = build

    def __getattr__(self, name: str) -> Any:
        return getattr(self._build(), name)
