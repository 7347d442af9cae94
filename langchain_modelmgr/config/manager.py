"""ConfigurationManager: reads the YAML of one environment and returns its agents."""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import ValidationError

from langchain_modelmgr.catalog import ModelCatalog
from langchain_modelmgr.config.budget_problems import problems_of_budgets
from langchain_modelmgr.config.budget_schema import BudgetsConfig
from langchain_modelmgr.config.chain_problems import problems_of_chains
from langchain_modelmgr.config.filling import fill
from langchain_modelmgr.config.model_ids import problems_of_models
from langchain_modelmgr.config.problems import nearest, problems_of
from langchain_modelmgr.config.schema import (
    AGENT_SCALARS,
    AgentConfig,
    ConfigFile,
    FallbackConfig,
    LedgerConfig,
)
from langchain_modelmgr.config.yaml_tree import Located, Problem, YamlError, merged, read_tree
from langchain_modelmgr.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from langchain_modelmgr.config.metrics_schema import MetricsConfig
    from langchain_modelmgr.config.schema import AWSConfig, BatchConfig

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
    """The configuration of one environment, immutable after it is read.

    Args:
        environment: The name of the file to read, ``<environment>.yaml``, merged over ``base.yaml``
            if that exists. Default: the environment variable ``MODELMGR_ENV``, else ``dev``.
        config_dir: The folder of the files. Default: the environment variable
            ``MODELMGR_CONFIG_DIR``, else ``./config``.

    Raises:
        ConfigurationError: The files have mistakes. The message has one line for each: file, line,
            agent, key, and what would be right.
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
        """The first part of the CloudWatch namespace."""
        return self._file.project_prefix

    @property
    def namespace(self) -> str:
        """The CloudWatch namespace: ``{project_prefix}/Models``."""
        return f"{self.project_prefix}/Models"

    @property
    def default_model(self) -> str | None:
        """The model id of agents without a ``model``."""
        return self._file.default_model

    @property
    def context_window_size(self) -> int | None:
        """How many turns an agent should remember. Agents trim themselves (``trim_messages``)."""
        return self._file.context_window_size

    @property
    def aws(self) -> AWSConfig:
        """Region, endpoint and profile."""
        return self._file.aws

    @property
    def metrics(self) -> MetricsConfig:
        """The metrics sink and its options."""
        return self._file.metrics

    @property
    def ledger(self) -> LedgerConfig:
        """The ledger's folder and how much it keeps."""
        found = self._file
        return LedgerConfig(
            found.ledger, found.ledger_days, found.ledger_max_mb, found.ledger_metadata
        )

    @property
    def batch(self) -> BatchConfig:
        """The defaults of batch jobs."""
        return self._file.batch

    @property
    def budgets(self) -> BudgetsConfig:
        """The budgets, by name, and where they are kept."""
        found = self._file
        return BudgetsConfig(
            found.budgets, found.state, found.state_required, found.budgets_max_tokens
        )

    @property
    def retired_models(self) -> Literal["problem", "warning"]:
        """Whether ``check_chains()`` reports retired models as problems or as warnings."""
        return self._file.retired_models

    @property
    def agent_names(self) -> tuple[str, ...]:
        """The names of all agents, disabled ones included, in the order of the files."""
        return tuple(self._file.agents)

    @property
    def enabled_agents(self) -> tuple[str, ...]:
        """The names of the agents that are not disabled."""
        return tuple(name for name, agent in self._file.agents.items() if agent.enabled)

    def agent(self, name: str) -> AgentConfig:
        """Return an agent's configuration, with ``default_model`` if it has no model.

        Raises:
            ConfigurationError: The agent is unknown or disabled.
        """
        agent = self._file.agents.get(name)
        if agent is None and self._file.allow_unknown and self.default_model:
            return AgentConfig(model=self.default_model)
        if agent is None:
            raise ConfigurationError(
                f"{self._where}: unknown agent {name!r}{nearest(name, self.agent_names)}"
            )
        if not agent.enabled:
            raise ConfigurationError(
                f"{self._where}: agents.{name}: the agent is disabled: set enabled: true"
            )
        if agent.model or not self.default_model:
            return agent
        return agent.model_copy(update={"model": self.default_model})

    def fallbacks_of(
        self, agent: AgentConfig, *, primary: str, region: str | None
    ) -> tuple[FallbackConfig, ...]:
        """Return the fallbacks of an agent's chain: its YAML's, else the family rule's.

        Args:
            agent: The agent.
            primary: The model that the chain starts with.
            region: The region of models without their own; None: unknown.

        Returns:
            The fallbacks, without those that are the primary once more.
        """
        if agent.fallbacks is None:
            by_family = self.catalog.fallback_for(primary)
            return (FallbackConfig(model=by_family),) if by_family else ()
        own = agent.candidate_key(FallbackConfig(model=primary), region)
        return tuple(f for f in agent.fallbacks if agent.candidate_key(f, region) != own)

    def models_of(self, name: str) -> tuple[str, ...]:
        """Return the model ids in an agent's YAML: the agent's own, then its fallbacks'."""
        agent = self._file.agents[name]
        own = agent.model or self.default_model
        return (*([own] if own else []), *(f.model for f in agent.fallbacks or ()))

    def located(self, *keys: str) -> Located | None:
        """Return a value of the files with its file and line; None: the files do not set it."""
        found: Located | None = _tree(self._texts)
        for key in keys:
            found = found.value.get(key) if found and isinstance(found.value, dict) else None
        return found

    @property
    def texts(self) -> dict[str, str]:
        """The text of each file, by its path, as it was read."""
        return dict(self._texts)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.environment!r}, {str(self.config_dir)!r})"

    def __str__(self) -> str:
        return str(self._where)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def __getstate__(self) -> dict[str, Any]:
        # The YAML before references are filled: they are filled again where it is unpickled.
        return {k: self.__dict__[k] for k in ("environment", "config_dir", "_texts")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._load()

    @property
    def _where(self) -> Path:
        return self.config_dir / f"{self.environment}{_SUFFIX}"

    def _load(self) -> None:
        problems: list[Problem] = []
        filled = fill(_without_extensions(_tree(self._texts)), os.environ, problems)
        if problems:
            raise _error(problems)
        tree = _reshaped(filled, problems)
        self._file = _validated(tree, problems)
        self.catalog = ModelCatalog({k: v.facts() for k, v in self._file.models.items()})
        problems += problems_of_models(self._file, tree, self.catalog)
        problems += problems_of_chains(self._file, tree, self.catalog)
        problems += problems_of_budgets(self._file, tree, self.catalog)
        if problems:
            raise _error(problems)
        content = json.dumps(_plain(filled), sort_keys=True, default=str)
        named = f"{self.config_dir}\0{self.environment}\0{content}"
        self.fingerprint = hashlib.sha256(named.encode()).hexdigest()


def is_environment(name: str) -> bool:
    """Return whether a name can be an environment's: it is part of a file's name."""
    return _NAME.fullmatch(name) is not None


def _read(folder: Path, environment: str) -> Iterator[tuple[str, str]]:
    """Yield the name and text of each file, ``base.yaml`` first."""
    file = folder / f"{environment}{_SUFFIX}"
    if not is_environment(environment):
        raise ConfigurationError(
            f"environment {environment!r} is not a valid name: use letters, digits, _ or -"
        )
    if not folder.is_dir():
        raise ConfigurationError(
            f"folder {folder} does not exist: pass config_dir=, or set {FOLDER_VARIABLE}"
        )
    if not file.is_file():
        there = [p.stem for p in folder.glob(f"*{_SUFFIX}") if p.stem != _BASE]
        raise ConfigurationError(f"file {file} does not exist{nearest(environment, there)}")
    for path in (folder / f"{_BASE}{_SUFFIX}", file):
        if path.is_file():
            try:
                yield str(path), path.read_text("utf-8-sig")
            except (OSError, UnicodeDecodeError) as error:
                raise ConfigurationError(
                    f"{path}: cannot be read: {type(error).__name__}"
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
            problems.append(Problem(file, 1, "the file is empty: it needs at least agents:"))
        elif not isinstance(read.value, dict):
            problems.append(Problem(file, read.line, "the file must be a map with agents:"))
        else:
            tree = merged(tree, read) if tree else read
    if problems or tree is None:
        raise _error(problems)
    return tree


def _without_extensions(tree: Located) -> Located:
    """Return the tree without top-level ``x-`` keys, which may hold YAML anchors."""
    kept = {key: child for key, child in tree.value.items() if not key.startswith(_EXTENSION)}
    return Located(kept, tree.file, tree.line)


def _plain(tree: Located) -> Any:
    if isinstance(tree.value, dict):
        return {key: _plain(child) for key, child in tree.value.items()}
    if isinstance(tree.value, list):
        return [_plain(child) for child in tree.value]
    return tree.value


def _reshaped(tree: Located, problems: list[Problem]) -> Located:
    """Return the tree as ``ConfigFile`` has it, with the scalars of ``agents:`` at the top level.

    Args:
        tree: The filled tree of the files.
        problems: Gets a problem for each scalar or agent in the wrong place.
    """
    agents: Located | None = tree.value.get("agents")
    if agents is None or agents.value is None:
        problems.append(Problem(tree.file, tree.line, "agents: is missing"))
        return tree
    if not isinstance(agents.value, dict):
        return tree
    for name in AGENT_SCALARS:
        if name in tree.value:
            text = f"{name} belongs under agents:"
            problems.append(Problem(tree.file, tree.value[name].line, text))
    scalars = {name: agents.value[name] for name in AGENT_SCALARS if name in agents.value}
    named: dict[str, Located] = {}
    for name, agent in agents.value.items():
        if name in scalars:
            continue
        if isinstance(agent.value, dict):
            named[name] = agent
        elif agent.value is None:
            named[name] = replace(agent, value={})
        else:
            text = f"agents.{name}: an agent must be a map{nearest(name, AGENT_SCALARS)}"
            problems.append(Problem(agent.file, agent.line, text))
    return replace(tree, value={**tree.value, **scalars, "agents": replace(agents, value=named)})


def _validated(tree: Located, problems: list[Problem]) -> ConfigFile:
    try:
        return ConfigFile.model_validate(_plain(tree))
    except ValidationError as error:
        problems += problems_of(error, ConfigFile, tree)
        raise _error(problems) from None


def _error(problems: list[Problem] | tuple[Problem, ...]) -> ConfigurationError:
    ordered = sorted(problems, key=lambda p: (p.file, p.line))
    return ConfigurationError("\n".join(map(str, ordered)))
