"""Bedrock's and models' rules for names that the caller chooses: tools and documents."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

_DOCUMENT_NAME = re.compile(r"(?!.*  )[a-zA-Z0-9_()\[\] -]+")
_PROPERTY_NAME = re.compile(r"[a-zA-Z0-9_.-]{1,64}")
_MODEL_ERROR = "The model returned the following errors: "
_BARE = frozenset({"type", "properties", "required"})
_UNIONS = frozenset({"anyOf", "oneOf", "allOf"})
"""Texts and rules: AWS's, as quoted in aws-samples/generative-ai-use-cases#1671 and #1685,
code-yeongyu/senpi#1947, aws-solutions-library-samples/accelerated-intelligent-document-processing-
on-aws#709, zed-industries/zed#28521, anomalyco/opencode#48843 and SEMOSS/Semoss#2892; read
2026-11-26."""


def name_violations(facts: Mapping[str, Any], body: Mapping[str, Any]) -> Iterator[str]:
    """Yield each error that Bedrock or the model raises for names and tool schemas.

    Args:
        facts: What is known of the model; its ``tool_limits`` count here.
        body: The request's JSON.
    """
    limits = frozenset(facts.get("tool_limits", ()))
    yield from _of_documents(body["messages"])
    first: dict[str, int] = {}
    for i, tool in enumerate(body.get("toolConfig", {}).get("tools", ())):
        if "toolSpec" in tool:
            name = tool["toolSpec"]["name"]
            if first.setdefault(name, i) != i:
                yield f"The tool {name} is already defined at toolConfig.tools.{first[name]}."
            schema = tool["toolSpec"]["inputSchema"].get("json") or {}
            yield from _of_schema(limits, i, schema)
    yield from _of_ids(limits, body["messages"])


def answer_violation(facts: Mapping[str, Any], content: Iterable[Mapping[str, Any]]) -> str | None:
    """Return the text of AWS's ModelErrorException for an answer that the model cannot give."""
    names = [block["toolUse"]["name"] for block in content if "toolUse" in block]
    if "no_hyphens" in facts.get("tool_limits", ()) and any("-" in name for name in names):
        return (
            "Model produced invalid sequence as part of ToolUse. Please refer to the model tool "
            "use troubleshooting guide."
        )
    return None


def _of_documents(messages: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    names = [block["document"]["name"] for block in _blocks(messages) if "document" in block]
    if not all(map(_DOCUMENT_NAME.fullmatch, names)):
        yield (
            "The document file name can only contain alphanumeric characters, whitespace "
            "characters, hyphens, parentheses, and square brackets. The name can't contain more "
            "than one consecutive whitespace character. Check that the file name conforms to "
            "these restrictions and retry your request."
        )
    if len({name.lower() for name in names}) < len(names):
        yield (
            "Messages can't contain duplicate document names. Rename the document and retry your "
            "request."
        )


def _of_schema(limits: frozenset[str], i: int, schema: Mapping[str, Any]) -> Iterator[str]:
    if schema.get("type") != "object":
        path = f"toolConfig.tools.{i}.toolSpec.inputSchema.json.type"
        yield f"The value at {path} must be one of the following: object."
    if "no_unions" in limits and _UNIONS & schema.keys():
        yield (
            f"{_MODEL_ERROR}tools.{i}.custom.input_schema: input_schema does not support "
            "oneOf, allOf, or anyOf at the top level"
        )
    properties = schema.get("properties", ())
    if "plain_property_names" in limits and not all(map(_PROPERTY_NAME.fullmatch, properties)):
        yield (
            f"{_MODEL_ERROR}tools.{i}.custom.input_schema.properties: Property keys should "
            "match pattern '^[a-zA-Z0-9_.-]{1,64}$'"
        )
    if "bare_schema" in limits and (extra := schema.keys() - _BARE):
        yield (
            f"{_MODEL_ERROR}Malformed input request: #/toolConfig/tools/{i}/toolSpec/inputSchema/"
            f"json: extraneous key [{min(extra)}] is not permitted, please reformat your input "
            "and try again."
        )


def _of_ids(limits: frozenset[str], messages: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    ids = [block["toolUse"]["toolUseId"] for block in _blocks(messages) if "toolUse" in block]
    if "plain_ids" in limits and any(re.search(r"[^a-zA-Z0-9_-]", i) for i in ids):
        yield (
            f"{_MODEL_ERROR}messages.1.content.0.tool_use.id: String should match pattern "
            "'^[a-zA-Z0-9_-]+$'"
        )
    for i in ids if "nine_character_ids" in limits else ():
        if not i.startswith("tooluse_") and not re.fullmatch(r"[a-zA-Z0-9]{9}", i):
            yield (
                f"{_MODEL_ERROR}Tool call id was {i} but must be a-z, A-Z, 0-9, with a length of 9."
            )


def _blocks(messages: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    for message in messages:
        for block in message["content"]:
            yield block
            yield from block.get("toolResult", {}).get("content", ())
