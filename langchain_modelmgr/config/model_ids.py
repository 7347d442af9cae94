"""Says which of the model ids that a configuration names can't be meant as they are written."""

from __future__ import annotations

from typing import TYPE_CHECKING

from langchain_modelmgr.config.filling import VARIABLE_HINT, looks_like_a_variable
from langchain_modelmgr.config.yaml_tree import Located, Problem

if TYPE_CHECKING:
    from collections.abc import Iterator

    from langchain_modelmgr.catalog import ModelCatalog
    from langchain_modelmgr.config.schema import Settings


def problems_of_models(
    settings: Settings, raw: Located, catalog: ModelCatalog
) -> Iterator[Problem]:
    """Yield a problem for each model id that is a typo or that the Converse API does not serve."""
    for path, model_id, base_model in _named(settings):
        if (wrong := catalog.mistake_in(model_id, base_model)) is not None:
            at = _place(raw, path)
            hint = f" ({VARIABLE_HINT})" if looks_like_a_variable(at.value) else ""
            yield Problem(at.file, at.line, f"{_dotted(path)}: {wrong}{hint}")


_Path = tuple[str | int, ...]


def _named(settings: Settings) -> Iterator[tuple[_Path, str, str | None]]:
    """Yield where each model id stands, the id, and the model behind it where that is given."""
    if settings.default_model is not None:
        yield ("agents", "default_model"), settings.default_model, None
    for model_id, own in settings.models.items():
        if own.base_model is not None:
            yield ("models", model_id, "base_model"), own.base_model, None
        if own.falls_back_to is not None:
            yield ("models", model_id, "falls_back_to"), own.falls_back_to, None
    for name, agent in settings.agents.items():
        if agent.model is not None:
            yield ("agents", name, "model"), agent.model, None
        for i, fallback in enumerate(agent.fallbacks or ()):
            yield ("agents", name, "fallbacks", i, "model"), fallback.model, fallback.base_model


def _place(raw: Located, path: _Path) -> Located:
    """Return what stands at a path, or the last part of it that stands in the file."""
    here = raw
    for part in path:
        try:
            here = here.value[part]
        except (KeyError, TypeError):  # a key that stands elsewhere; a fallback that is an id
            break
    return here


def _dotted(path: _Path) -> str:
    parts = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return "".join(parts).removeprefix(".")
