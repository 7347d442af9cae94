"""Parses model ids and ARNs: geography prefixes, and the model that an id names."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

PREFIXES = ("us", "eu", "apac", "jp", "au", "ca", "in", "us-gov", "global")
"""Geographies of inference-profile ids. Source: AWS, "Supported cross-Region inference
profiles", read 2026-11-23."""

_ARN_KINDS_THAT_NAME_A_MODEL = ("foundation-model", "inference-profile")

_ARN_KINDS_OF_INFERENCE_PROFILES = ("application-inference-profile", "inference-profile")

ASIA_PACIFIC = (
    ("jp", {"ap-northeast-1", "ap-northeast-3"}),
    ("au", {"ap-southeast-2", "ap-southeast-4"}),
    ("in", {"ap-south-1", "ap-south-2"}),
)
"""Regions of the geographies inside Asia-Pacific. Source: as for ``PREFIXES``."""


def split_prefix(model_id: str) -> tuple[str | None, str]:
    """Return the geography prefix of a model id, or None, and what follows it.

    >>> split_prefix("eu.anthropic.claude-3-5-sonnet-20241022-v2:0")
    ('eu', 'anthropic.claude-3-5-sonnet-20241022-v2:0')
    """
    prefix, dot, base = model_id.partition(".")
    # The rest must name a provider: "in.meta.llama..." has a prefix, "meta.llama..." has none.
    return (prefix, base) if prefix in PREFIXES and dot and "." in base else (None, model_id)


def named_model(model_id: str) -> str | None:
    """Return the model id itself, or the one that an ARN contains; None if it contains none."""
    if not model_id.startswith("arn:"):
        return model_id
    resource = model_id.split(":", 5)[-1]
    kind, _, name = resource.partition("/")
    return name if kind in _ARN_KINDS_THAT_NAME_A_MODEL else None


def may_be_inference_profile(model_id: str) -> bool:
    """Return whether a model id is an ARN that GetInferenceProfile accepts.

    It doesn't accept provisioned throughput, imported or custom models, prompt routers or
    endpoints.
    """
    if not model_id.startswith("arn:"):
        return False
    kind, _, name = model_id.split(":", 5)[-1].partition("/")
    return bool(name) and kind in _ARN_KINDS_OF_INFERENCE_PROFILES


def price_geography(model_id: str, region: str | None = None) -> str | None:
    """Return ``us-gov`` if a model id without a prefix has GovCloud prices, else None.

    Args:
        model_id: A model id, or an ARN; the partition and region of an ARN take precedence.
        region: The region in which the model is called.
    """
    partition, where = "", region or ""
    if model_id.startswith("arn:"):
        _, partition, _, own, *_ = [*model_id.split(":", 4), "", "", ""]
        where = own or where
    return "us-gov" if partition == "aws-us-gov" or where.startswith("us-gov-") else None


def underlying_model(foundation_model_arns: Iterable[str]) -> str | None:
    """Return the model id of an inference profile's model, with its geography prefix, or None.

    Args:
        foundation_model_arns: The ARNs of the profile's models, as GetInferenceProfile returns
            them: one model in each region that the profile routes to. A global profile has an
            ARN without a region.
    """
    arns = [arn.split(":", 5) for arn in foundation_model_arns]
    names = {named_model(":".join(arn)) for arn in arns}
    if len(names) != 1 or (name := names.pop()) is None:
        return None
    regions = {arn[3] for arn in arns}
    prefix = _geography(regions) if len(regions) > 1 or "" in regions else None
    return f"{prefix}.{name}" if prefix else name


def _geography(regions: set[str]) -> str | None:
    if "" in regions:
        return "global"
    continents = {region.split("-", 1)[0] for region in regions}
    if continents == {"us"}:
        return "us-gov" if all(r.startswith("us-gov-") for r in regions) else "us"
    if len(continents) > 1:
        return "global"
    continent = continents.pop()
    if continent == "ap":
        return next((name for name, inside in ASIA_PACIFIC if regions <= inside), "apac")
    return continent if continent in PREFIXES else None
