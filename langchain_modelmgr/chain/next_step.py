"""What to do about a failure: the region and the next step, for the notes of an error."""

from __future__ import annotations

from typing import TYPE_CHECKING

from langchain_modelmgr.errors import (
    BedrockAPIError,
    BedrockAuthenticationError,
    BedrockConnectionError,
    BedrockContextOverflowError,
    BedrockError,
    BedrockNotFoundError,
    BedrockPermissionDeniedError,
    BedrockRateLimitError,
    BedrockTimeoutError,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

EXPIRED = frozenset({"ExpiredToken", "ExpiredTokenException", "RequestExpired"})
"""AWS's codes for credentials that were valid before."""

_STEPS: Mapping[type[BedrockError], str] = {
    BedrockAuthenticationError: (
        "run 'aws sts get-caller-identity' with the same profile and environment: it shows whether "
        "credentials are found and accepted"
    ),
    BedrockPermissionDeniedError: (
        "enable model access in the Bedrock console of {region}, and compare the role's policy "
        "with the output of 'modelmgr iam {environment}'"
    ),
    BedrockNotFoundError: (
        "check the model id and its region with 'modelmgr show {agent} -e {environment}'; "
        "'modelmgr models' lists the known ids, 'modelmgr migrate {agent} -e {environment}' shows "
        "the successor of a retired one"
    ),
    BedrockRateLimitError: (
        "compare the load with the model's quotas in the Service Quotas console of {region}, or "
        "add a fallback with quotas of its own, such as an inference profile"
    ),
    BedrockAPIError: (
        "Bedrock failed: see the AWS Health Dashboard for {region}, and give AWS Support the "
        "request id; a fallback in another region is independent of it"
    ),
    BedrockConnectionError: (
        "check that this machine reaches Bedrock's endpoint in {region}: DNS, proxy, VPC endpoint, "
        "aws.endpoint_url"
    ),
    BedrockTimeoutError: (
        "raise timeout_seconds or deadline_seconds of agent {agent!r}, or lower its max_tokens"
    ),
    BedrockContextOverflowError: (
        "shorten the prompt, or add a fallback with a larger context window: "
        "'modelmgr models' shows each model's"
    ),
}

_LASTING = "request a higher quota in the Service Quotas console of {region}, or add a fallback"

_SIGN_IN = (
    "the credentials have expired: run 'aws sso login' with the same profile, or renew them where "
    "they come from"
)


def next_step(failure: BedrockError, *, agent: str, environment: str, region: str) -> str | None:
    """Return what to do about a failure.

    Args:
        failure: The failure.
        agent: The agent's name.
        environment: The configuration's environment, for commands.
        region: The AWS region that was called.

    Returns:
        A sentence with the region, or None if the request itself must be changed.
    """
    step = next((text for kind, text in _STEPS.items() if isinstance(failure, kind)), None)
    if step is None:
        return None
    if failure.code in EXPIRED:
        step = _SIGN_IN
    elif failure.is_lasting and isinstance(failure, BedrockRateLimitError):
        step = _LASTING
    step = step.format(agent=agent, environment=environment, region=region)
    return f"Next step (region {region}): {step}."
