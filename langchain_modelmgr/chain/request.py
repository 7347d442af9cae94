"""A request as the caller made it, one attempt to serve it, and the settings of a candidate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

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
"""Values of ``model_provider`` with content that langchain-aws accepts unchanged."""

_MOST_BYTES = 8
"""Maximum number of characters per token, averaged over a whole prompt."""


@dataclass(frozen=True, slots=True)
class RawConversation:
    """A conversation in Bedrock's own shapes, which LangChain does not convert.

    Attributes:
        messages: Converse messages.
        system: Converse system blocks.
    """

    messages: list[dict[str, Any]]
    system: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """A request as the caller made it, before it is adapted to a model.

    Attributes:
        messages: LangChain messages.
        stop: Stop sequences of this call.
        kwargs: The call's keywords, including tools, before conversion.
        needs: The capabilities that a model must have to serve it.
        timeout: Seconds that one attempt may wait for its first content, and between contents;
            0: the agent's.
        model: A model id in place of the agent's own.
        raw: The conversation in Bedrock's own shapes, in place of ``messages``.
        keep_content: Keep the answer in Bedrock's shapes, too.
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
        """A lower bound of the prompt's tokens: a prompt that fits by this may still overflow."""
        return size_of(self.messages if self.raw is None else self.raw.messages) // _MOST_BYTES

    def fingerprint(self) -> int:
        """Return a hash of the prompt, valid in this process only."""
        messages: Sequence[Any] = self.messages if self.raw is None else self.raw.messages
        last = messages[-1] if messages else ""
        content = last["content"] if isinstance(last, dict) else getattr(last, "content", "")
        return hash((len(messages), str(content)))

    def completed(self, kwargs: Mapping[str, Any], needs: Needs, timeout: float) -> ChatRequest:
        """Return the request with other keywords, needs and time-out."""
        same = self.model, self.raw, self.keep_content
        # Not replace(), which takes twice as long, in every call.
        return ChatRequest(self.messages, self.stop, kwargs, needs, timeout, *same)

    @property
    def bound(self) -> ChatRequest:
        """The request with only those needs that the caller's code determines."""
        return replace(self, needs=self.needs.bound)


def chat_request(
    messages: list[BaseMessage], stop: list[str] | None, keywords: Mapping[str, Any], *, of: str
) -> ChatRequest:
    """Return the request of a LangChain chat model.

    Args:
        messages: LangChain messages.
        stop: Stop sequences of the call.
        keywords: The call's keywords, as LangChain passes them on.
        of: The method called, for errors.

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
        self.meter.failure = code, reason
        return BedrockTimeoutError(reason, code=code)

    def closed(self, reason: str) -> ModelManagerError:
        """Return the error for an attempt that ends because its manager was closed."""
        return ModelManagerError(f"{reason}: its ModelManager was closed")


@dataclass(frozen=True, slots=True)
class Bounds:
    """The geography that a chain's requests must not leave.

    Attributes:
        home: Where the chain's primary serves requests.
        region: The region of the fallback; None if unknown.
    """

    home: Place
    region: str | None

    def why_outside(self, model: ModelConfig) -> str | None:
        """Return why a fallback to this model would leave the geography, or None."""
        return why_outside(self.home, place_of(model, self.region))

    def doubt_about(self, model: ModelConfig) -> str | None:
        """Return a warning if the model may leave the geography, or None."""
        return doubt_about(self.home, place_of(model, self.region))


class HealthKey(NamedTuple):
    """The key of a model's health: region, model id, service tier and latency mode."""

    region: str | None
    model_id: str
    service_tier: str | None
    latency: str | None

    def __str__(self) -> str:
        return "".join(
            (
                mask_account_ids(self.model_id),
                f" in {self.region}" if self.region else "",
                f" (service tier {self.service_tier})" if self.service_tier else "",
                f" (latency {self.latency})" if self.latency else "",
            )
        )


@dataclass(frozen=True)
class CandidateSettings:
    """One model of a chain and the agent's request settings for it.

    Attributes:
        model: The catalog's facts; ``model.model_id`` is sent to Bedrock.
        region: Its own region; None: the manager's.
        request_fields: The request fields of ChatBedrockConverse that are set.
        inherited: Names of the fields that a fallback inherits from the agent.
        provider: The provider whose request fields the agent and its calls use: the primary's.
            None: the model's own.
        given: ``request_fields`` including those that the model does not accept.
        left_out: Names of the fields that the model does not accept.
        bounds: The geography of the chain's requests; None: no restriction.
        outside: Why this model would leave the geography; None if it would not.
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
        """Return the settings for ``model``, with the request fields that it accepts."""
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

    def health_key(self, request: ChatRequest) -> HealthKey:
        """Return the key of its health in ``Cooldowns``."""
        given, own = request.kwargs, self.request_fields
        tier = given.get("service_tier") or own.get("service_tier")
        performance = given.get("performance_config") or own.get("performance_config")
        latency = performance.get("latency") if performance else None
        tier = None if tier == "default" else tier
        latency = None if latency == "standard" else latency
        return HealthKey(self.region, self.model.model_id, tier, latency)

    @property
    def label(self) -> str:
        """The model's name in errors, distinct from others with the same id in its chain."""
        tier = self.request_fields.get("service_tier")
        return str(HealthKey(self.region, self.model.model_id, tier, None))

    @property
    def doubt(self) -> str | None:
        """A warning if this model may leave the geography, or None."""
        return None if self.bounds is None else self.bounds.doubt_about(self.model)

    def taken(
        self, fields: Mapping[str, Any], model: ModelConfig | None = None
    ) -> tuple[Mapping[str, Any], tuple[str, ...]]:
        """Return request fields without another provider's, and the names of those removed."""
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
    """Return the number of characters of text in LangChain or Bedrock messages."""
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

    langchain-aws 1.9.1 replaces messages in the list by converted ones, and strips trailing white
    space from the last one if it is the model's. Nothing else is copied.
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
    """Return the message without blank texts, which models put between citations.

    langchain-aws would send a full stop instead of each (1.9.1).
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
    """Return the message without server tool blocks of another provider, which Bedrock rejects.

    langchain-aws fails on their results: ``KeyError: 'toolUseId'`` (1.9.1).
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
    """Return ``max_tokens``, or the model's limit if that is lower."""
    return max_tokens if model.max_tokens is None else min(max_tokens, model.max_tokens)


def thinking_parameters(
    parameters: Mapping[str, Any],
    kwargs: Mapping[str, Any],
    *,
    model: ModelConfig | None = None,
    as_given: bool = False,
) -> dict[str, Any]:
    """Return the parameters that may turn thinking on; empty if none is set.

    Args:
        parameters: The candidate's parameters.
        kwargs: The call's keywords, which take precedence as in langchain-aws.
        model: Ignore thinking that this model does not accept, as its requests do.
        as_given: Ignore what langchain-aws does not recognise.
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
    """Return the choice in a form that the model accepts; None to omit it.

    Also returns None for a forced choice that the model does not accept: ``unsuited_because``
    skips such a model before. With one tool bound, its name and "any" are equivalent.
    """
    if choice in (None, "auto"):
        return choice if "auto" in supported else None
    if choice == "any" or (tool_count == 1 and "tool" not in supported):
        return "any" if "any" in supported else None
    return choice if "tool" in supported else None
