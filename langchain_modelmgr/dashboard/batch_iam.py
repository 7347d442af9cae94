"""The IAM policies of Bedrock's batch inference: of who creates jobs, and of the jobs' role."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_modelmgr.dashboard.iam import iam_policy
from langchain_modelmgr.errors import ConfigurationError

if TYPE_CHECKING:
    from langchain_modelmgr.config import ConfigurationManager

_SERVICE = "bedrock.amazonaws.com"
_OBJECTS = ["s3:GetObject", "s3:PutObject"]
_INPUTS = "modelmgr/*"
"""The keys of the jobs' objects. The input of a job that Bedrock refuses is removed."""

_JOBS = [
    "bedrock:CreateModelInvocationJob",
    "bedrock:GetModelInvocationJob",
    "bedrock:ListModelInvocationJobs",
    "bedrock:StopModelInvocationJob",
]
"""What the engine ``bedrock`` calls. Source: AWS, "Required permissions for batch inference" and
"Create a service role for batch inference", read 2026-11-27."""


def batch_policies(
    config: ConfigurationManager, region: str | None = None, account: str = "*"
) -> dict[str, Any]:
    """Return the policies for batch inference jobs.

    Args:
        config: The configuration.
        region: The region that models are called in; None: the YAML's, else any.
        account: The account id; ``*``: any.

    Returns:
        ``policy``: of who runs the engine, with what the agents need; ``role_policy`` and
        ``role_trust_policy``: of ``batch.role``.

    Raises:
        ConfigurationError: ``batch.role`` or ``batch.bucket`` is not set, or no agent is enabled.
    """
    role, bucket = config.batch.role, config.batch.bucket
    if role is None or bucket is None:
        missing = "role" if role is None else "bucket"
        raise ConfigurationError(f"batch.{missing} is not set: batch inference needs it")
    policy = iam_policy(config, region, account)
    partition, place = role.split(":")[1], f"{region or config.aws.region or '*'}:{account}"
    jobs = f"arn:{partition}:bedrock:{place}:model-invocation-job/*"
    objects = _bucket(partition, bucket)
    return {
        "policy": {
            **policy,
            "Statement": [
                *policy["Statement"],
                *_caller(role, jobs),
                *objects,
                _removal(partition, bucket),
            ],
        },
        "role_policy": {"Version": policy["Version"], "Statement": [*_invoke(policy), *objects]},
        "role_trust_policy": {
            "Version": policy["Version"],
            "Statement": [
                {
                    "Effect": "Allow",
                    "Principal": {"Service": _SERVICE},
                    "Action": "sts:AssumeRole",
                    "Condition": {
                        "StringLike": {"aws:SourceAccount": account},
                        "ArnLike": {"aws:SourceArn": jobs},
                    },
                }
            ],
        },
    }


def _caller(role: str, jobs: str) -> list[dict[str, Any]]:
    models = [f"{jobs.rpartition(':')[0].rpartition(':')[0]}::foundation-model/*"]
    profiles = [f"{jobs.rpartition(':')[0]}:inference-profile/*"]
    return [
        {
            "Sid": "CreateBatchInferenceJobs",
            "Effect": "Allow",
            "Action": _JOBS,
            "Resource": sorted([jobs, *models, *profiles]),
        },
        {
            "Sid": "PassTheRoleOfTheJobs",
            "Effect": "Allow",
            "Action": ["iam:PassRole"],
            "Resource": [role],
            "Condition": {"StringEquals": {"iam:PassedToService": _SERVICE}},
        },
    ]


def _bucket(partition: str, bucket: str) -> list[dict[str, Any]]:
    arn = f"arn:{partition}:s3:::{bucket}"
    return [
        {
            "Sid": "ListTheBucket",
            "Effect": "Allow",
            "Action": ["s3:ListBucket"],
            "Resource": [arn],
        },
        {
            "Sid": "UseTheObjects",
            "Effect": "Allow",
            "Action": _OBJECTS,
            "Resource": [f"{arn}/*"],
        },
    ]


def _removal(partition: str, bucket: str) -> dict[str, Any]:
    return {
        "Sid": "RemoveTheInputOfRefusedJobs",
        "Effect": "Allow",
        "Action": ["s3:DeleteObject"],
        "Resource": [f"arn:{partition}:s3:::{bucket}/{_INPUTS}"],
    }


def _invoke(policy: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the statements that let a role call inference profiles, which it needs itself."""
    names = ("InvokeInferenceProfiles", "InvokeModelsThroughThem")
    return [each for each in policy["Statement"] if each["Sid"] in names]
