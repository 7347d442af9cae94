"""GetFoundationModelAvailability of the local Bedrock, through boto3."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from botocore.exceptions import ClientError

from tests.models import SONNET

if TYPE_CHECKING:
    from langchain_modelmgr.local import LocalAWS


def test_a_model_is_available_by_default(local_aws: LocalAWS) -> None:
    found = local_aws.client("bedrock").get_foundation_model_availability(modelId=SONNET)

    assert found["modelId"] == SONNET
    assert found["authorizationStatus"] == "AUTHORIZED"
    assert found["agreementAvailability"] == {"status": "AVAILABLE"}


@pytest.mark.parametrize(
    ("denied", "field", "value"),
    [
        ("authorized", "authorizationStatus", "NOT_AUTHORIZED"),
        ("entitled", "entitlementAvailability", "NOT_AVAILABLE"),
        ("in_region", "regionAvailability", "NOT_AVAILABLE"),
        ("agreed", "agreementAvailability", {"status": "NOT_AVAILABLE"}),
    ],
)
def test_access_to_a_model_can_be_missing(
    local_aws: LocalAWS, denied: str, field: str, value: object
) -> None:
    local_aws.access(SONNET, **{denied: False})

    found = local_aws.client("bedrock").get_foundation_model_availability(modelId=SONNET)

    assert found[field] == value


def test_an_unknown_model_is_not_found(local_aws: LocalAWS) -> None:
    local_aws.unknown(SONNET)

    with pytest.raises(ClientError, match="ResourceNotFoundException"):
        local_aws.client("bedrock").get_foundation_model_availability(modelId=SONNET)


def test_the_request_itself_can_be_denied(local_aws: LocalAWS) -> None:
    local_aws.fail(SONNET, "AccessDeniedException", at="availability")

    with pytest.raises(ClientError, match="AccessDeniedException"):
        local_aws.client("bedrock").get_foundation_model_availability(modelId=SONNET)
