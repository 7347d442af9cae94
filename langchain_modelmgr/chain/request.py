"""A request, before any model's rules are applied to it; and one attempt to serve it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from langchain_core.messages import AIMessage

from langchain_modelmgr.bedrock.request_fields import (
    REASONING_CONFIG,
    THINKING,
    THINKING_FIELDS,
    takes_thinking,
)
from langchain_modelmgr.catalog.geography import Place, doubt_about, place_of, why_outside
from langchain_modelmgr.chain.compatibility import needs_of
from langchain_modelmgr.chain.keywords import check_kind, keywords_of
from langchain_modelmgr.errors import BedrockTimeoutError, ModelManagerError
from langchain_modelmgr.runtime.masking import mask_account_ids
from langchain_modelmgr.tools import settled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_core.messages import BaseMessage

    from langchain_modelmgr.bedrock.time_budget import TimeBudget
    from langchain_modelmgr.catalog import ModelConfig
    from langchain_modelmgr.chain.compatibility import Needs
    from langchain_modelmgr.usage.meter import Meter

_FIELDS = "additional_model_request_fields"
_PATHS = "additional_model_response_field_paths"

_OF_BEDROCK = (None, "bedrock", "bedrock_converse")
"""Values of ``model_provider`` whose content langchain-aws takes as it is."""

_MOST_BYTES = 8
"""Characters that one token stands for at most, over a whole prompt."""


@dataclass(frozen=True, slots=True)
class RawConversation:
    """A conversation in Bedrock's own shapes, which reaches the wire unchanged.

    Attributes:
        messages: Converse messages.
        system: Converse system blocks.
    """

    messages: list[dict[str, Any]]
    system: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """What the caller asked, before any model's rules are applied to it.

    Attributes:
        messages: LangChain messages.
        stop: Stop sequences of this call.
        kwargs: The call's keywords, tools among them, unformed.
        needs: What serving it takes.
        timeout: Seconds that one attempt may wait for its first content, and for each further;
            0: the agent's.
        model: A model id in place of the agent's own.
        raw: The conversation in Bedrock's own shapes, in place of ``messages``.
        keep_content: Keep the answer in Bedrock's shapes.
    """

    messages: list[BaseMessage]
    stop: list[str] | None
    kwargs: Mapping[str, Any]
    needs: Needs
    timeout: float = 0.0
    model: str | None = None
    raw: RawConversation | None = None
    keep_content: bool = False

    @property
    def tool_count(self) -> int:
        """How many tools are bound."""
        return len(self.kwargs.get("tools") or ())

    @property
    def least_tokens(self) -> int:
        """How many tokens the prompt has at least: what fits by this may still overflow."""
        return size_of(self.messages if self.raw is None else self.raw.messages) // _MOST_BYTES

    def fingerprint(self) -> int:
        """Return a number that tells its prompt from others; it is known in this process only."""
        messages: Sequence[Any] = self.messages if self.raw is None else self.raw.messages
        last = messages[-1] if messages else ""
        content = last["content"] if isinstance(last, dict) else getattr(last, "content", "")
        return hash((len(messages), str(content)))

    @property
    def bound(self) -> ChatRequest:
        """The request as far as the caller's code fixes it, whatever the messages hold."""
        return replace(self, needs=self.needs.bound)


def chat_request(
    messages: list[BaseMessage], stop: list[str] | None, keywords: Mapping[str, Any], *, of: str
) -> ChatRequest:
    """Return the request of a LangChain chat model.

    Args:
        messages: LangChain messages.
        stop: Stop sequences of the call.
        keywords: The call's keywords, as LangChain hands them on.
        of: What was called, for an error's text.

    Raises:
        ConfigurationError: A keyword is unknown, or its value is wrong.
    """
    check_kind("stop_sequences", stop, of=of)
    kwargs = keywords_of(keywords, of=of, langchain=True)
    model, timeout = kwargs.pop("model", None), kwargs.pop("timeout", None)
    kwargs = settled(kwargs)
    needs = needs_of(messages, kwargs)
    return ChatRequest(messages, stop, kwargs, needs, timeout or 0.0, model)


@dataclass(frozen=True, slots=True)
class AttemptRequest:
    """One attempt: the request, the meter that measures it, and how long it may wait."""

    request: ChatRequest
    meter: Meter
    time_budget: TimeBudget

    def timed_out(self, reason: str, code: str) -> BedrockTimeoutError:
        """Return the error for an attempt that waited too long."""
        return BedrockTimeoutError(reason, code=code)

    def closed(self, reason: str) -> ModelManagerError:
        """Return the error for an attempt that is ended because its manager is closed."""
        return ModelManagerError(f"{reason}: its ModelManager was closed")


@dataclass(frozen=True, slots=True)
class Bounds:
    """Where a chain's requests may go.

    Attributes:
        home: Where the chain's primary serves them.
        region: The region that the fallback is asked in; None: not known.
    """

    home: Place
    region: str | None

    def why_outside(self, model: ModelConfig) -> str | None:
        """Return why a fallback with this model would take them elsewhere, or None."""
        return why_outside(self.home, place_of(model, self.region))

    def doubt_about(self, model: ModelConfig) -> str | None:
        """Return what a user should know of where the model takes them, or None."""
        return doubt_about(self.home, place_of(model, self.region))


@dataclass(frozen=True)
class CandidateSettings:
    """One model of a chain and how this agent asks it.

    Attributes:
        model: The catalog's facts; ``model.model_id`` goes to Bedrock.
        region: Its own region; None: the manager's.
        request_fields: ChatBedrockConverse's request fields, those that were set and no others.
        inherited: The names of those that a fallback has from the agent.
        provider: Whose words the agent's and a call's request fields are in: the primary's
            provider. None: the model's own.
        given: ``request_fields`` before those were left out that the model does not take.
        left_out: The names of those.
        bounds: Where the chain's requests may go; None: nothing bounds it.
        outside: Why this model would take them elsewhere; None: it would not.
    """

    model: ModelConfig
    region: str | None = None
    request_fields: Mapping[str, Any] = field(default_factory=dict)
    inherited: frozenset[str] = frozenset()
    provider: str | None = None
    given: Mapping[str, Any] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()
    bounds: Bounds | None = None
    outside: str | None = None

    def of(self, model: ModelConfig) -> CandidateSettings:
        """Return the settings with ``model``, and the request fields that it takes."""
        given = self.given or self.request_fields
        inherited = {name: value for name, value in given.items() if name in self.inherited}
        taken, left_out = self.taken(inherited, model)
        request_fields = {
            n: taken.get(n, v) for n, v in given.items() if n in taken or n not in inherited
        }
        if request_fields.get("max_tokens") is not None:
            request_fields["max_tokens"] = capped(request_fields["max_tokens"], model)
        return replace(
            self,
            model=model,
            request_fields=request_fields,
            given=given,
            left_out=left_out,
            outside=None if self.bounds is None else self.bounds.why_outside(model),
        )

    def health_key(self, request: ChatRequest) -> tuple[str | None, ...]:
        """Return what its health is kept by: region, model, and the capacity that is asked for."""
        given, own = request.kwargs, self.request_fields
        tier = given.get("service_tier") or own.get("service_tier")
        performance = given.get("performance_config") or own.get("performance_config")
        latency = performance.get("latency") if performance else None
        tier = None if tier == "default" else tier
        return self.region, self.model.model_id, tier, None if latency == "standard" else latency

    @property
    def label(self) -> str:
        """The model as an error names it, told from others of the same id in its chain."""
        tier = self.request_fields.get("service_tier")
        return "".join(
            (
                mask_account_ids(self.model.model_id),
                f" in {self.region}" if self.region else "",
                f" (service tier {tier})" if tier else "",
            )
        )

    @property
    def doubt(self) -> str | None:
        """What a user should know of where this model takes the chain's requests."""
        return None if self.bounds is None else self.bounds.doubt_about(self.model)

    def taken(
        self, fields: Mapping[str, Any], model: ModelConfig | None = None
    ) -> tuple[Mapping[str, Any], tuple[str, ...]]:
        """Return request fields without those in another provider's words, and their names."""
        model = model or self.model
        if self.provider is None:
            return fields, ()
        kept, left_out = dict(fields), list[str]()
        effort = kept.get("reasoning_effort")
        if effort is not None and not _takes_effort(effort, model, self.provider):
            del kept["reasoning_effort"]
            left_out.append("reasoning_effort")
        if model.provider != self.provider:
            if kept.pop(_PATHS, None) is not None:
                left_out.append(_PATHS)
            if isinstance(own := kept.pop(_FIELDS, None), Mapping):
                known = {k: v for k, v in own.items() if k in (model.request_fields or ())}
                left_out += [name for name in own if name not in known]
                if known:
                    kept[_FIELDS] = known
        return kept, tuple(left_out)


def _takes_effort(effort: str, model: ModelConfig, provider: str) -> bool:
    if model.reasoning_efforts is None:
        return model.provider == provider
    return effort in model.reasoning_efforts


def size_of(messages: Sequence[Any]) -> int:
    """Return the characters of text that messages hold, LangChain's or Bedrock's."""
    size = 0
    for message in messages:
        content = message["content"] if isinstance(message, dict) else message.content
        if isinstance(content, str):
            size += len(content)
            continue
        for block in content:
            text = block if isinstance(block, str) else block.get("text", "")
            size += len(text) if isinstance(text, str) else 0
    return size


def own_messages(messages: Sequence[BaseMessage]) -> list[BaseMessage]:
    """Return the messages for one attempt, which langchain-aws may change.

    It puts converted messages in the place of the list's own, and strips white space off the
    end of the last one, if that is the model's (langchain-aws 1.9.1). Nothing else is copied.
    """
    own = [
        _without_blank_texts(_without_foreign_server_tools(message))
        if isinstance(message, AIMessage) and not isinstance(message.content, str)
        else message
        for message in messages
    ]
    if own and isinstance(own[-1], AIMessage):
        content = own[-1].content
        if not isinstance(content, str):
            content = [dict(block) if isinstance(block, dict) else block for block in content]
        own[-1] = own[-1].model_copy(update={"content": content})
    return own


def _without_blank_texts(message: AIMessage) -> AIMessage:
    """Return the message without texts of white space, which models put between citations.

    langchain-aws would send a full stop in the place of each (1.9.1).
    """
    content = message.content
    kept = [b for b in content if not (isinstance(b, dict) and _is_blank(b))]
    if len(kept) in (0, len(content)):
        return message
    return message.model_copy(update={"content": kept})


def _is_blank(block: Mapping[str, Any]) -> bool:
    text = block.get("text")
    return block.get("type") == "text" and isinstance(text, str) and not text.strip()


def _without_foreign_server_tools(message: AIMessage) -> AIMessage:
    """Return the message without what another provider's own tools did: no model here takes it.

    langchain-aws dies on their results: ``KeyError: 'toolUseId'`` (1.9.1).
    """
    if message.response_metadata.get("model_provider") in _OF_BEDROCK:
        return message
    blocks = message.content_blocks
    kept = [b for b in blocks if b["type"] not in ("server_tool_call", "server_tool_result")]
    if len(kept) == len(blocks):
        return message
    metadata = {**message.response_metadata, "output_version": "v1"}
    return message.model_copy(update={"content": kept, "response_metadata": metadata})


def capped(max_tokens: int, model: ModelConfig) -> int:
    """Return ``max_tokens``, or the model's limit where that is lower."""
    return max_tokens if model.max_tokens is None else min(max_tokens, model.max_tokens)


def thinking_parameters(
    parameters: Mapping[str, Any],
    kwargs: Mapping[str, Any],
    *,
    model: ModelConfig | None = None,
    as_given: bool = False,
) -> dict[str, Any]:
    """Return the parameters that may switch thinking on; empty: none is set.

    Args:
        parameters: The candidate's.
        kwargs: The call's, which go over them as langchain-aws merges them.
        model: Leave out thinking that this model does not take, as its requests do.
        as_given: Leave out what langchain-aws does not see in them.
    """
    fields = {**(parameters.get(_FIELDS) or {}), **(kwargs.get(_FIELDS) or {})}
    if not as_given and REASONING_CONFIG in fields:
        fields.setdefault(THINKING, fields[REASONING_CONFIG])
    thinking = fields.get(THINKING)
    if model and isinstance(thinking, Mapping) and not takes_thinking(thinking, model):
        fields = {name: value for name, value in fields.items() if name not in THINKING_FIELDS}
    effort = kwargs.get("reasoning_effort") or parameters.get("reasoning_effort")
    found = {_FIELDS: fields, "reasoning_effort": effort}
    return {name: value for name, value in found.items() if value}


def fit_tool_choice(choice: str | None, supported: Sequence[str], tool_count: int) -> str | None:
    """Return the choice in a form that the model takes; None: leave it out.

    A forced choice that the model can't take gives None too: ``unsuited_because`` drops such a
    model before anything is formed. With one tool bound, its name and "any" say the same.
    """
    if choice in (None, "auto"):
        return choice if "auto" in supported else None
    if choice == "any" or (tool_count == 1 and "tool" not in supported):
        return "any" if "any" in supported else None
    return choice if "tool" in supported else None
