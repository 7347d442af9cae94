"""Checks the model ids of a configuration for typos and for models that Converse does not serve."""

from __future__ import annotations

from typing import TYPE_CHECKING

from langchain_modelmgr.config.filling import VARIABLE_HINT, looks_like_a_variable
from langchain_modelmgr.config.problems import dotted
from langchain_modelmgr.config.yaml_tree import Located, Problem

if TYPE_CHECKING:
    from collections.abc import Iterator

    from langchain_modelmgr.catalog import ModelCatalog
    from langchain_modelmgr.config.schema import ConfigFile


def problems_of_models(file: ConfigFile, tree: Located, catalog: ModelCatalog) -> Iterator[Problem]:
    """Yield a problem for each model id that is a typo or that the Converse API does not serve."""
    for path, model_id, base_model in _named(file):
        if (wrong := catalog.mistake_in(model_id, base_model)) is not None:
            at = _place(tree, path)
            hint = (
                f" ({VARIABLE_HINT})" if not at.filled and looks_like_a_variable(at.value) else ""
            )
            yield Problem(at.file, at.line, f"{dotted(path)}: {wrong}{hint}")


_Path = tuple[str | int, ...]


def _named(file: ConfigFile) -> Iterator[tuple[_Path, str, str | None]]:
    """Yield the path of each model id, the id, and its ``base_model`` if given."""
    if file.default_model is not None:
        yield ("default_model",), file.default_model, None
    for model_id, own in file.models.items():
        if own.base_model is not None:
            yield ("models", model_id, "base_model"), own.base_model, None
        if own.falls_back_to is not None:
            yield ("models", model_id, "falls_back_to"), own.falls_back_to, None
    for name, agent in file.agents.items():
        if agent.model is not None:
            yield ("agents", name, "model"), agent.model, None
        for i, fallback in enumerate(agent.fallbacks or ()):
            yield ("agents", name, "fallbacks", i, "model"), fallback.model, fallback.base_model


def _place(tree: Located, path: _Path) -> Located:
    """Return the value at a path, or the nearest one above it that is in the file."""
    here = tree
    for part in path:
        try:
            here = here.value[part]
        except (
            KeyError,
            TypeError,
        ):  # the path may be shorter in the file: a fallback may be a plain id
            break
    return here
