"""What is known of each model: ModelConfig, and the catalog that finds one for a model id."""

from __future__ import annotations

import functools
import importlib.util
import logging
from dataclasses import dataclass, fields
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langchain_modelmgr.privacy import mask_account_ids

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

logger = logging.getLogger(__name__)

PREFIXES = ("us", "eu", "apac", "jp", "au", "ca", "in", "us-gov", "global")
"""Geographies of inference-profile ids. Source: AWS, "Supported cross-Region inference
profiles", read 2026-11-23."""

SONNET = "anthropic.claude-3-5-sonnet-20241022-v2:0"
"""The guide's most balanced model: the fallback of every model that names none."""

_ARN_KINDS_THAT_NAME_A_MODEL = ("foundation-model", "inference-profile")


@dataclass(frozen=True, repr=False)
class ModelConfig:
    """What one model can do and what it costs; None: unknown.

    Attributes:
        model_id: The id as it was asked for, geography prefix and all.
        model_family: ``Claude``, ``Titan``, ``Llama``; the provider's name where none is known.
        max_tokens: Output tokens of one reply at most.
        temperature: The model's own default; informational, never sent.
        supports_tools: Takes tools.
        supports_streaming: Answers ConverseStream.
        cost_per_1k_input_tokens: USD per 1,000 input tokens.
        cost_per_1k_output_tokens: USD per 1,000 output tokens.
        cost_per_1k_cache_read_tokens: USD per 1,000 tokens read from the prompt cache.
        cost_per_1k_cache_write_5m_tokens: USD per 1,000 tokens cached for 5 minutes.
        cost_per_1k_cache_write_1h_tokens: USD per 1,000 tokens cached for 1 hour.
        base_model_id: The foundation model, without prefix; None for an ARN that hides it.
        provider: As langchain-aws names it: ``anthropic``, ``amazon``, ``meta``, ...
        context_window: Tokens of input and output together.
        tool_choices: Which of ``auto``, ``any`` and ``tool`` it takes.
        supports_streaming_tools: Takes tools in ConverseStream.
        supports_images: Takes images.
        supports_documents: Takes documents.
        supports_structured_output: Answers by a JSON schema natively (``outputConfig``).
        supports_system_prompt: Takes a system prompt.
        falls_back_to: Base model id of its one fallback by the family rule.
        in_catalog: False if neither the catalog nor the YAML's ``models:`` has it.
    """

    model_id: str
    model_family: str
    max_tokens: int | None
    temperature: float | None
    supports_tools: bool | None
    supports_streaming: bool | None
    cost_per_1k_input_tokens: float | None
    cost_per_1k_output_tokens: float | None
    cost_per_1k_cache_read_tokens: float | None = None
    cost_per_1k_cache_write_5m_tokens: float | None = None
    cost_per_1k_cache_write_1h_tokens: float | None = None
    base_model_id: str | None = None
    provider: str | None = None
    context_window: int | None = None
    tool_choices: tuple[str, ...] | None = None
    supports_streaming_tools: bool | None = None
    supports_images: bool | None = None
    supports_documents: bool | None = None
    supports_structured_output: bool | None = None
    supports_system_prompt: bool | None = None
    falls_back_to: str | None = None
    in_catalog: bool = True

    def __repr__(self) -> str:
        told = (f"{f.name}={getattr(self, f.name)!r}" for f in fields(self))
        return mask_account_ids(f"ModelConfig({', '.join(told)})")


FACTS = frozenset(f.name for f in fields(ModelConfig)) - {"model_id", "in_catalog"}
"""The fields that data and the YAML's ``models:`` may give."""


def split_prefix(model_id: str) -> tuple[str | None, str]:
    """Return the geography prefix of a model id, or None, and what follows it.

    >>> split_prefix("eu.anthropic.claude-3-5-sonnet-20241022-v2:0")
    ('eu', 'anthropic.claude-3-5-sonnet-20241022-v2:0')
    """
    prefix, dot, base = model_id.partition(".")
    # "in.meta.llama..." has a prefix, "meta.llama..." has none: what follows must name a provider.
    return (prefix, base) if prefix in PREFIXES and dot and "." in base else (None, model_id)


def named_model(model_id: str) -> str | None:
    """Return the model id that ``model_id`` names: itself, or the one inside an ARN, or None."""
    if not model_id.startswith("arn:"):
        return model_id
    resource = model_id.split(":", 5)[-1]
    kind, _, name = resource.partition("/")
    return name if kind in _ARN_KINDS_THAT_NAME_A_MODEL else None


class ModelCatalog:
    """The models that are known, and what is assumed of others.

    Args:
        models: Facts by model id, over those that the package ships: changed or new ones, with
            the fields of ``ModelConfig``. ``base_model_id`` alone makes an ARN a known model.
    """

    def __init__(self, models: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        self._given: Mapping[str, Mapping[str, Any]] = dict(models or {})
        self._found: dict[tuple[str, str | None], ModelConfig] = {}
        self._warned: set[str] = set()

    def __iter__(self) -> Iterator[ModelConfig]:
        for model_id in {**shipped_models(), **self._given}:
            if (model := self.get(model_id)) is not None:
                yield model

    def get(self, model_id: str) -> ModelConfig | None:
        """Return what is known of a model; None if it is not in the catalog."""
        model = self._find(model_id, None)
        return model if model.in_catalog else None

    def resolve(self, model_id: str, base_model: str | None = None) -> ModelConfig:
        """Return what is known of a model; of one outside the catalog, what langchain-aws knows.

        A fact that nobody knows is None, and allowed. One warning is logged per unknown model.

        Args:
            model_id: Model id, inference profile id, or ARN.
            base_model: The model id behind an ARN that does not name it.
        """
        model = self._find(model_id, base_model)
        if not model.in_catalog and model_id not in self._warned:
            self._warned.add(model_id)
            logger.warning(
                "model %s is not in the catalog: its price is unknown, and capabilities that "
                "langchain-aws does not know are taken as given; describe it under models:",
                mask_account_ids(model_id),
            )
        return model

    def fallback_for(self, model_id: str) -> str | None:
        """Return the one fallback of the guide's family rule, in the primary's own geography.

        Sonnet falls to Haiku; Opus, Haiku, Titan, Llama and all others fall to Sonnet. None for
        an ARN whose model is not known: its geography isn't either.
        """
        name = named_model(model_id)
        model = self._find(model_id, None)
        if name is None and model.base_model_id is None:
            return None
        prefix, _ = split_prefix(name or "")
        fallback = model.falls_back_to or SONNET
        if fallback == model.base_model_id:
            return None
        return f"{prefix}.{fallback}" if prefix else fallback

    def _find(self, model_id: str, base_model: str | None) -> ModelConfig:
        key = (model_id, base_model)
        if key not in self._found:
            self._found[key] = self._assemble(model_id, base_model)
        return self._found[key]

    def _assemble(self, model_id: str, base_model: str | None) -> ModelConfig:
        own = dict(self._given.get(model_id, {}))
        named = own.get("base_model_id") or base_model or named_model(model_id)
        base = split_prefix(named)[1] if named else None
        shipped = shipped_models().get(base or "", {})
        given = self._given.get(base or "", {})
        facts = {**_profile_facts(named), **shipped, **given, **own}
        provider = facts.get("provider") or (base.partition(".")[0] if base else None)
        unknown = {f.name: None for f in fields(ModelConfig)[:8]}
        return ModelConfig(
            **{
                **unknown,
                "model_family": provider or "unknown",
                **facts,
                "model_id": model_id,
                "provider": provider,
                "base_model_id": base,
                "in_catalog": bool(shipped or given or own),
            }
        )


@functools.cache
def shipped_models() -> Mapping[str, Mapping[str, Any]]:
    """Return the facts of ``data/models.yaml``, by base model id."""
    import yaml

    text = resources.files("langchain_modelmgr").joinpath("data/models.yaml").read_text("utf-8")
    models: dict[str, dict[str, Any]] = yaml.safe_load(text)
    for facts in models.values():
        facts["tool_choices"] = tuple(facts["tool_choices"])
    return models


def _profile_facts(model_id: str | None) -> dict[str, Any]:
    """Return what langchain-aws's model profiles tell of a model, in our words."""
    if model_id is None:
        return {}
    profiles = _profiles()
    profile = profiles.get(model_id) or profiles.get(split_prefix(model_id)[1]) or {}
    facts = {
        "max_tokens": profile.get("max_output_tokens"),
        "context_window": profile.get("max_input_tokens"),
        "supports_tools": profile.get("tool_calling"),
        "supports_images": profile.get("image_inputs"),
        "supports_documents": profile.get("pdf_inputs"),
        "supports_structured_output": profile.get("structured_output"),
    }
    return {name: fact for name, fact in facts.items() if fact is not None}


@functools.cache
def _profiles() -> Mapping[str, Mapping[str, Any]]:
    """Load langchain-aws's table of profiles from its file.

    Importing the package for it would cost 0.8 s and patch boto3 (langchain-aws 1.9.1).
    """
    package = importlib.util.find_spec("langchain_aws")
    folders = package.submodule_search_locations if package else None
    path = Path(folders[0], "data", "_profiles.py") if folders else None
    if path is None or not path.is_file():
        return {}
    spec = importlib.util.spec_from_file_location("_modelmgr_langchain_aws_profiles", path)
    if spec is None or spec.loader is None:
        return {}
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    profiles: Mapping[str, Mapping[str, Any]] = getattr(module, "_PROFILES", {})
    return profiles
