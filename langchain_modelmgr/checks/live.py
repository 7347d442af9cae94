"""Checks that ask AWS: identity, clock, models and their access, profiles, guardrails, metrics.

Nothing is billed, and nothing is changed. Checked against the local AWS only.
"""

from __future__ import annotations

import datetime as dt
import email.utils
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from langchain_modelmgr.bedrock.failures import classify
from langchain_modelmgr.chain.next_step import next_step
from langchain_modelmgr.checks.finding import Finding, attempted
from langchain_modelmgr.checks.offline import check_budgets, is_remote
from langchain_modelmgr.errors import (
    BedrockAuthenticationError,
    BedrockNotFoundError,
    BedrockPermissionDeniedError,
)
from langchain_modelmgr.ledger.folder import in_lambda
from langchain_modelmgr.runtime import aws_codes
from langchain_modelmgr.runtime.guard import Guard
from langchain_modelmgr.runtime.masking import mask_account_ids

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from langchain_modelmgr.chain.candidate import Candidate
    from langchain_modelmgr.checks.finding import Status
    from langchain_modelmgr.errors import BedrockError
    from langchain_modelmgr.manager import ModelManager

_REFUSED_AT = 300.0
"""Seconds of difference at which AWS refuses a signature."""

_NOTICEABLE = 60.0
"""Seconds of difference that deserve a warning."""

_ACCEPTED_WITHOUT_DATA = frozenset(
    {
        "InvalidParameterCombination",
        "InvalidParameterValue",
        "MissingParameter",
        "MissingRequiredParameterException",
        "ValidationError",
    }
)
"""CloudWatch's codes for PutMetricData without data: the caller may use the operation."""

_ACCESS: Mapping[str, tuple[str, str]] = {
    "authorizationStatus": ("AUTHORIZED", "the account is not authorized to use it"),
    "entitlementAvailability": ("AVAILABLE", "the account is not entitled to it"),
    "regionAvailability": ("AVAILABLE", "this region does not have it"),
}
"""Answers of GetFoundationModelAvailability: what they should be, and what it means otherwise."""


def check_aws(manager: ModelManager) -> list[Finding]:
    """Ask AWS about identity, clock, models, profiles, guardrails and metrics.

    Args:
        manager: The manager of the configuration.

    Returns:
        The findings. After a refused identity, what needs one is reported as unchecked.
    """
    found = attempted("identity", "", lambda: _identity(manager))
    if is_remote(manager):
        found += check_budgets(manager)
    if any(f.status == "problem" for f in found if f.check in {"identity", "clock"}):
        text = "not asked: AWS refuses the credentials"
        rest = ("model access", "guardrail", "metrics")
        return [*found, *(Finding(check, "", "unchecked", text) for check in rest)]
    for model in _models(manager):
        found += attempted("model access", model.subject, model.findings)
    found += attempted("guardrail", "", lambda: _guardrails(manager))
    found += attempted("metrics", "", lambda: _metrics(manager))
    return found


@dataclass(frozen=True, slots=True)
class _Reply:
    """AWS's reply to a request, or its refusal: the classified failure and the error itself."""

    value: Any = None
    failure: BedrockError | None = None
    error: Exception | None = None


def _asked(request: Callable[[], Any]) -> _Reply:
    """Send a request; what is neither AWS's nor the network's error is raised."""
    errors: list[Exception] = []
    with Guard(errors.append):
        return _Reply(request())
    failure = classify(errors[0])
    if failure is None:
        raise errors[0]
    return _Reply(failure=failure, error=errors[0])


# -- identity and clock


def _identity(manager: ModelManager) -> Iterator[Finding]:
    where = manager.clients.cloudwatch()
    where.fix()
    region = where.region or "unknown"
    reply = _asked(lambda: where.sts().get_caller_identity())
    if reply.failure is not None:
        yield from _without_identity(reply, manager, region)
        return
    yield Finding("identity", region, "ok", "AWS accepts the credentials")
    yield from _clock(reply.value)


def _without_identity(reply: _Reply, manager: ModelManager, region: str) -> Iterator[Finding]:
    skewed = list(_clock(getattr(reply.error, "response", {})))
    yield from skewed
    if any(finding.status == "problem" for finding in skewed):
        return
    text = mask_account_ids(str(reply.failure))
    if isinstance(reply.failure, BedrockAuthenticationError):
        yield Finding("identity", region, "problem", text, _step(reply.failure, manager, region))
        return
    cure = "check DNS, proxy and VPC endpoints; Bedrock may be reachable although STS is not"
    yield Finding("identity", region, "unchecked", f"STS did not answer: {text}", cure)


def _clock(reply: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield how far this machine's clock is from the one of a reply, by its ``Date`` header."""
    sent = reply.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date")
    if not sent:
        return
    theirs = email.utils.parsedate_to_datetime(sent)
    seconds = (dt.datetime.now(dt.UTC) - theirs).total_seconds()
    status: Status = "ok"
    if abs(seconds) > _NOTICEABLE:
        status = "problem" if abs(seconds) >= _REFUSED_AT else "warning"
    side = "ahead of" if seconds > 0 else "behind"
    text = f"this machine is {abs(seconds):.0f} s {side} AWS"
    if status == "problem":
        text += ": AWS refuses its signatures"
    cure = "" if status == "ok" else "timedatectl set-ntp true, or the time service of the host"
    yield Finding("clock", "", status, text, cure)


# -- models


@dataclass(slots=True)
class _Model:
    """One model of a chain, and the agents that call it.

    Attributes:
        candidate: The model.
        manager: The manager.
        primary_of: The agents whose own model it is.
        agents: All agents that may call it.
        listed: Returns the models of a region, from ListFoundationModels.
    """

    candidate: Candidate
    manager: ModelManager
    listed: Callable[[Any, str], Mapping[str, Any]]
    primary_of: list[str] = field(default_factory=list)
    agents: list[str] = field(default_factory=list)

    @property
    def region(self) -> str:
        return self.candidate.region or "unknown"

    @property
    def subject(self) -> str:
        return f"{self.candidate.public_id} in {self.region}"

    @property
    def stops(self) -> Status:
        return "problem" if self.primary_of else "warning"

    def findings(self) -> Iterator[Finding]:
        model = self.candidate.settings.model
        client = self.manager.clients.control(self.candidate.settings.region)
        found: list[Finding] = []
        if (model.geography or model.model_id.startswith("arn:")) and "/" not in model.model_id:
            found += self._asked("GetInferenceProfile", lambda: self._profile(client))
        base = model.base_model_id
        if base is None:
            text = "the model of this ARN is not known: its access was not asked for"
            cure = "set base_model for it in the YAML"
            found.append(Finding("model access", self.subject, "unchecked", text, cure))
        else:
            found += self._asked(
                "GetFoundationModelAvailability", lambda: self._availability(client, base)
            )
            found += self._asked("ListFoundationModels", lambda: self._lifecycle(client, base))
        if not found:
            agents = ", ".join(self.agents)
            found = [Finding("model access", self.subject, "ok", f"available to {agents}")]
        yield from found

    def _asked(self, operation: str, ask: Callable[[], list[Finding]]) -> list[Finding]:
        """Return the findings of one request; what it needs, if it is refused."""
        reply = _asked(ask)
        failure = reply.failure
        if failure is None:
            found: list[Finding] = reply.value
            return found
        if isinstance(failure, BedrockPermissionDeniedError):
            text = f"{operation} is denied"
            cure = f"allow bedrock:{operation}, or ignore this: agents don't need it"
            return [Finding("model access", self.subject, "unchecked", text, cure)]
        if isinstance(failure, BedrockNotFoundError):
            text = f"{operation}: {failure}"
            cure = _step(failure, self.manager, self.region, self.agents[0])
            return [Finding("model access", self.subject, self.stops, text, cure)]
        text = f"{operation} could not be asked: {failure}"
        return [Finding("model access", self.subject, "unchecked", text)]

    def _profile(self, client: Any) -> list[Finding]:
        client.get_inference_profile(
            inferenceProfileIdentifier=self.candidate.settings.model.model_id
        )
        return []

    def _availability(self, client: Any, base: str) -> list[Finding]:
        answer = client.get_foundation_model_availability(modelId=base)
        wrong = [text for key, (good, text) in _ACCESS.items() if answer.get(key) != good]
        if answer.get("agreementAvailability", {}).get("status") != "AVAILABLE":
            wrong.append("its agreement was not accepted")
        environment = self.manager.config.environment
        cure = (
            f"enable model access in the Bedrock console of {self.region}; "
            f"modelmgr iam {environment} prints the role's policy"
        )
        return [Finding("model access", self.subject, self.stops, t, cure) for t in wrong]

    def _lifecycle(self, client: Any, base: str) -> list[Finding]:
        summary = self.listed(client, self.region).get(base)
        if summary is None:
            return []  # ListFoundationModels does not have every model that can be called
        found = []
        if summary.get("modelLifecycle", {}).get("status") == "LEGACY":
            text = "AWS says that it is legacy: its end is announced"
            cure = f"modelmgr migrate {self.agents[0]} -e {self.manager.config.environment}"
            found.append(Finding("model access", self.subject, "warning", text, cure))
        model = self.candidate.settings.model
        kinds = summary.get("inferenceTypesSupported") or ["ON_DEMAND"]
        if model.geography is None and model.model_id == base and "ON_DEMAND" not in kinds:
            text = "it can only be called through an inference profile"
            cure = f"write a geography before the id, such as us.{base}"
            found.append(Finding("model access", self.subject, self.stops, text, cure))
        return found


def _models(manager: ModelManager) -> list[_Model]:
    """Return each model of the chains once per region, with the agents that may call it."""
    lists: dict[str, Mapping[str, Any]] = {}

    def listed(client: Any, region: str) -> Mapping[str, Any]:
        if region not in lists:
            summaries = client.list_foundation_models()["modelSummaries"]
            lists[region] = {summary["modelId"]: summary for summary in summaries}
        return lists[region]

    found: dict[tuple[str | None, str], _Model] = {}
    for name in manager.config.enabled_agents:
        for position, candidate in enumerate(manager.agent(name).chain().candidates):
            key = (candidate.region, candidate.model_id)
            model = found.setdefault(key, _Model(candidate, manager, listed))
            model.agents.append(name)
            if position == 0:
                model.primary_of.append(name)
    return list(found.values())


# -- guardrails


def _guardrails(manager: ModelManager) -> Iterator[Finding]:
    asked: set[tuple[str | None, str, str]] = set()
    for name in manager.config.enabled_agents:
        for candidate in manager.agent(name).chain().candidates:
            guardrail = candidate.settings.request_fields.get("guardrail_config")
            if not guardrail:
                continue
            identifier = str(guardrail.get("guardrailIdentifier", ""))
            version = str(guardrail.get("guardrailVersion", "DRAFT"))
            key = (candidate.region, identifier, version)
            if key not in asked:
                asked.add(key)
                client = manager.clients.control(candidate.settings.region)
                yield _guardrail(manager, name, client, key)


def _guardrail(
    manager: ModelManager, agent: str, client: Any, key: tuple[str | None, str, str]
) -> Finding:
    region, identifier, version = key[0] or "unknown", key[1], key[2]
    subject = f"{mask_account_ids(identifier)} version {version} in {region}"
    reply = _asked(
        lambda: client.get_guardrail(guardrailIdentifier=identifier, guardrailVersion=version)
    )
    failure = reply.failure
    if isinstance(failure, BedrockPermissionDeniedError):
        cure = "allow bedrock:GetGuardrail, or ignore this: agents don't need it"
        return Finding("guardrail", subject, "unchecked", "GetGuardrail is denied", cure)
    if isinstance(failure, BedrockNotFoundError):
        cure = f"check guardrail_config of {agent} in {manager.config.environment}.yaml"
        return Finding("guardrail", subject, "problem", str(failure), cure)
    if failure is not None:
        return Finding("guardrail", subject, "unchecked", f"could not be asked: {failure}")
    if (status := reply.value.get("status")) == "READY":
        return Finding("guardrail", subject, "ok", "is ready")
    cure = f"see it in the Bedrock console of {region}"
    return Finding("guardrail", subject, "problem", f"its status is {status}", cure)


# -- metrics


def _metrics(manager: ModelManager) -> Iterator[Finding]:
    config = manager.config
    sink, namespace = config.metrics.sink, config.namespace
    if sink not in {"auto", "cloudwatch"} or (sink == "auto" and in_lambda()):
        text = "metrics are not sent to CloudWatch's API: nothing to ask"
        yield Finding("metrics", namespace, "ok", text)
        return
    where = manager.clients.cloudwatch()
    where.fix()
    subject = f"namespace {namespace} in {where.region}"
    # Without data CloudWatch refuses the request after it has checked the permission.
    failure = _asked(lambda: where().put_metric_data(Namespace=namespace)).failure
    if failure is None or failure.code in _ACCEPTED_WITHOUT_DATA:
        yield Finding("metrics", subject, "ok", "PutMetricData is allowed")
    elif failure.code in aws_codes.DENIED:
        text = "the role lacks cloudwatch:PutMetricData; calls work, their metrics wait"
        cure = f"modelmgr iam {config.environment} prints the role's policy"
        yield Finding("metrics", subject, "warning", text, cure)
    else:
        yield Finding("metrics", subject, "unchecked", f"could not be asked: {failure}")


def _step(failure: Any, manager: ModelManager, region: str, agent: str = "AGENT") -> str:
    step = next_step(failure, agent=agent, environment=manager.config.environment, region=region)
    return "" if step is None else step.partition(": ")[2].rstrip(".")
