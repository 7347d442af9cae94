"""ModelManager: the configuration, clients, usage and metrics that all agents share."""

from __future__ import annotations

import weakref
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Self, Unpack

from langchain_modelmgr.agent import Agent, ChatFields
from langchain_modelmgr.bedrock.clients import Clients
from langchain_modelmgr.budgets.project_budgets import ProjectBudgets
from langchain_modelmgr.chain.builder import NO_OVERRIDES, ChainBuilder, Overrides
from langchain_modelmgr.chain.check import ChainChecks, check_chain
from langchain_modelmgr.chain.compatibility import Needs, check
from langchain_modelmgr.ledger.ledger import FLUSH_SECONDS
from langchain_modelmgr.ledger.query import usage, usage_sql
from langchain_modelmgr.metrics import SinkGroup
from langchain_modelmgr.metrics.defaults import sinks_and_ledger, spans_of
from langchain_modelmgr.model_calls import ModelCalls
from langchain_modelmgr.runtime.call_pool import MAX_CONCURRENCY, CallPool
from langchain_modelmgr.runtime.closer import CLOSER
from langchain_modelmgr.sharing.arguments import ManagerArguments
from langchain_modelmgr.sharing.registry import REGISTRY, restored
from langchain_modelmgr.usage.summary import UsageSummary, of_manager
from langchain_modelmgr.usage.totals import UsageTotals

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence
    from decimal import Decimal
    from pathlib import Path

    import boto3

    from langchain_modelmgr.batch import Job
    from langchain_modelmgr.budgets import BudgetStatus, TaskBudget
    from langchain_modelmgr.catalog import ModelCatalog, ModelConfig
    from langchain_modelmgr.chat_model import ManagedBedrockChat
    from langchain_modelmgr.config import ConfigurationManager
    from langchain_modelmgr.ledger.time_range import Moment
    from langchain_modelmgr.ledger.usage_table import UsageTable
    from langchain_modelmgr.metrics import MetricsSink, SinkStats
    from langchain_modelmgr.usage.summary import UsageFigures
    from langchain_modelmgr.usage.tracks import UsageTrack


class ModelManager(ModelCalls):
    """Owns what the agents of a process share: configuration, catalog, clients, usage, metrics.

    Args:
        config: The configuration.
        region: AWS region; takes precedence over the YAML's ``aws.region``.
        session: A boto3 session, for example with an assumed role, SSO or another account.
            Default: boto3 finds region and credentials as usual.
        sinks: The sinks for usage records. Default: the YAML's ``metrics.sink``.
            ``metrics.otel`` adds its own to either.
        ledger: Where attempts are kept: ``auto``, ``off``, or a folder. Default: the YAML's
            ``ledger``; if ``sinks`` are given, in memory.
        max_concurrency: Largest number of concurrent async calls; one model may have four fifths
            of them. Twice as many connections are kept per region.

    Example:
        ``with ModelManager(ConfigurationManager("prod")) as manager: ...`` delivers the metrics at
        the end of the block.
    """

    def __init__(  # noqa: PLR0913 - what may be replaced, keyword-only
        self,
        config: ConfigurationManager,
        region: str | None = None,
        *,
        session: boto3.Session | None = None,
        sinks: Sequence[MetricsSink] | None = None,
        ledger: str | Path | None = None,
        max_concurrency: int = MAX_CONCURRENCY,
    ) -> None:
        self.config = config
        self.is_forgotten = False
        self._arguments = ManagerArguments(region, session, sinks, max_concurrency, ledger)
        self.clients = Clients(
            session=session,
            profile=config.aws.profile,
            region=region or config.aws.region,
            endpoint_url=config.aws.endpoint_url,
            headers=config.aws.default_headers,
            connections=2 * max_concurrency,  # paused streams and cancelled calls use some too
            source=str(config),
        )
        self.pool = CallPool(max_concurrency)
        self.budgets = ProjectBudgets(config)
        own, self.ledger = sinks_and_ledger(
            config,
            self.clients.cloudwatch,
            given=sinks,
            where=ledger,
            gauges=self.budgets.gauges,
        )
        self.totals = UsageTotals(UsageSummary(), SinkGroup((*(sinks or ()), *own)), self.ledger)
        spans = spans_of(config, self.totals.sinks)
        self.chains = ChainBuilder(config, self.clients, self.pool, spans)
        self.budgets.is_tracked = self.totals.is_tracked
        # A finalizer of the totals, not of the manager: a running call refers to the totals.
        finalizer = weakref.finalize(
            self.totals, CLOSER.put, self.ledger, *own, self.pool, self.clients
        )
        finalizer.atexit = False
        self._name = REGISTRY.add(self)

    @property
    def catalog(self) -> ModelCatalog:
        """The known models, including those under ``models:`` in the YAML."""
        return self.config.catalog

    def agent(self, agent_name: str, overrides: Overrides = NO_OVERRIDES) -> Agent:
        """Return an agent that uses this manager."""
        return Agent(agent_name, self.config, self.chains, self.totals, self.budgets, overrides)

    def chat_model(self, agent_name: str, **overrides: Unpack[ChatFields]) -> ManagedBedrockChat:
        """Return an agent's chat model that uses this manager.

        Args:
            agent_name: The key under ``agents:``.
            **overrides: Further fields of ``ManagedBedrockChat``.

        Raises:
            ConfigurationError: The agent is unknown or disabled.
            ModelCompatibilityError: The model lacks a capability that the agent ``requires``.
        """
        from langchain_modelmgr import ManagedBedrockChat

        overrides["manager"] = self
        return ManagedBedrockChat(agent_name, **overrides)

    # -- the design guide's methods, for code without LangChain

    def get_model_for_agent(self, agent_name: str) -> str:
        """Return the model id of an agent; ``ConfigurationError`` if it is unknown or disabled."""
        return self.config.agent(agent_name).chosen_model

    def get_fallback_model(self, primary_model_id: str) -> str | None:
        """Return a model's fallback by the family rule; None if it has none."""
        return self.catalog.fallback_for(primary_model_id)

    def get_model_config(self, model_id: str) -> ModelConfig | None:
        """Return the facts of a model; None if it is not in the catalog."""
        return self.catalog.get(model_id)

    def list_available_models(self) -> list[dict[str, Any]]:
        """Return the catalog's models as plain dicts."""
        return [asdict(model) for model in self.catalog]

    def validate_model_compatibility(
        self,
        model_id: str,
        requires_tools: bool = False,  # noqa: FBT001, FBT002 - the guide's signature
        requires_streaming: bool = False,  # noqa: FBT001, FBT002
    ) -> tuple[bool, str | None]:
        """Return whether a model has the required capabilities, and the reason if it has not."""
        model = self.catalog.get(model_id)
        if model is None:
            return False, f"Unknown model {model_id!r}"
        reason = check(Needs(tools=requires_tools, streaming=requires_streaming), model)
        return reason is None, reason

    def track(self, task: str | None = None) -> UsageTrack:
        """Return a context manager that measures the usage of the calls in its block.

        It includes calls in asyncio tasks and LangChain's batches. For plain threads and
        executors, use ``usage.bind(function)``.

        Args:
            task: Also include calls, in any thread, that have this value in their metadata:
                ``llm.invoke(..., {"metadata": {"modelmgr_task": task}})``.
        """
        return self.totals.track(task)

    # -- budgets

    def budget(
        self,
        task: str | None = None,
        *,
        usd: Decimal | float | str | None = None,
        tokens: int | None = None,
        wait_seconds: float = 0.0,
    ) -> TaskBudget:
        """Return a context manager that limits what the calls in its block may spend.

        For plain threads and executors, use ``task.bind(function)``, or the metadata key
        ``modelmgr_task`` with the task's name.

        Args:
            task: The task's name. The same name continues what was spent, in any process, for 30
                days. None: the budget is this object's own, in memory.
            usd: The limit in USD.
            tokens: The limit in tokens, in place of ``usd``.
            wait_seconds: How long a call waits for money that other calls hold.

        Raises:
            ConfigurationError: An argument is wrong.
        """
        return self.budgets.task(task, usd=usd, tokens=tokens, wait_seconds=wait_seconds)

    def budget_status(self) -> list[BudgetStatus]:
        """Return what is spent in the current window of each budget of the YAML, by key.

        Raises:
            BudgetStoreError: The store of the budgets can't be used.
        """
        return self.budgets.status()

    def reset_budget(self, name: str, key: str | None = None) -> None:
        """Set what is spent of a budget to 0, in all windows; what calls hold stays.

        Args:
            name: The budget's name, or a task's.
            key: The only value of ``by`` to reset; None: all.

        Raises:
            BudgetStoreError: The store of the budgets can't be used.
            ConfigurationError: No budget has this name.
        """
        self.budgets.reset(name, key)

    # -- batch jobs

    def batch(  # noqa: PLR0913 - the parts of a job, keyword-only
        self,
        agent_name: str,
        rows: Any,
        *,
        into: str | os.PathLike[str],
        key: str | None = None,
        prompt: str | None = None,
        system: str = "",
    ) -> Job:
        """Return the job that asks an agent's model for each of many rows; make its plan.

        Nothing is sent to a model before ``job.run()``. The same call finds the job again.

        Args:
            agent_name: The key under ``agents:``.
            rows: A .parquet, .csv or .jsonl file; or an iterable of dicts, texts, messages or
                lists of messages.
            into: Where the plan and the results are: a folder, or ``s3://bucket/prefix``.
            key: The column that identifies a row; None: the rows' numbers, from 0.
            prompt: The prompt, such as ``"Label this: {text}"``, with columns in braces.
            system: The system prompt.

        Raises:
            ConfigurationError: The agent is unknown, or the extra ``batch`` is not installed.
            JobError: A row or an argument is wrong, or ``into`` has another plan.
        """
        from langchain_modelmgr.batch.job import Job

        return Job.planned(self, agent_name, rows, into=into, key=key, prompt=prompt, system=system)

    # -- checks

    def check_chains(self, *, live: bool = False) -> ChainChecks:
        """Check whether each model in the chains of the enabled agents can serve its agent.

        The check uses the catalog: required capabilities, guardrail and region, retirement,
        context window, price.

        Args:
            live: Also send one token to each model, which is billed and recorded.

        Returns:
            One entry per model, by agent, in the order of the chain.
        """
        return ChainChecks(
            check
            for name in self.config.enabled_agents
            for check in check_chain(
                name,
                self.config,
                self.agent(name).chain().candidates,
                self.chains.serves_retired,
                self.totals if live else None,
            )
        )

    # -- usage

    def get_usage_summary(self) -> UsageFigures:
        """Return calls, attempts, tokens, latency and cost so far, in total, by agent and model."""
        return of_manager(
            self.totals.summary.as_dict(),
            asdict(self.totals.sinks.stats()),
            self.budgets.unconfirmed.as_dict(),
        )

    def usage(
        self,
        since: Moment = "7d",
        *,
        until: Moment | None = None,
        by: str | Sequence[str] = ("agent", "model"),
        where: Mapping[str, Any] | None = None,
        timezone: str | None = None,
    ) -> UsageTable:
        """Return the usage and cost of attempts of all processes up to now, from the ledger.

        Args:
            since: ``7d`` or ``24h`` before now, rounded to a quarter of an hour; ``today``,
                ``yesterday`` or a month (``2026-11``), which also set the end; or a start as a
                date or datetime.
            until: The end (exclusive), as a date or datetime.
            by: Columns to group by: columns of the ledger, ``day``, ``hour``, ``metadata.<key>``.
            where: Filters: a value or a list of values by column. The default ``environment`` is
                this manager's.
            timezone: IANA name of the time zone of days, hours and datetimes; None means UTC.

        Raises:
            ValueError: A name or a time is not valid, or the ledger no longer keeps that time.
            LedgerError: The ledger can't be read.
        """
        return usage(self.ledger, since=since, until=until, by=by, where=where, timezone=timezone)

    def usage_sql(
        self, statement: str, parameters: Sequence[Any] | Mapping[str, Any] = ()
    ) -> list[dict[str, Any]]:
        """Run a read-only SELECT over the ledger's tables ``attempts`` and ``totals``.

        Args:
            statement: The statement, in SQLite's SQL.
            parameters: Values for its ``?`` or ``:name`` placeholders.

        Raises:
            ValueError: SQLite rejected the statement; the message says why.
            LedgerError: The ledger can't be read.
        """
        return usage_sql(self.ledger, statement, parameters)

    def flush_metrics(self, timeout: float | None = None) -> SinkStats:
        """Deliver all metrics that the sinks still hold.

        Args:
            timeout: Longest time to wait in seconds; None means the default of the sinks.

        Returns:
            Counts of data points.
        """
        return self.totals.flush(FLUSH_SECONDS if timeout is None else timeout)

    def close(self) -> None:
        """End open streams and waiting calls, deliver metrics, close files and connections.

        Calls that were already sent run to their end. A closed manager can be used again.
        """
        self.pool.close()
        self.budgets.close()
        self.ledger.close()
        self.totals.sinks.close()
        self.clients.close()

    def forget(self) -> None:
        """Close this manager; chat models that share it by configuration get a new one."""
        self.is_forgotten = True
        REGISTRY.forget(self)
        self.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the arguments; within this process, unpickling returns this manager itself."""
        given = None if REGISTRY.is_shared(self) else self._arguments.portable(repr(self))
        return restored, (type(self), self._name, self.config, given)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.config!r})"
