"""The IAM policies of batch inference."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from langchain_modelmgr import ConfigurationError, ConfigurationManager
from langchain_modelmgr.dashboard.batch_iam import batch_policies

if TYPE_CHECKING:
    from pathlib import Path

ROLE = "arn:aws:iam::111122223333:role/modelmgr-batch"
AGENTS = "agents: {labeler: {model: eu.amazon.nova-lite-v1:0, fallbacks: []}}"


def config_of(folder: Path, batch: str) -> ConfigurationManager:
    (folder / "test.yaml").write_text(f"aws: {{region: eu-west-1}}\nbatch: {batch}\n{AGENTS}\n")
    return ConfigurationManager("test", folder)


def named(policy: dict[str, Any]) -> dict[str, Any]:
    return {each["Sid"]: each for each in policy["Statement"]}


def test_the_caller_may_create_jobs_and_pass_the_role(tmp_path: Path) -> None:
    config = config_of(tmp_path, f"{{role: '{ROLE}', bucket: rows-and-answers}}")

    policy = named(batch_policies(config, account="111122223333")["policy"])

    assert "InvokeInferenceProfiles" in policy  # what the agents need stays
    assert policy["PassTheRoleOfTheJobs"]["Resource"] == [ROLE]
    assert policy["PassTheRoleOfTheJobs"]["Condition"] == {
        "StringEquals": {"iam:PassedToService": "bedrock.amazonaws.com"}
    }
    place = "arn:aws:bedrock:eu-west-1"
    assert policy["CreateBatchInferenceJobs"]["Resource"] == [
        f"{place}:111122223333:inference-profile/*",
        f"{place}:111122223333:model-invocation-job/*",
        f"{place}::foundation-model/*",
    ]
    assert policy["UseTheObjects"]["Resource"] == ["arn:aws:s3:::rows-and-answers/*"]


def test_bedrock_may_assume_the_role_for_jobs_of_the_account(tmp_path: Path) -> None:
    config = config_of(tmp_path, f"{{role: '{ROLE}', bucket: rows-and-answers}}")

    found = batch_policies(config, account="111122223333")

    (trust,) = found["role_trust_policy"]["Statement"]
    assert trust["Principal"] == {"Service": "bedrock.amazonaws.com"}
    assert trust["Condition"]["ArnLike"] == {
        "aws:SourceArn": "arn:aws:bedrock:eu-west-1:111122223333:model-invocation-job/*"
    }
    assert named(found["role_policy"]).keys() == {
        "InvokeInferenceProfiles", "InvokeModelsThroughThem", "ListTheBucket", "UseTheObjects",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("batch", "key"), [("{bucket: rows-and-answers}", "role"), (f"{{role: '{ROLE}'}}", "bucket")]
)
def test_a_missing_key_is_named(tmp_path: Path, batch: str, key: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"batch\.{key} is not set"):
        batch_policies(config_of(tmp_path, batch))
