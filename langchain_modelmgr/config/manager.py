"""ConfigurationManager: reads an environment's YAML, and hands out its agents."""

from __future__ import annotations

import hashlib
import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import ValidationError

from langchain_modelmgr.catalog import ModelCatalog, ModelConfig
from langchain_modelmgr.catalog.geography import Place, place_of, why_outside
from langchain_modelmgr.config.filling import fill
from langchain_modelmgr.config.model_ids import problems_of_models
from langchain_modelmgr.config.parameters import misfits
from langchain_modelmgr.config.problems import nearest, problems_of
from langchain_modelmgr.config.schema import (
    AGENT_SCALARS,
    AgentConfig,
    FallbackConfig,
    LedgerSettings,
    Settings,
)
from langchain_modelmgr.config.yaml_tree import Located, Problem, YamlError, merged, read_tree
from langchain_modelmgr.errors import ConfigurationError
from langchain_modelmgr.runtime.masking import mask_account_ids

if TYPE_CHECKING:
    from collections.abc import Iterator

    from langchain_modelmgr.config.schema import AWSConfig, MetricsConfig

ENVIRONMENT_VARIABLE = "MODELMGR_ENV"
FOLDER_VARIABLE = "MODELMGR_CONFIG_DIR"
DEFAULT_ENVIRONMENT = "dev"
DEFAULT_FOLDER = "config"

_SUFFIX = ".yaml"
_BASE = "base"
_EXTENSION = "x-"
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_Texts = tuple[tuple[str, str], ...]


class ConfigurationManager:
    """The configuration of one environment; never changed after it was read.

    Args:
        environment: ``<environment>.yaml`` is read, over ``base.yaml`` if there is one; None: the
            variable ``MODELMGR_ENV``, else ``dev``.
        config_dir: The folder; None: the variable ``MODELMGR_CONFIG_DIR``, else ``./config``.

    Raises:
        ConfigurationError: Every mistake of the files, one a line: file, line, agent, key, what
            would be right.
    """

    def __init__(
        self, environment: str | None = None, config_dir: str | os.PathLike[str] | None = None
    ) -> None:
        self.environment = (
            environment or os.environ.get(ENVIRONMENT_VARIABLE) or DEFAULT_ENVIRONMENT
        )
        folder = config_dir or os.environ.get(FOLDER_VARIABLE) or DEFAULT_FOLDER
        self.config_dir = Path(folder).expanduser().resolve()
        self._texts: _Texts = tuple(_read(self.config_dir, self.environment))
        self._load()

    @property
    def project_prefix(self) -> str:
        """What CloudWatch's namespace begins with."""
        return self._settings.project_prefix

    @property
    def namespace(self) -> str:
        """CloudWatch's namespace."""
        return f"{self.project_prefix}/Models"

    @property
    def default_model(self) -> str | None:
        """The model of agents that name none."""
        return self._settings.default_model

    @property
    def context_window_size(self) -> int | None:
        """Turns that agents are to remember. They trim (``trim_messages``); nothing here does."""
        return self._settings.context_window_size

    @property
    def aws(self) -> AWSConfig:
        """Region, endpoint and profile."""
        return self._settings.aws

    @property
    def metrics(self) -> MetricsConfig:
        """Where usage records go."""
        return self._settings.metrics

    @property
    def ledger(self) -> LedgerSettings:
        """Where attempts are kept, and how much of them."""
        found = self._settings
        return LedgerSettings(
            found.ledger, found.ledger_days, found.ledger_max_mb, found.ledger_metadata
        )

    @property
    def retired_models(self) -> Literal["problem", "warning"]:
        """What ``check_chains()`` makes of models past their end."""
        return self._settings.retired_models

    @property
    def agent_names(self) -> tuple[str, ...]:
        """The agents, in the files' order, those that are disabled too."""
        return tuple(self._settings.agents)

    @property
    def enabled_agents(self) -> tuple[str, ...]:
        """The agents that may be used."""
        return tuple(name for name, agent in self._settings.agents.items() if agent.enabled)

    def agent(self, name: str) -> AgentConfig:
        """Return an agent, its model filled in.

        Raises:
            ConfigurationError: There is no such agent, or it is disabled.
        """
        agent = self._settings.agents.get(name)
        if agent is None and self._settings.allow_unknown and self.default_model:
            return AgentConfig(model=self.default_model)
        if agent is None:
            raise ConfigurationError(
                f"{self._where}: there is no agent {name!r} under agents:"
                f"{nearest(name, self.agent_names)}"
            )
        if not agent.enabled:
            raise ConfigurationError(
                f"{self._where}: agents.{name}: the agent is disabled; enabled: true enables it"
            )
        return agent.model_copy(update={"model": agent.model or self.default_model})

    def models_of(self, name: str) -> tuple[str, ...]:
        """Return the model ids that an agent's YAML names: its own, then its fallbacks'."""
        agent = self._settings.agents[name]
        own = agent.model or self.default_model
        return (*([own] if own else []), *(f.model for f in agent.fallbacks or ()))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.environment!r}, {str(self.config_dir)!r})"

    def __str__(self) -> str:
        return str(self._where)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def __getstate__(self) -> dict[str, Any]:
        # The YAML as it stands in its files: references are filled where it is loaded.
        return {k: self.__dict__[k] for k in ("environment", "config_dir", "_texts")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._load()

    @property
    def _where(self) -> Path:
        return self.config_dir / f"{self.environment}{_SUFFIX}"

    def _load(self) -> None:
        raw = _without_extensions(_tree(self._texts))
        problems: list[Problem] = []
        filled = fill(raw, os.environ, problems)
        if problems:
            raise _error(problems)
        data = _reshaped(_plain(filled), problems, raw)
        self._settings = _validated(data, raw, problems)
        self.catalog = ModelCatalog({k: v.facts() for k, v in self._settings.models.items()})
        problems += problems_of_models(self._settings, raw, self.catalog)
        problems += _of_chains(self._settings, raw, self.catalog)
        if problems:
            raise _error(problems)
        content = json.dumps(_plain(filled), sort_keys=True, default=str)
        named = f"{self.config_dir}\0{self.environment}\0{content}"
        self.fingerprint = hashlib.sha256(named.encode()).hexdigest()


def _read(folder: Path, environment: str) -> Iterator[tuple[str, str]]:
    """Yield the files' names and texts, the base first."""
    file = folder / f"{environment}{_SUFFIX}"
    if not _NAME.fullmatch(environment):
        raise ConfigurationError(
            f"the environment {environment!r} is no name: give letters, digits, _ and - only"
        )
    if not folder.is_dir():
        raise ConfigurationError(
            f"there is no folder {folder}: give config_dir=, or set {FOLDER_VARIABLE}"
        )
    if not file.is_file():
        there = [p.stem for p in folder.glob(f"*{_SUFFIX}") if p.stem != _BASE]
        raise ConfigurationError(f"there is no file {file}{nearest(environment, there)}")
    for path in (folder / f"{_BASE}{_SUFFIX}", file):
        if path.is_file():
            try:
                yield str(path), path.read_text("utf-8-sig")
            except (OSError, UnicodeDecodeError) as error:
                raise ConfigurationError(
                    f"{path}: can't be read: {type(error).__name__}"
                ) from error


def _tree(texts: _Texts) -> Located:
    problems: list[Problem] = []
    tree: Located | None = None
    for file, text in texts:
        try:
            read = read_tree(text, file)
        except YamlError as error:
            problems += error.problems
            continue
        if read is None:
            problems.append(Problem(file, 1, "the file is empty; it needs at least agents:"))
        elif not isinstance(read.value, dict):
            problems.append(Problem(file, read.line, "the file must be a map with agents:"))
        else:
            tree = merged(tree, read) if tree else read
    if problems or tree is None:
        raise _error(problems)
    return tree


def _without_extensions(tree: Located) -> Located:
    """Leave out the keys at the top that begin with ``x-``: a place for YAML's anchors."""
    kept = {key: child for key, child in tree.value.items() if not key.startswith(_EXTENSION)}
    return Located(kept, tree.file, tree.line)


def _plain(tree: Located) -> Any:
    if isinstance(tree.value, dict):
        return {key: _plain(child) for key, child in tree.value.items()}
    if isinstance(tree.value, list):
        return [_plain(child) for child in tree.value]
    return tree.value


def _reshaped(data: dict[str, Any], problems: list[Problem], raw: Located) -> dict[str, Any]:
    """Move the scalars that the guide keeps under ``agents:`` beside it."""
    agents = data.get("agents")
    if agents is None:
        problems.append(Problem(raw.file, raw.line, "agents: is missing; agents stand under it"))
        return data
    if not isinstance(agents, dict):
        return data
    for name in AGENT_SCALARS:
        if name in data:
            line = raw.value[name].line
            problems.append(Problem(raw.file, line, f"{name}: it stands under agents:"))
    scalars = {name: agents[name] for name in AGENT_SCALARS if name in agents}
    for name, agent in agents.items():
        if name not in scalars and agent is not None and not isinstance(agent, dict):
            at = raw.value["agents"].value[name]
            known = nearest(name, AGENT_SCALARS)
            text = f"agents.{name}: an agent must be a map{known}"
            problems.append(Problem(at.file, at.line, text))
    maps = {n: a or {} for n, a in agents.items() if a is None or isinstance(a, dict)}
    return {**data, **scalars, "agents": {n: a for n, a in maps.items() if n not in scalars}}


def _validated(data: dict[str, Any], raw: Located, problems: list[Problem]) -> Settings:
    try:
        settings = Settings.model_validate(data)
    except ValidationError as error:
        problems += problems_of(error, Settings, _as_settings(raw))
        raise _error(problems) from None
    return settings


def _as_settings(raw: Located) -> Located:
    """Return the tree in the shape of ``Settings``, for places."""
    agents = raw.value.get("agents")
    if agents is None or not isinstance(agents.value, dict):
        return raw
    scalars = {k: v for k, v in agents.value.items() if k in AGENT_SCALARS}
    return Located({**raw.value, **scalars}, raw.file, raw.line)


def _of_chains(settings: Settings, raw: Located, catalog: ModelCatalog) -> Iterator[Problem]:
    """Yield what is wrong between an agent's model and its fallbacks."""
    for name, agent in settings.agents.items():
        at = raw.value["agents"].value[name]
        primary = agent.model or settings.default_model
        if primary is None:
            text = f"agents.{name}: no model; give model, or agents.default_model"
            yield Problem(at.file, at.line, text)
            continue
        for parameter, text in misfits(agent.parameters, agent.parameters, catalog.get(primary)):
            yield _at_parameter(at, f"agents.{name}", parameter, text)
        asked = [agent.request_to(FallbackConfig(model=primary), settings.aws.region)]
        home = place_of(catalog.look_up(primary), settings.aws.region)
        for i, fallback in enumerate(agent.fallbacks or ()):
            request = agent.request_to(fallback, settings.aws.region)
            place = at.value["fallbacks"].value[i]
            path = f"agents.{name}.fallbacks[{i}]"
            if request in asked:
                text = f"{path}: this model is in the chain already, with the same parameters"
                yield Problem(place.file, place.line, text)
            asked.append(request)
            everything = {**agent.parameters, **fallback.parameters}
            model = catalog.get(fallback.model)
            for parameter, text in misfits(fallback.parameters, everything, model):
                yield _at_parameter(place, path, parameter, text)
            if "guardrail_config" in fallback.parameters and _guarded(agent) != _guarded(fallback):
                text = (
                    f"{path}.parameters: guardrail_config: a fallback keeps the agent's guardrail"
                )
                yield Problem(place.file, place.line, text)
            there = _place(settings, catalog, fallback)
            if wrong := why_outside(home, there):
                yield Problem(place.file, place.line, f"{path}: {wrong}")
            for wrong in _falls_short(agent, catalog.get(fallback.model)):
                yield Problem(place.file, place.line, f"{path}: {wrong}")


def _at_parameter(candidate: Located, path: str, key: str, text: str) -> Problem:
    at = candidate.value["parameters"].value[key]
    return Problem(at.file, at.line, f"{path}.parameters.{key}: {text}")


def _falls_short(agent: AgentConfig, model: ModelConfig | None) -> Iterator[str]:
    """Yield what the agent requires and a fallback of its own choice can't do."""
    for needed in agent.requires:
        if model is not None and getattr(model, f"supports_{needed}") is False:
            text = f"does not support {needed.replace('_', ' ')}, which the agent requires"
            yield f"{mask_account_ids(model.model_id)} {text}"


def _guarded(agent: AgentConfig | FallbackConfig) -> Any:
    return agent.parameters.get("guardrail_config")


def _place(settings: Settings, catalog: ModelCatalog, fallback: FallbackConfig) -> Place:
    model = catalog.look_up(fallback.model, fallback.base_model)
    return place_of(model, fallback.region or settings.aws.region)


def _error(problems: list[Problem] | tuple[Problem, ...]) -> ConfigurationError:
    ordered = sorted(problems, key=lambda p: (p.file, p.line))
    return ConfigurationError("\n".join(map(str, ordered)))
