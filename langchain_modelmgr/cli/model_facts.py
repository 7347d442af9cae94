"""What the catalog knows of one model, as lines of text."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

from langchain_modelmgr.catalog.lists import FIELDS
from langchain_modelmgr.cli.values import UNKNOWN, money
from langchain_modelmgr.runtime.masking import mask_account_ids

if TYPE_CHECKING:
    from collections.abc import Iterator

    from langchain_modelmgr.catalog import ModelCatalog, ModelConfig

ABILITIES = (
    "tools",
    "streaming",
    "streaming_tools",
    "system_prompt",
    "images",
    "documents",
    "video",
    "audio",
    "search_results",
    "s3_sources",
    "structured_output",
    "reasoning",
    "prompt_caching",
    "citations",
)


def not_known(model_id: str, catalog: ModelCatalog) -> str:
    """Return that a model is not in the catalog, and what its user can do."""
    said = f"{mask_account_ids(model_id)}: not in the catalog"
    if model_id.startswith("arn:"):
        return f"{said}: an ARN that names no model is priced by base_model under models: in YAML"
    return f"{said}{catalog.did_you_mean(model_id)}: describe it under models: in the YAML"


def facts_of(model: ModelConfig, catalog: ModelCatalog) -> list[tuple[str, str]]:
    """Return what is known of a model: labels and values."""
    refused = [*_abilities(model, able=False), *model.refused_parameters]
    facts = (
        ("context", model.context_window),
        ("output", model.max_tokens),
        ("supports", ", ".join(_abilities(model, able=True)) or None),
        ("unsupported", ", ".join(refused) or None),
        ("tool choices", ", ".join(model.tool_choices or ()) or None),
        ("lifecycle", _lifecycle(model)),
        ("successor", catalog.successor_of(model.model_id) if _ends(model) else None),
        ("served by", ", ".join(model.served_by or ()) or None),
        ("falls back to", catalog.fallback_for(model.model_id)),
    )
    lines = [(label, "none known" if fact is None else str(fact)) for label, fact in facts]
    return [*lines, *_prices(model)]


def _prices(model: ModelConfig) -> Iterator[tuple[str, str]]:
    for kind in FIELDS:
        price = money(getattr(model.prices, kind))
        yield kind, "unknown" if price is None else f"${price} per 1,000 tokens"
    if (long := model.long_context) is not None:
        factors = f"input x {long.input_multiplier:g}, output x {long.output_multiplier:g}"
        yield "long context", f"above {long.above:,} prompt tokens: {factors}"
    for tier, prices in model.service_tiers.items():
        known = ((kind, money(getattr(prices, kind))) for kind in FIELDS)
        yield tier, ", ".join(f"{kind} ${price}" for kind, price in known if price is not None)
    source = f"{model.price_source}, {model.price_date}" if model.price_source else None
    yield "price source", source or model.price_unknown or UNKNOWN
    if model.price_disputed:
        yield "DISPUTED", model.price_disputed


def _ends(model: ModelConfig) -> bool:
    return model.lifecycle_on(_today()) in ("legacy", "retired")


def _lifecycle(model: ModelConfig) -> str:
    """Return when a model ends, and the source."""
    state = model.lifecycle_on(_today())
    if state is None:
        return "unknown"
    day = f" on {model.retirement_date}" if model.retirement_date else ""
    text = {"active": "active", "legacy": f"legacy, retires{day}", "retired": f"retired{day}"}[
        state
    ]
    if state == "legacy" and not day:
        text = "legacy, retirement announced"
    checked = f", checked {model.lifecycle_checked}" if model.lifecycle_checked else ""
    return f"{text} ({model.lifecycle_source}{checked})"


def _today() -> date:
    return datetime.now(UTC).date()


def _abilities(model: ModelConfig, *, able: bool) -> list[str]:
    """Return what a model is known to take, or known not to."""
    found = (name for name in ABILITIES if getattr(model, f"supports_{name}") is able)
    return [name.replace("_", " ") for name in found]
