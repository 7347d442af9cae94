"""The least IAM policy that the configured agents need."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_modelmgr.catalog import named_model, split_prefix
from langchain_modelmgr.dashboard.chains import chains_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from langchain_modelmgr.config import ConfigurationManager
    from langchain_modelmgr.dashboard.chains import Chain, DashboardModel

_INVOKE = ["bedrock:InvokeModel", "bedrock:InvokeModelWithResponseStream"]
"""What Converse and ConverseStream need. Source: AWS, their API reference, read 2026-11-23."""


def iam_policy(
    config: ConfigurationManager, region: str | None = None, account: str = "*"
) -> dict[str, Any]:
    """Return the policy as a dict.

    Args:
        config: The configuration.
        region: The region that models are called in; None: the YAML's, else any.
        account: The account id; ``*``: any.

    Raises:
        ConfigurationError: No agent is enabled.
    """
    chains = chains_of(config)
    here = region or config.aws.region or "*"
    candidates = {m: None for chain in chains for m in chain.candidates}
    direct: list[str] = []
    profiles: list[str] = []
    routed_to: list[str] = []
    for candidate in candidates:
        place = _Place(candidate.region or here, account)
        base_model_id = config.catalog.resolve(
            candidate.model_id, candidate.base_model
        ).base_model_id
        if candidate.model_id.startswith("arn:"):
            kind = candidate.model_id.split(":", 5)[-1].split("/")[0]
            (direct if kind == "foundation-model" else profiles).append(candidate.model_id)
            if kind != "foundation-model":
                routed_to += place.models_of(base_model_id)
            continue
        prefix, base = split_prefix(candidate.model_id)
        if prefix is None:
            direct.append(place.model(base))
            continue
        profiles.append(place.profile(candidate.model_id, prefix))
        routed_to += place.models_of(base, prefix)
    statements = [*_invoke(direct, profiles, routed_to)]
    statements += _unresolved(config, candidates)
    statements += _guardrails(chains, _Place(here, account))
    if config.metrics.sink in {"auto", "cloudwatch"}:
        statements.append(_publish(config.namespace))
    return {"Version": "2012-10-17", "Statement": statements}


class _Place:
    """Makes ARNs of a region and an account."""

    def __init__(self, region: str, account: str) -> None:
        self._region, self._account = region, account

    def model(self, base: str) -> str:
        return f"arn:{_partition(self._region)}:bedrock:{self._region}::foundation-model/{base}"

    def profile(self, model_id: str, prefix: str) -> str:
        partition = _partition(self._region, prefix)
        place = f"{self._region}:{self._account}"
        return f"arn:{partition}:bedrock:{place}:inference-profile/{model_id}"

    def guardrail(self, name: str) -> str:
        place = f"{self._region}:{self._account}"
        return f"arn:{_partition(self._region)}:bedrock:{place}:guardrail/{name}"

    def models_of(self, base: str | None, prefix: str | None = None) -> Iterator[str]:
        """Yield the ARNs of the models that a profile routes to, in any region."""
        partition = _partition(self._region, prefix)
        yield f"arn:{partition}:bedrock:*::foundation-model/{base or '*'}"
        if prefix == "global":
            yield f"arn:{partition}:bedrock:::foundation-model/{base}"


def _partition(region: str, prefix: str | None = None) -> str:
    if prefix == "us-gov" or region.startswith("us-gov-"):
        return "aws-us-gov"
    return "aws-cn" if region.startswith("cn-") else "aws"


def _invoke(
    direct: list[str], profiles: list[str], routed_to: list[str]
) -> Iterator[dict[str, Any]]:
    if direct:
        yield _statement("InvokeModels", _INVOKE, direct)
    if profiles:
        yield _statement("InvokeInferenceProfiles", _INVOKE, profiles)
        through = {"StringLike": {"bedrock:InferenceProfileArn": sorted(set(profiles))}}
        yield {**_statement("InvokeModelsThroughThem", _INVOKE, routed_to), "Condition": through}


def _unresolved(
    config: ConfigurationManager, candidates: Iterable[DashboardModel]
) -> Iterator[dict[str, Any]]:
    """Yield the statement for resolving ARNs whose models the configuration does not name."""
    arns = [
        candidate.model_id
        for candidate in candidates
        if named_model(candidate.model_id) is None
        and config.catalog.resolve(candidate.model_id, candidate.base_model).base_model_id is None
    ]
    if arns:
        yield _statement("FindModelsBehindProfiles", ["bedrock:GetInferenceProfile"], arns)


def _guardrails(chains: Iterable[Chain], place: _Place) -> Iterator[dict[str, Any]]:
    names = [
        str(guardrail["guardrailIdentifier"])
        for chain in chains
        if (guardrail := chain.request_fields.get("guardrail_config"))
    ]
    arns = [name if name.startswith("arn:") else place.guardrail(name) for name in names]
    if arns:
        yield _statement("ApplyGuardrails", ["bedrock:ApplyGuardrail"], arns)


def _publish(namespace: str) -> dict[str, Any]:
    # PutMetricData has no resources: only the namespace can be restricted.
    condition = {"StringEquals": {"cloudwatch:namespace": namespace}}
    return {
        **_statement("PublishMetrics", ["cloudwatch:PutMetricData"], ["*"]),
        "Condition": condition,
    }


def _statement(name: str, actions: list[str], resources: Iterable[str]) -> dict[str, Any]:
    found = sorted(set(resources))
    return {"Sid": name, "Effect": "Allow", "Action": actions, "Resource": found}
