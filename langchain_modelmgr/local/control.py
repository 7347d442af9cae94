"""Bedrock's control plane over HTTP: models, their access, inference profiles and guardrails."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from langchain_modelmgr.local.facts import base_of, load_facts
from langchain_modelmgr.local.replies import AwsError, meet, reply
from langchain_modelmgr.local.state import DEFAULT_ACCOUNT, RecordedCall

if TYPE_CHECKING:
    from aiohttp import web

    from langchain_modelmgr.local.faults import Place
    from langchain_modelmgr.local.state import State


_OWN = f"arn:aws:bedrock:us-east-1:{DEFAULT_ACCOUNT}"
"""The ARNs of an account's own resources begin with this."""


class ControlPlane:
    """Handles requests to Bedrock's control plane with the server's state."""

    def __init__(self, state: State) -> None:
        self._state = state

    async def answer(self, request: web.BaseRequest, parts: list[str]) -> web.Response:
        """Answer one request.

        Args:
            request: The request.
            parts: Its path, split at slashes.

        Raises:
            AwsError: The reply is an error.
        """
        kind, name = parts[0], unquote("/".join(parts[1:]))
        if request.method == "GET" and kind == "foundation-models":
            await self._meet(request, "ListFoundationModels", name, "models")
            if name:
                return reply({"modelDetails": self._summary(self._known(name))})
            known = sorted({*load_facts(), *map(base_of, self._state.model_ids())})
            found = [self._summary(each) for each in known if not self._state.is_unknown(each)]
            return reply({"modelSummaries": found})
        if request.method == "GET" and kind == "foundation-model-availability":
            await self._meet(request, "GetFoundationModelAvailability", name, "availability")
            return reply(
                {"modelId": name, **self._state.availability_of(self._known(name))},
            )
        if request.method == "GET" and kind == "inference-profiles":
            return await self._profiles(request, name)
        if request.method == "GET" and kind == "guardrails" and name:
            await self._meet(request, "GetGuardrail", name, "guardrail")
            version = request.query.get("guardrailVersion", "DRAFT")
            return reply(_guardrail(name, version))
        raise AwsError(
            "UnknownOperationException",
            f"The local AWS does not serve {request.method} /{kind}.",
        )

    async def _meet(
        self, request: web.BaseRequest, operation: str, name: str, place: Place
    ) -> None:
        self._state.record(RecordedCall(operation, name, {}, dict(request.headers)))
        await meet(request, self._state.faults.take(name, frozenset({place})))

    def _known(self, model_id: str) -> str:
        if self._state.is_unknown(model_id):
            raise AwsError("ResourceNotFoundException", "The model was not found.")
        return model_id

    async def _profiles(self, request: web.BaseRequest, name: str) -> web.Response:
        if not name:
            await self._meet(request, "ListInferenceProfiles", name, "profile")
            return reply({"inferenceProfileSummaries": self._state.inference_profiles()})
        await self._meet(request, "GetInferenceProfile", name, "profile")
        profile = self._state.inference_profile(name) or self._of_aws(name)
        if profile is None:
            raise AwsError("ResourceNotFoundException", "The inference profile was not found.")
        return reply(profile)

    def _of_aws(self, name: str) -> dict[str, Any] | None:
        """Return AWS's own profile of a known model for a geography, such as ``eu.<model>``."""
        base = base_of(name)
        if base == name or base not in load_facts() or self._state.is_unknown(name):
            return None
        return {
            "inferenceProfileName": name,
            "inferenceProfileArn": f"{_OWN}:inference-profile/{name}",
            "inferenceProfileId": name,
            "models": [{"modelArn": f"arn:aws:bedrock:us-east-1::foundation-model/{base}"}],
            "status": "ACTIVE",
            "type": "SYSTEM_DEFINED",
        }

    def _summary(self, model_id: str) -> dict[str, Any]:
        return {
            "modelArn": f"arn:aws:bedrock:us-east-1::foundation-model/{model_id}",
            "modelId": model_id,
            "modelName": model_id,
            "providerName": model_id.partition(".")[0],
            "inputModalities": ["TEXT"],
            "outputModalities": ["TEXT"],
            "responseStreamingSupported": True,
            "inferenceTypesSupported": ["ON_DEMAND"],
            "modelLifecycle": {"status": self._state.lifecycle_of(model_id)},
        }


def _guardrail(name: str, version: str) -> dict[str, Any]:
    identifier = name.rpartition("/")[2]
    return {
        "name": identifier,
        "guardrailId": identifier,
        "guardrailArn": f"{_OWN}:guardrail/{identifier}",
        "version": version,
        "status": "READY",
        "createdAt": "2026-01-01T00:00:00Z",
        "updatedAt": "2026-01-01T00:00:00Z",
        "blockedInputMessaging": "Blocked.",
        "blockedOutputsMessaging": "Blocked.",
    }
