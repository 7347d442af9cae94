"""The error of a call without an answer: its class, its text, its notes, and its attempts."""

from __future__ import annotations

import asyncio
import copy
import pickle
import traceback
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.exceptions import ModelRateLimitError
from langchain_core.tools import tool

from langchain_modelmgr import (
    AllModelsFailedError,
    ConfigurationManager,
    ManagedBedrockChat,
    ModelManager,
    errors,
)
from langchain_modelmgr.chain import policy
from langchain_modelmgr.chain.next_step import next_step
from langchain_modelmgr.metrics import MemorySink
from tests.models import HAIKU, OPUS, SONNET, TITAN

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from langchain_modelmgr.local import LocalAWS
    from tests.agents import Configure
    from tests.held_replies import TimeOuts

ONE_CAUSE = {
    "ThrottlingException": errors.AllModelsRateLimitError,
    "AccessDeniedException": errors.AllModelsPermissionDeniedError,
    "ResourceNotFoundException": errors.AllModelsNotFoundError,
    "InternalServerException": errors.AllModelsAPIError,
    "ModelTimeoutException": errors.AllModelsTimeoutError,
}
MODES = ["invoke", "stream", "ainvoke", "astream", "batch", "invoke_model", "stream_model"]
HELLO = [{"role": "user", "content": [{"text": "x"}]}]
ACCOUNT = "123456789012"


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy, "BACKOFF_BASE_SECONDS", 0.001)


def _manager(configured: Configure, *fallbacks: str, more: str = "") -> ModelManager:
    config = configured(f"a: {{model: '{SONNET}', fallbacks: {list(fallbacks)}{more}}}")
    return ModelManager(config, sinks=[MemorySink()], region="eu-central-1")


async def _read(stream: Any) -> list[Any]:
    return [chunk async for chunk in stream]


def _call(manager: ModelManager, mode: str) -> None:
    llm = manager.chat_model("a")
    ways: dict[str, Callable[[], object]] = {
        "invoke": lambda: llm.invoke("x"),
        "stream": lambda: list(llm.stream("x")),
        "ainvoke": lambda: asyncio.run(llm.ainvoke("x")),
        "astream": lambda: asyncio.run(_read(llm.astream("x"))),
        "batch": lambda: llm.batch(["x"]),
        "invoke_model": lambda: manager.invoke_model("a", HELLO),
        "stream_model": lambda: list(manager.stream_model("a", HELLO)),
    }
    ways[mode]()


def _error_of(manager: ModelManager, mode: str = "invoke") -> AllModelsFailedError:
    with pytest.raises(AllModelsFailedError) as caught:
        _call(manager, mode)
    return caught.value


def _pickled(error: Exception) -> Any:
    return pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes


# -- its class


@pytest.mark.parametrize("fallbacks", [(), (HAIKU,), (HAIKU, OPUS)], ids=len)
@pytest.mark.parametrize("code", ONE_CAUSE)
def test_a_chain_that_fails_for_one_reason_raises_a_class_of_both(
    configured: Configure, local_aws: LocalAWS, code: str, fallbacks: tuple[str, ...]
) -> None:
    local_aws.fail(None, code, times=None)

    error = _error_of(_manager(configured, *fallbacks))

    assert type(error) is ONE_CAUSE[code]
    assert isinstance(error, errors.BedrockError)
    assert error.code == code
    assert {attempt.model_id for attempt in error.attempts} == {SONNET, *fallbacks}


@pytest.mark.parametrize("mode", MODES)
def test_every_way_in_raises_it(configured: Configure, local_aws: LocalAWS, mode: str) -> None:
    local_aws.fail(None, "ThrottlingException", times=None)

    error = _error_of(_manager(configured, HAIKU), mode)

    assert isinstance(error, errors.BedrockRateLimitError)
    assert isinstance(error, ModelRateLimitError)
    assert error.is_retryable


@pytest.mark.parametrize("mode", MODES)
def test_several_reasons_raise_it_too(
    configured: Configure, local_aws: LocalAWS, mode: str
) -> None:
    local_aws.fail(SONNET, "AccessDeniedException", times=None)
    local_aws.fail(HAIKU, "InternalServerException", times=None)

    error = _error_of(_manager(configured, HAIKU), mode)

    assert type(error) is AllModelsFailedError
    assert error.is_retryable


def test_an_unreachable_service_raises_it(tmp_path: Path) -> None:
    (tmp_path / "test.yaml").write_text(
        "aws: {region: us-east-1, endpoint_url: 'http://127.0.0.1:9'}\nmetrics: {sink: none}\n"
        f"agents: {{a: {{model: '{SONNET}', fallbacks: ['{HAIKU}'], retries: 0}}}}"
    )

    error = _error_of(ModelManager(ConfigurationManager("test", tmp_path)))

    assert type(error) is errors.AllModelsConnectionError
    assert "aws.endpoint_url" in error.__notes__[0]


def test_a_deadline_that_ends_the_chain_raises_it(
    configured: Configure, local_aws: LocalAWS, time_outs: TimeOuts
) -> None:
    manager = _manager(configured, HAIKU, OPUS, more=", deadline_seconds: 60")
    local_aws.stall(SONNET, 300)
    time_outs.when_received(local_aws, SONNET, deadline=True)

    error = _error_of(manager)

    assert isinstance(error, errors.BedrockTimeoutError)
    assert f"skipped {OPUS}: The call's deadline passed before its turn" in str(error)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("ValidationException", errors.BedrockInvalidRequestError),
        ("ExpiredTokenException", errors.BedrockAuthenticationError),
    ],
)
def test_a_malformed_request_and_bad_credentials_do_not_exhaust_a_chain(
    configured: Configure, local_aws: LocalAWS, code: str, kind: type[errors.BedrockError]
) -> None:
    local_aws.fail(None, code, times=None)

    with pytest.raises(kind) as caught:
        _manager(configured, HAIKU).chat_model("a").invoke("x")

    assert type(caught.value) is kind
    assert [attempt.model_id for attempt in caught.value.attempts] == [SONNET]


def test_a_stream_that_broke_after_its_first_content_raises_its_own_failure(
    configured: Configure, local_aws: LocalAWS
) -> None:
    local_aws.fail(SONNET, "ModelStreamErrorException", at="stream", after=2)

    with pytest.raises(errors.BedrockAPIError) as caught:
        list(_manager(configured, HAIKU).chat_model("a").stream("one two three four five"))

    assert not isinstance(caught.value, AllModelsFailedError)
    assert caught.value.partial_text


@pytest.mark.parametrize("kind", ONE_CAUSE.values())
def test_each_class_can_be_imported_by_its_name(kind: type[AllModelsFailedError]) -> None:
    assert getattr(errors, kind.__name__) is kind
    assert kind.__name__ in errors.__all__


@pytest.mark.parametrize("clone", [_pickled, copy.copy])
def test_it_travels_with_everything_it_says(
    configured: Configure, local_aws: LocalAWS, clone: Any
) -> None:
    local_aws.fail(None, "ThrottlingException", times=None, retry_after=0.001)
    error = _error_of(_manager(configured, HAIKU))

    other = clone(error)

    assert type(other) is type(error)
    assert str(other) == str(error)
    assert vars(other) == vars(error)
    assert other.__notes__ == error.__notes__


# -- its text and its notes


def test_the_text_names_every_model_in_the_order_of_the_chain(
    configured: Configure, local_aws: LocalAWS
) -> None:
    @tool
    def look(place: str) -> str:
        """Look up a place."""
        return place

    local_aws.fail(None, "ThrottlingException", times=None)
    llm = _manager(configured, TITAN, HAIKU).chat_model("a").bind_tools([look])

    with pytest.raises(AllModelsFailedError) as caught:
        llm.invoke("x")

    text = str(caught.value)
    first, skipped, last = (text.index(model) for model in (SONNET, TITAN, HAIKU))
    assert first < skipped < last
    assert "ThrottlingException: " in text[first:skipped]
    assert text[skipped:last].endswith("Model does not support tools; ")
    assert text[last:].endswith("(3 attempts)")


def test_a_bare_traceback_shows_region_and_next_step(
    configured: Configure, local_aws: LocalAWS
) -> None:
    local_aws.fail(SONNET, "AccessDeniedException", times=None)
    local_aws.fail(HAIKU, "ThrottlingException", times=None)

    manager = _manager(configured, HAIKU)

    error = _error_of(manager)

    shown = "".join(traceback.format_exception(error))
    assert "enable model access in the Bedrock console of eu-central-1" in shown
    assert f"modelmgr iam {manager.config.environment}" in shown
    assert "Service Quotas console of eu-central-1" in shown


def test_one_next_step_of_several_models_is_shown_once(
    configured: Configure, local_aws: LocalAWS
) -> None:
    local_aws.fail(None, "AccessDeniedException", times=None)

    assert len(_error_of(_manager(configured, HAIKU, OPUS)).__notes__) == 1


def test_expired_credentials_say_how_to_sign_in(configured: Configure, local_aws: LocalAWS) -> None:
    local_aws.fail(None, "ExpiredTokenException", times=None)

    with pytest.raises(errors.BedrockAuthenticationError) as caught:
        _manager(configured).chat_model("a").invoke("x")

    assert "aws sso login" in caught.value.__notes__[0]


def test_a_malformed_request_has_no_next_step(configured: Configure, local_aws: LocalAWS) -> None:
    local_aws.fail(None, "ValidationException")

    with pytest.raises(errors.BedrockInvalidRequestError) as caught:
        _manager(configured).chat_model("a").invoke("x")

    assert not hasattr(caught.value, "__notes__")


@pytest.mark.parametrize("kind", errors.BedrockError.__subclasses__())
def test_each_kind_of_failure_has_a_next_step(kind: type[errors.BedrockError]) -> None:
    step = next_step(kind("x"), agent="sql", environment="prod", region="eu-west-1")

    assert (step is None) is (kind is errors.BedrockInvalidRequestError)
    assert step is None or step.startswith("Next step (region eu-west-1): ")
    assert step is None or "{" not in step


# -- its attempts


def test_an_attempt_has_awss_code_and_text_where_a_fallback_answered(
    configured: Configure, local_aws: LocalAWS
) -> None:
    arn = f"arn:aws:bedrock:eu-central-1:{ACCOUNT}:inference-profile/x"
    local_aws.fail(SONNET, "AccessDeniedException", message=f"no access to {arn}")
    llm = _manager(configured, HAIKU).chat_model("a")

    failed, answered = llm.invoke("x").response_metadata["model_manager"]["attempts"]

    assert failed["code"] == "AccessDeniedException"
    assert failed["message"].startswith("AccessDeniedException: no access to arn:aws:bedrock:")
    assert ACCOUNT not in str(failed)
    assert (answered["code"], answered["message"]) == (None, None)


def test_an_attempt_that_timed_out_has_a_code_and_a_text(
    configured: Configure, local_aws: LocalAWS, time_outs: TimeOuts
) -> None:
    manager = _manager(configured, HAIKU)
    local_aws.stall(SONNET, 300)
    time_outs.after(SONNET, 0.5)
    llm = ManagedBedrockChat("a", manager=manager, timeout=60)

    failed, _ = llm.invoke("x").response_metadata["model_manager"]["attempts"]

    assert failed["error"] == "BedrockTimeoutError"
    assert failed["code"]
    assert "timeout" in failed["message"]
