"""The model's answer to a conversation, by the rules that calls and batch records share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_modelmgr.local.facts import base_of, facts_of
from langchain_modelmgr.local.name_rules import answer_violation
from langchain_modelmgr.local.replies import AwsError
from langchain_modelmgr.local.rules import rule_violation
from langchain_modelmgr.local.scripted import Answer, ScriptedRequest
from langchain_modelmgr.local.shapes import violation

if TYPE_CHECKING:
    from langchain_modelmgr.local.state import State


def check_shape(body: Any, operation: str, service: str = "bedrock-runtime") -> None:
    """Check a request's JSON body against botocore's service model.

    Raises:
        AwsError: The body is wrong.
    """
    if text := violation(body, operation, service):
        raise AwsError("ValidationException", f"1 validation error detected: {text}")


def check_request(state: State, operation: str, model_id: str, body: dict[str, Any]) -> None:
    """Check a conversation as Bedrock does.

    Raises:
        AwsError: Bedrock refuses the request.
    """
    if state.is_unknown(model_id):
        raise AwsError("ValidationException", "The provided model identifier is invalid.")
    check_shape(body, operation)
    if broken := rule_violation(model_id, operation, body, state.facts_of(model_id)):
        raise AwsError("ValidationException", broken)


def answer_to(state: State, operation: str, model_id: str, body: dict[str, Any]) -> Answer:
    """Return the model's answer to a conversation that was checked.

    Raises:
        AwsError: The model fails.
    """
    scripted = ScriptedRequest(operation, model_id, body)
    answer = state.model.answer(scripted, state.scripted(scripted))
    facts = {**facts_of(base_of(model_id)), **state.facts_of(model_id)}
    if broken := answer_violation(facts, answer.content):
        raise AwsError("ModelErrorException", broken)
    answer.echo = {key: body[key] for key in ("serviceTier", "performanceConfig") if key in body}
    return answer


def converse_output(answer: Answer) -> dict[str, Any]:
    """Return an answer as Converse does."""
    body: dict[str, Any] = {
        "output": {"message": {"role": "assistant", "content": answer.content}},
        "stopReason": answer.stop_reason,
        "usage": answer.usage,
        "metrics": {"latencyMs": 1},
        **answer.echo,
    }
    if answer.additional_fields is not None:
        body["additionalModelResponseFields"] = answer.additional_fields
    return body
