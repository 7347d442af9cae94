"""Replaces names that Bedrock or a model rejects in a request, and restores them in its reply."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from langchain_modelmgr.bedrock.argument_names import refused_arguments

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from langchain_modelmgr.bedrock.argument_names import ArgumentNames
    from langchain_modelmgr.catalog import ModelConfig

_TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_TOOL_NAME_WITHOUT_HYPHENS = re.compile(r"[a-zA-Z0-9_]{1,64}")
_CALL_ID = re.compile(r"[a-zA-Z0-9_.:-]{1,64}")
_PLAIN_CALL_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_NINE_CHARACTER_ID = re.compile(r"[a-zA-Z0-9]{9}")
"""Source: botocore 1.44.5's service model (ToolName, ToolUseId). The catalog says which models
require the stricter forms."""

_DOCUMENT_NAME = re.compile(r"(?!.*  )[a-zA-Z0-9_()\[\] -]{1,200}")
"""Source: AWS, API reference of DocumentBlock, and its own error text. Underscores are
accepted; white space other than blanks is not (tried: aws-samples/generative-ai-use-cases#1671)."""

_DIGEST = 8
"""Length of the digest that makes shortened names unique."""


@dataclass(slots=True)
class NameMap:
    """The replaced names of one request.

    Attributes:
        tools: The caller's tool names, by the names sent.
        documents: The caller's document names, by the names sent.
        arguments: The replaced names of tool parameters; None if there are none.
        changes: Descriptions of the changes, for ``adapted``.
    """

    tools: dict[str, str]
    documents: dict[str, str]
    arguments: ArgumentNames | None
    changes: tuple[str, ...]

    def restore(self, content: Iterable[dict[str, Any]]) -> None:
        """Restore the caller's names in a reply's content blocks, in place."""
        for block in content:
            if "toolUse" in block:
                self._restore_tool(block["toolUse"])
                if self.arguments is not None:
                    self.arguments.restore(block["toolUse"])
            for citation in block.get("citationsContent", {}).get("citations", ()):
                self._restore_citation(citation)

    def restored(self, events: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """Yield a stream's events with the caller's names."""
        named = self._named(events)
        return named if self.arguments is None else self.arguments.restored(named)

    def _named(self, events: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        for event in events:
            if started := event.get("contentBlockStart"):
                if use := started["start"].get("toolUse"):
                    self._restore_tool(use)
            elif (changed := event.get("contentBlockDelta")) and "citation" in changed["delta"]:
                self._restore_citation(changed["delta"]["citation"])
            yield event

    def _restore_tool(self, use: dict[str, Any]) -> None:
        use["name"] = self.tools.get(use["name"], use["name"])

    def _restore_citation(self, citation: dict[str, Any]) -> None:
        if own := self.documents.get(citation.get("title", "")):
            citation["title"] = own


def with_accepted_names(
    params: dict[str, Any], model: ModelConfig
) -> tuple[dict[str, Any], NameMap | None]:
    """Return a Converse request with names that ``model`` accepts.

    Covers the names of tools and of their parameters (in the tools, the choice and the history),
    the ids of tool calls, and the names of documents.

    Args:
        params: The request; not modified.
        model: The model that receives the request; for an unknown one, Bedrock's own rules apply.

    Returns:
        The request (the same object if no name had to change), and the map that restores the
        caller's names in a reply, or None.
    """
    limits = model.tool_limits
    found = _names_in(params)
    tools = _mapped_tools(found.tools, hyphens="no_hyphens" not in limits)
    ids = _mapped_ids(found.ids, limits)
    documents = _mapped_documents(found.documents)
    arguments = None
    if found.tools and "plain_property_names" in limits:
        arguments = refused_arguments(params.get("toolConfig", {}).get("tools", ()))
    mapped = {
        "tool names": tools,
        "ids of tool calls": ids,
        "document names": documents,
        "parameter names of tools": arguments,
    }
    if not any(mapped.values()):
        return params, None
    names = NameMap(
        {sent: name for name, sent in tools.items()},
        dict(zip(documents, found.documents, strict=False)),
        arguments,
        tuple(
            f"{what} mapped to names that the model accepts" for what, is_ in mapped.items() if is_
        ),
    )
    renaming = _Renaming(tools, ids, iter(documents or found.documents), arguments)
    return renaming.request(params), names


@dataclass(slots=True)
class _Found:
    tools: list[str] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    documents: list[str] = field(default_factory=list)


def _names_in(params: Mapping[str, Any]) -> _Found:
    """Return the names in a request. Malformed parts are skipped: botocore reports them."""
    found = _Found()
    if config := params.get("toolConfig"):
        named = [tool["toolSpec"] for tool in config.get("tools", ()) if "toolSpec" in tool]
        named += [config["toolChoice"]["tool"]] if "tool" in config.get("toolChoice", ()) else []
        found.tools += [item["name"] for item in named if isinstance(item.get("name"), str)]
    for message in params["messages"]:
        for block in message["content"]:
            if "toolUse" in block:
                found.tools += _texts(block["toolUse"], "name")
                found.ids += _texts(block["toolUse"], "toolUseId")
            elif "toolResult" in block:
                result = block["toolResult"]
                found.ids += _texts(result, "toolUseId")
                found.documents += [
                    _name_of(b) for b in result.get("content", ()) if "document" in b
                ]
            elif "document" in block:
                found.documents.append(_name_of(block))
    return found


def _texts(item: Mapping[str, Any], key: str) -> list[str]:
    text = item.get(key)
    return [text] if isinstance(text, str) else []


def _name_of(block: Mapping[str, Any]) -> str:
    return str(block["document"].get("name", ""))


def _mapped_tools(names: Sequence[str], *, hyphens: bool) -> dict[str, str]:
    """Return replacements for the tool names that are rejected, by the caller's names."""
    taken = _TOOL_NAME if hyphens else _TOOL_NAME_WITHOUT_HYPHENS
    bad = [name for name in dict.fromkeys(names) if not taken.fullmatch(name)]
    if not bad:
        return {}
    used, mapped = set(names), {}
    for name in bad:
        plain = re.sub(r"[^a-zA-Z0-9_-]" if hyphens else r"[^a-zA-Z0-9_]", "_", _ascii(name))
        plain = plain if plain.strip("_-") else "tool"
        if plain in used or not taken.fullmatch(plain):
            plain = f"{plain[: 64 - 1 - _DIGEST]}_{_digest(name)[:_DIGEST]}"
        mapped[name] = plain
        used.add(plain)
    return mapped


def _mapped_ids(ids: Sequence[str], limits: Sequence[str]) -> dict[str, str]:
    """Return replacements for the ids that are rejected, each computed from its id alone."""
    if "nine_character_ids" in limits:
        return {i: _digest(i)[:9] for i in ids if not _NINE_CHARACTER_ID.fullmatch(i)}
    taken = _PLAIN_CALL_ID if "plain_ids" in limits else _CALL_ID
    return {
        i: f"{re.sub(r'[^a-zA-Z0-9_-]', '_', i)[: 64 - 1 - _DIGEST]}_{_digest(i)[:_DIGEST]}"
        for i in ids
        if not taken.fullmatch(i)
    }


def _mapped_documents(names: Sequence[str]) -> list[str]:
    """Return the names to send, one for each document in order; empty if none has to change.

    Names depend on earlier documents only, so that the documents of earlier turns keep their
    names in later requests, as the prompt cache requires.
    """
    apart = len({name.lower() for name in names}) == len(names)
    if apart and all(map(_DOCUMENT_NAME.fullmatch, names)):
        return []
    sent: list[str] = []
    used: set[str] = set()
    for name in names:
        plain = name if _DOCUMENT_NAME.fullmatch(name) else _document_name(name)
        unique, count = plain, 1
        while unique.lower() in used:
            count += 1
            suffix = f" ({count})"
            unique = plain[: 200 - len(suffix)] + suffix
        sent.append(unique)
        used.add(unique.lower())
    return sent


def _document_name(name: str) -> str:
    spaced = re.sub(r"\s+", " ", _ascii(name))
    plain = re.sub(r"[^a-zA-Z0-9_()\[\] -]+", "-", spaced).strip(" -")
    return plain[:200].rstrip() or "document"


def _ascii(name: str) -> str:
    """Return a name without accents; other non-ASCII characters are kept."""
    parts = unicodedata.normalize("NFKD", name)
    return "".join(part for part in parts if not unicodedata.combining(part))


def _digest(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


@dataclass(slots=True)
class _Renaming:
    tools: Mapping[str, str]
    ids: Mapping[str, str]
    documents: Iterator[str]
    arguments: ArgumentNames | None

    def request(self, params: Mapping[str, Any]) -> dict[str, Any]:
        formed = dict(params)
        if config := params.get("toolConfig"):
            formed["toolConfig"] = self._config(config)
        formed["messages"] = [
            {**message, "content": [self._block(block) for block in message["content"]]}
            for message in params["messages"]
        ]
        return formed

    def _config(self, config: Mapping[str, Any]) -> dict[str, Any]:
        formed = {
            **config,
            "tools": [
                {"toolSpec": self._spec(tool["toolSpec"])} if "toolSpec" in tool else tool
                for tool in config.get("tools", ())
            ],
        }
        if "tool" in config.get("toolChoice", ()):
            formed["toolChoice"] = {"tool": self._named(config["toolChoice"]["tool"])}
        return formed

    def _spec(self, spec: Mapping[str, Any]) -> dict[str, Any]:
        return self._named(spec if self.arguments is None else self.arguments.spec(spec))

    def _named(self, item: Mapping[str, Any]) -> dict[str, Any]:
        return _with(item, "name", self.tools)

    def _block(self, block: Mapping[str, Any]) -> Mapping[str, Any]:
        if "toolUse" in block:
            use = (
                block["toolUse"]
                if self.arguments is None
                else self.arguments.call(block["toolUse"])
            )
            return {"toolUse": _with(self._named(use), "toolUseId", self.ids)}
        if "toolResult" in block:
            result = _with(block["toolResult"], "toolUseId", self.ids)
            if "content" in result:
                result["content"] = [self._document(inner) for inner in result["content"]]
            return {"toolResult": result}
        return self._document(block)

    def _document(self, block: Mapping[str, Any]) -> Mapping[str, Any]:
        if "document" not in block:
            return block
        return {"document": {**block["document"], "name": next(self.documents)}}


def _with(item: Mapping[str, Any], key: str, mapped: Mapping[str, str]) -> dict[str, Any]:
    text = item.get(key)
    return {**item, key: mapped[text]} if isinstance(text, str) and text in mapped else dict(item)
