"""Reads the facts of models from the package's data file, without the package's code."""

from __future__ import annotations

import functools
import json
from importlib import resources
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

_PREFIXES = frozenset({"us", "eu", "apac", "jp", "au", "ca", "in", "us-gov", "global"})
_NOTHING: Mapping[str, Any] = MappingProxyType({})


def base_of(model_id: str) -> str:
    """Return the foundation model of a model id, an inference profile id or an ARN."""
    name = model_id.rpartition("/")[2]
    prefix, _, base = name.partition(".")
    return base if prefix in _PREFIXES and "." in base else name


def facts_of(base: str) -> Mapping[str, Any]:
    """Return the facts of a foundation model.

    Empty for an id that is not in the file: any model id can be used locally, without limits.
    """
    return load_facts().get(base, _NOTHING)


@functools.cache
def known_request_fields() -> frozenset[str]:
    """Return the model-specific request fields that any known model accepts."""
    return frozenset(f for facts in load_facts().values() for f in facts.get("request_fields", ()))


@functools.cache
def load_facts() -> Mapping[str, Mapping[str, Any]]:
    """Read the data file once."""
    text = resources.files("langchain_modelmgr").joinpath("data/models.json").read_text("utf-8")
    models: Mapping[str, Mapping[str, Any]] = json.loads(text)["models"]
    return models
