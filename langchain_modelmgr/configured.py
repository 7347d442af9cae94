"""The fields of a managed model, and what they stand for: manager, chain, accounts."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Self

from pydantic import ConfigDict, Field, PrivateAttr

from langchain_modelmgr.aws_settings import endpoint_now
from langchain_modelmgr.chain.builder import CallSettings
from langchain_modelmgr.chain.call import ChainInput
from langchain_modelmgr.chain.compatibility import Needs, needs_of
from langchain_modelmgr.chain.keywords import check_kind, keywords_of
from langchain_modelmgr.chain.request import ChatRequest
from langchain_modelmgr.config import ConfigurationManager
from langchain_modelmgr.config.problems import nearest
from langchain_modelmgr.config.schema import PLACES
from langchain_modelmgr.errors import ConfigurationError
from langchain_modelmgr.joining import JoinsHandler
from langchain_modelmgr.manager import ModelManager
from langchain_modelmgr.profiles import ChainProfile, chain_profile
from langchain_modelmgr.registry import REGISTRY
from langchain_modelmgr.tools import settled
from langchain_modelmgr.totals import CURRENT_RUN, CallAccount, Run

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from langchain_core.callbacks import BaseRunManager
    from langchain_core.messages import BaseMessage

    from langchain_modelmgr.chain.fallback import CandidateChain


class ConfiguredModel(JoinsHandler):
    """A chat model whose fields name an agent; they are resolved again whenever one changes."""

    model_config = ConfigDict(populate_by_name=True, extra="forbid", hide_input_in_errors=True)

    agent_name: str
    """The key under ``agents:``; the CloudWatch dimension ``Agent``."""

    environment: str | None = None
    """``<environment>.yaml``; None: the variable ``MODELMGR_ENV``, else ``dev``."""

    config: ConfigurationManager | None = Field(default=None, repr=False)
    """A configuration; over ``environment``."""

    manager: ModelManager | None = Field(default=None, repr=False)
    """A shared manager; over ``config``."""

    use_fallback: bool = True
    """False: the primary alone."""

    max_tokens: int | None = Field(default=None, ge=1)
    """Output tokens at most; capped at each model's own limit."""

    temperature: float | None = Field(default=None, ge=0)
    """Sampling temperature."""

    top_p: float | None = Field(default=None, ge=0, le=1)
    """Nucleus sampling."""

    stop_sequences: list[str] | None = Field(default=None, alias="stop")
    """Texts that end the answer."""

    timeout: float | None = Field(default=None, gt=0)
    """Seconds that one attempt may wait for bytes; None: the agent's ``timeout_seconds``."""

    max_retries: int | None = Field(default=None, ge=0)
    """Further attempts of the last model of the chain for passing failures; None: the agent's
    ``retries``."""

    streaming: bool | None = None
    """True: ``invoke`` streams too, so that handlers hear each token. False: nothing streams."""

    _resolved: _Resolved | None = PrivateAttr(default=None)

    if not TYPE_CHECKING:  # for type checkers the fields are the signature

        def __init__(self, **kwargs: Any) -> None:
            if isinstance(kwargs.get("profile"), ChainProfile):
                del kwargs["profile"]  # of the object that configurable_fields rebuilds
            self._refuse_unknown(kwargs)
            super().__init__(**kwargs)
            # Not in a validator: pydantic would turn a ConfigurationError into its own.
            self._check_requirements()
            if self.profile is None:
                self.profile = self._chain_profile()

    @classmethod
    def _refuse_unknown(cls, names: Iterable[str]) -> None:
        known = {*cls.model_fields, *(f.alias for f in cls.model_fields.values() if f.alias)}
        if cls.model_config["extra"] == "forbid" and (unknown := sorted({*names} - known)):
            name = unknown[0]
            hint = f": in the YAML, {PLACES[name]}" if name in PLACES else nearest(name, known)
            raise ConfigurationError(f"{cls.__name__} has no field {name!r}{hint}")

    @property
    def model_manager(self) -> ModelManager:
        """The manager that this model uses: given, of its configuration, or of its environment."""
        return self._resolve_now(here=False).manager

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Return a copy; a changed agent or configuration is resolved again."""
        copied = super().model_copy(update=update, deep=deep)
        copied._check_requirements()
        if isinstance(copied.profile, ChainProfile):
            copied.profile = copied._chain_profile()  # type: ignore[assignment]
        return copied

    def __getstate__(self) -> dict[Any, Any]:
        """Return what travels: the YAML, unfilled; no client, no credential."""
        state = super().__getstate__()
        values = dict(state["__dict__"])
        if self.manager is None:  # the other process may have no such file
            values["config"] = self.model_manager.config
        return {**state, "__dict__": values, "__pydantic_private__": {"_resolved": None}}

    # -- a call

    def _open(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None,
        run_manager: BaseRunManager | None,
        kwargs: dict[str, Any],
    ) -> tuple[CandidateChain, ChainInput]:
        agent = self._resolve_now().manager.config.agent(self.agent_name)
        kwargs = keywords_of(kwargs, of=f"agent {self.agent_name!r}", langchain=True)
        model = kwargs.pop("model", None)
        timeout = kwargs.pop("timeout", None) or self.timeout or agent.timeout_seconds
        kwargs.setdefault("cache_control", agent.cache_control)
        kwargs = settled(kwargs)
        check_kind("stop_sequences", stop, of=f"agent {self.agent_name!r}")
        request = ChatRequest(
            messages=messages,
            stop=stop,
            kwargs=kwargs,
            needs=needs_of(messages, kwargs) | Needs.of_agent(agent.requires),
            timeout=timeout,
        )
        run = _run_of(run_manager) or CURRENT_RUN.get()
        return self._chain(model), ChainInput(request, self._account(run))

    def _account(self, run: Run | None) -> CallAccount:
        return CallAccount(self._resolve().manager.totals, self.agent_name, run or Run())

    def _chain(self, model: str | None) -> CandidateChain:
        check_kind("model", model, of=f"agent {self.agent_name!r}")
        resolved = self._resolve()
        return resolved.manager.chains.chain(self.agent_name, resolved.settings, model)

    def _require(self, needs: Needs, model: str | None, *, tool_count: int = 1) -> None:
        primary = self._chain(model).candidates[0]
        self._resolve().manager.chains.require(
            self.agent_name, primary.spec.model, needs, tool_count=tool_count
        )

    def _check_requirements(self) -> None:
        agent = self._resolve().manager.config.agent(self.agent_name)
        self._require(Needs.of_agent(agent.requires), None)

    def _chain_profile(self) -> ChainProfile:
        return chain_profile([c.spec.model for c in self._chain(None).candidates])

    def _settings(self) -> CallSettings:
        stops = self.stop_sequences
        return CallSettings(
            use_fallback=self.use_fallback,
            max_tokens=self.max_tokens,
            temperature=self.temperature,
            top_p=self.top_p,
            stop_sequences=None if stops is None else tuple(stops),
            timeout=self.timeout,
            max_retries=self.max_retries,
        )

    def _resolve(self) -> _Resolved:
        """Return what the fields stand for; again whenever one of them has changed."""
        stops = self.stop_sequences
        key = (*map(self.__dict__.get, _RESOLVED_FIELDS), None if stops is None else tuple(stops))
        if self._resolved is None or self._resolved.key != key:
            manager = self.manager
            if manager is None:
                config = self.config or ConfigurationManager(self.environment)
                manager = REGISTRY.shared(config, ModelManager)
            self._resolved = _Resolved(key, manager, self._settings())
        return self._resolved

    def _resolve_now(self, *, here: bool = True) -> _Resolved:
        """Return the same, again if the manager was forgotten.

        Args:
            here: Again also if the environment leads to another AWS than it did: for a call.
        """
        resolved = self._resolve()
        if self.manager is None and (
            resolved.manager.is_forgotten or (here and resolved.endpoint != endpoint_now())
        ):
            manager = REGISTRY.shared(resolved.manager.config, ModelManager)
            resolved = self._resolved = _Resolved(resolved.key, manager, resolved.settings)
        return resolved


_RESOLVED_FIELDS = (
    "agent_name",
    "environment",
    "config",
    "manager",
    *(f.name for f in fields(CallSettings) if f.name != "stop_sequences"),
)
"""The fields that a model's manager and chain depend on; stop sequences are a list, so apart."""


@dataclass(frozen=True)
class _Resolved:
    """What a model's fields stand for; shared by its copies while the fields are the same."""

    key: tuple[Any, ...]
    manager: ModelManager
    settings: CallSettings
    endpoint: tuple[str | None, str | None] = field(default_factory=endpoint_now)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self


def _run_of(run_manager: BaseRunManager | None) -> Run | None:
    if run_manager is None:
        return None
    return Run(str(run_manager.run_id), tuple(run_manager.tags), run_manager.metadata)


ConfiguredModel.model_rebuild()
