"""Adds cache points to a Converse request, and removes those that the model does not accept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from langchain_modelmgr.catalog import ModelConfig

    Note = Callable[[str], None]

MAX_CACHE_POINTS = 4
"""Cache points of one request. Source: AWS, "Prompt caching", read 2026-11-26."""

_DEFAULT_LIFETIME = "5m"
_SAFE_PLACES = ("system", "messages")
"""Places where all models with a prompt cache (Claude, Nova) accept points; read 2026-11-26."""


def remove_unsupported(formed: dict[str, Any], model: ModelConfig, note: Note) -> None:
    """Remove the cache points that the model does not accept at their place or lifetime.

    Args:
        formed: A Converse request, changed in place; nested values are replaced, not modified.
        model: A model of the catalog.
        note: Called with a description of each kind of change.
    """
    if not any(map(_holds_points, _sections(formed))):
        return
    places = _places(model)
    if config := formed.get("toolConfig"):
        tools = _kept(config.get("tools", ()), "tools", places, model, note)
        formed["toolConfig"] = {**config, "tools": tools}
    if "system" in formed:
        formed["system"] = _kept(formed["system"], "system", places, model, note)
    formed["messages"] = [
        {**message, "content": _kept(message["content"], "messages", places, model, note)}
        if _holds_points(message["content"])
        else message
        for message in formed["messages"]
    ]


def add(formed: dict[str, Any], lifetime: str | None, model: ModelConfig, note: Note) -> None:
    """Add cache points for a growing conversation, within the limits of the model and Bedrock.

    Points are added after the system prompt, the newest user turn, the tools, and the user turn
    that was the newest in the call before, where the cache is read. A section that already has a
    point gets no other.

    Args:
        formed: A Converse request, changed in place; nested values are replaced, not modified.
        lifetime: ``5m`` or ``1h``; None: the default, ``5m``.
        model: The model that receives the request.
        note: Called with a description of each kind of change.
    """
    known = model.in_catalog and model.base_model_id is not None
    if known and not model.supports_prompt_caching:
        note("cache points left out: the model has no prompt cache")
        return
    places = _places(model) if known else _SAFE_PLACES
    lifetimes = model.cache_lifetimes
    if lifetime is not None and lifetimes is not None and lifetime not in lifetimes:
        note(f"cache points for {lifetime} sent without a lifetime: the model caches for 5m")
        lifetime = None
    budget = MAX_CACHE_POINTS - sum(sum(map(_is_point, s)) for s in _sections(formed))
    for position in _positions(formed, places):
        if budget <= 0:
            return
        section = _section(formed, position)
        if not any(map(_is_point, section)):
            point = _point(_ordered(formed, position, lifetime))
            _put(formed, position, [*section, point])
            budget -= 1


def _places(model: ModelConfig) -> tuple[str, ...]:
    if not model.supports_prompt_caching:
        return ()
    if model.cache_point_places is None:
        return ("tools", "system", "messages", "tool_results")
    return model.cache_point_places


def _kept(
    section: Iterable[Any], place: str, places: tuple[str, ...], model: ModelConfig, note: Note
) -> list[Any]:
    kept: list[Any] = []
    for block in section:
        if not _is_point(block):
            kept.append(block)
        elif not places:
            note("cache points left out: the model has no prompt cache")
        elif place not in places:
            note(f"cache points left out of {place}: the model accepts none there")
        elif kept and "toolResult" in kept[-1] and "tool_results" not in places:
            note("cache points left out after tool results: the model accepts none there")
        else:
            kept.append(_with_lifetime(block, model, note))
    return kept


def _with_lifetime(block: Mapping[str, Any], model: ModelConfig, note: Note) -> Mapping[str, Any]:
    lifetime = block["cachePoint"].get("ttl")
    if lifetime is None or model.cache_lifetimes is None or "1h" in model.cache_lifetimes:
        return block
    if lifetime not in model.cache_lifetimes:
        note(f"cache points for {lifetime} sent without a lifetime: the model caches for 5m")
    point = {key: value for key, value in block["cachePoint"].items() if key != "ttl"}
    return {"cachePoint": point}


_Position = tuple[str, int]
"""A section of a request: its kind, and for messages the index."""


def _positions(formed: Mapping[str, Any], places: tuple[str, ...]) -> Iterator[_Position]:
    """Yield the sections to add points to, the most valuable first."""
    turns = _turns(formed, places) if "messages" in places else []
    if formed.get("system") and "system" in places:
        yield "system", 0
    yield from turns[:1]
    if formed.get("toolConfig", {}).get("tools") and "tools" in places:
        yield "tools", 0
    yield from turns[1:]


def _turns(formed: Mapping[str, Any], places: tuple[str, ...]) -> list[_Position]:
    """Return the last two user turns that accept a point at the end, the newest first."""
    turns: list[_Position] = []
    messages = formed["messages"]
    for index in range(len(messages) - 1, -1, -1):
        content = messages[index]["content"]
        results = any("toolResult" in block for block in content)
        if messages[index]["role"] != "user" or not content:
            continue
        if not results or "tool_results" in places:
            turns.append(("messages", index))
        if len(turns) == 2:  # noqa: PLR2004 - the newest, and that of the call before
            break
    return turns


def _section(formed: Mapping[str, Any], position: _Position) -> list[Any]:
    kind, index = position
    if kind == "tools":
        return list(formed["toolConfig"]["tools"])
    return list(formed["messages"][index]["content"] if kind == "messages" else formed["system"])


def _put(formed: dict[str, Any], position: _Position, section: list[Any]) -> None:
    kind, index = position
    if kind == "tools":
        formed["toolConfig"] = {**formed["toolConfig"], "tools": section}
    elif kind == "system":
        formed["system"] = section
    else:
        messages = list(formed["messages"])
        messages[index] = {**messages[index], "content": section}
        formed["messages"] = messages


def _ordered(formed: Mapping[str, Any], position: _Position, lifetime: str | None) -> str | None:
    """Return a lifetime for a new point that keeps Bedrock's order: longer ones come first."""
    order = {"tools": 0, "system": 1, "messages": 2}
    here = (order[position[0]], position[1])
    for kind, index, section in _located(formed):
        lifetimes = {block["cachePoint"].get("ttl") for block in section if _is_point(block)}
        if (order[kind], index) < here and lifetimes - {"1h"}:
            return None
        if (order[kind], index) > here and "1h" in lifetimes:
            return "1h"
    return lifetime


def _located(formed: Mapping[str, Any]) -> Iterator[tuple[str, int, Iterable[Any]]]:
    yield "tools", 0, formed.get("toolConfig", {}).get("tools", ())
    yield "system", 0, formed.get("system", ())
    for index, message in enumerate(formed["messages"]):
        yield "messages", index, message["content"]


def _sections(formed: Mapping[str, Any]) -> Iterator[Iterable[Any]]:
    return (section for _, _, section in _located(formed))


def _point(lifetime: str | None) -> dict[str, Any]:
    point = {"type": "default"}
    if lifetime not in (None, _DEFAULT_LIFETIME):
        point["ttl"] = str(lifetime)
    return {"cachePoint": point}


def _holds_points(section: Iterable[Any]) -> bool:
    return any(map(_is_point, section))


def _is_point(block: Any) -> bool:
    return "cachePoint" in block
