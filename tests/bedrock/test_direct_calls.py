"""boto3 sends whenever anything is out of the ordinary, so that whoever looks on sees each call."""

from __future__ import annotations

import functools
import logging
from datetime import UTC, datetime, timedelta
from importlib import import_module
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore import handlers
from botocore.client import BaseClient
from botocore.credentials import RefreshableCredentials
from botocore.endpoint import Endpoint
from botocore.session import get_session
from botocore.stub import Stubber

from langchain_modelmgr import ConfigurationManager, ModelManager
from tests.bedrock.two_ways import Server, attempt, calls_of, client, http_reply
from tests.models import SONNET

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from langchain_modelmgr.local import LocalAWS
    from tests.agents import Configure

_HELLO: dict[str, Any] = {
    "modelId": "m",
    "messages": [{"role": "user", "content": [{"text": "x"}]}],
}


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server() as made:
        yield made


@pytest.fixture
def made(server: Server) -> Iterator[Any]:
    server.take()
    found = client(server.url, direct=True)
    _say(found)
    assert calls_of(found)._logged == set()
    yield found
    found.close()


def _say(made: Any, **more: Any) -> Any:
    with attempt():
        return made.converse(**_HELLO, **more)


def _reasons(made: Any) -> str:
    return " ".join(sorted(calls_of(made)._logged))


def test_a_request_that_only_forms_the_pattern_is_not_sent(server: Server) -> None:
    made = client(server.url, direct=True)

    _say(made)

    assert len(server.take()) == 1
    made.close()


def test_the_stubber_answers_instead_of_the_server(made: Any, server: Server) -> None:
    server.take()
    with Stubber(made) as stubber:
        stubber.add_client_error("converse", "ThrottlingException", expected_params=_HELLO)

        with pytest.raises(Exception, match="ThrottlingException"):
            _say(made)
        assert server.take() == []
        assert "botocore.stub.Stubber" in _reasons(made)

    _say(made)
    assert len(server.take()) == 1


@pytest.mark.parametrize(
    "event",
    ["before-call", "before-send", "before-sign", "request-created", "after-call", "needs-retry"],
)
def test_a_handler_of_the_user_sees_each_call(made: Any, event: str) -> None:
    seen: list[str] = []

    def handler(event_name: str, **_: Any) -> None:
        seen.append(event_name)

    made.meta.events.register(f"{event}.bedrock-runtime.Converse", handler)
    _say(made)
    assert len(seen) == 1

    made.meta.events.unregister(f"{event}.bedrock-runtime.Converse", handler)
    _say(made)
    assert len(seen) == 1
    assert f"the event {event} has the handler" in _reasons(made)


def test_a_handler_of_the_session_may_answer_instead_of_bedrock(server: Server) -> None:
    from botocore.awsrequest import AWSResponse

    class Body:
        def stream(self) -> Iterator[bytes]:
            yield b'{"stopReason": "end_turn"}'

    def answer(request: Any, **_: Any) -> Any:
        return AWSResponse(request.url, 200, {}, Body())  # type: ignore[arg-type]

    session = boto3.Session("AKIAIOSFODNN7EXAMPLE", "dummy", None, "us-east-1")
    session.events.register("before-send", answer)
    made = client(server.url, direct=True, session=session)
    server.take()

    assert _say(made)["stopReason"] == "end_turn"
    assert server.take() == []
    made.close()


def test_moto_sees_each_call(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handlers, "BUILTIN_HANDLERS", list(handlers.BUILTIN_HANDLERS))
    models: Any = import_module("moto.core.models")
    if not any(entry[1] is models.botocore_stubber for entry in handlers.BUILTIN_HANDLERS):
        handlers.BUILTIN_HANDLERS.append(("before-send", models.botocore_stubber))
    made = client(server.url, direct=True)

    _say(made)

    assert "moto.core.botocore_stubber.BotocoreStubber" in _reasons(made)
    made.close()


def test_a_base_class_that_a_handler_of_the_session_adds_sees_each_call(server: Server) -> None:
    seen: list[str] = []

    class Logged:
        def _make_api_call(self, operation: str, params: Any) -> Any:
            seen.append(operation)
            return super()._make_api_call(operation, params)  # type: ignore[misc]

    session = boto3.Session("AKIAIOSFODNN7EXAMPLE", "dummy", None, "us-east-1")
    session.events.register(
        "creating-client-class.bedrock-runtime",
        lambda base_classes, **_: base_classes.insert(0, Logged),
    )
    made = client(server.url, direct=True, session=session)

    _say(made)

    assert seen == ["Converse"]
    assert "Logged" in _reasons(made)
    made.close()


@pytest.mark.parametrize("kind", ["a function", "functools.wraps", "wrapt"])
@pytest.mark.parametrize(
    ("owner", "name"),
    [(BaseClient, "_make_api_call"), (Endpoint, "make_request"), (Endpoint, "prepare_request")],
)
def test_what_replaces_a_method_of_botocore_sees_each_call(
    made: Any, monkeypatch: pytest.MonkeyPatch, owner: type, name: str, kind: str
) -> None:
    original, seen = getattr(owner, name), []

    def traced(*args: Any) -> Any:
        seen.append(name)
        return original(*args)

    def wrapped(function: Any, _instance: Any, args: Any, keywords: Any) -> Any:
        seen.append(name)
        return function(*args, **keywords)

    wrapper: Any = traced
    if kind == "functools.wraps":
        wrapper = functools.wraps(original)(traced)
    elif kind == "wrapt":  # OpenTelemetry, X-Ray and ddtrace
        wrapper = import_module("wrapt").FunctionWrapper(original, wrapped)
    monkeypatch.setattr(owner, name, wrapper)
    _say(made)
    assert seen == [name]

    monkeypatch.undo()
    _say(made)
    assert seen == [name]
    assert "was replaced" in _reasons(made)


def test_botocores_debug_log_shows_each_call(made: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "botocore"):
        _say(made)

    assert "Making request for OperationModel(name=Converse)" in caplog.text


def test_a_bearer_token_signs_as_botocore_decides(
    made: Any, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.take()
    monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", "t")

    with pytest.raises(Exception, match=r"[Tt]oken"):
        _say(made)  # botocore sends no token over http

    assert server.take() == []


def test_boto3_refreshes_the_credentials(server: Server) -> None:
    keys: list[str] = []

    def fetch() -> dict[str, str]:
        keys.append(f"AKIA{len(keys)}")
        soon = timedelta(minutes=5 if len(keys) == 1 else 600)
        return {
            "access_key": keys[-1],
            "secret_key": "s",
            "token": "t",
            "expiry_time": (datetime.now(UTC) + soon).isoformat(),
        }

    inner = get_session()
    inner._credentials = RefreshableCredentials.create_from_metadata(  # type: ignore[attr-defined]
        fetch(), fetch, "test"
    )
    made = client(
        server.url, direct=True, session=boto3.Session(None, None, None, "us-east-1", inner)
    )
    server.take()

    _say(made)
    _say(made)

    assert keys == ["AKIA0", "AKIA1"]
    assert all(b"Credential=AKIA1/" in request for request in server.take())
    assert calls_of(made)._logged == {"boto3 refreshes the credentials"}
    assert calls_of(made)._operations["Converse"].is_learned
    made.close()


def test_without_credentials_the_error_is_botocores(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    made = client(server.url, direct=True, session=boto3.Session(region_name="us-east-1"))
    server.take()

    with pytest.raises(Exception, match="Unable to locate credentials") as caught:
        _say(made)

    assert caught.value.__context__ is None
    assert server.take() == []
    made.close()


def test_a_client_outside_an_attempt_is_plain_boto3(made: Any, server: Server) -> None:
    server.take()
    server.reply = http_reply(200, {}, b'{"stopReason": "end_turn"}')

    assert made.converse(**_HELLO)["stopReason"] == "end_turn"
    assert len(server.take()) == 1


def test_the_reason_is_logged_once(
    configured: Configure, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MODELMGR_SEND_WITH_BOTO3", "1")
    caplog.set_level(logging.INFO, "langchain_modelmgr.bedrock.direct_calls")
    with ModelManager(configured(f"a: {{model: '{SONNET}'}}")) as manager:
        llm = manager.chat_model("a")
        for _ in range(3):
            llm.invoke("x")

    logged = [r.message for r in caplog.records if r.name.endswith("direct_calls")]
    assert len(logged) == 1
    assert logged[0].endswith("MODELMGR_SEND_WITH_BOTO3 is set")


def test_the_switch_gives_a_manager_clients_of_its_own(
    configured: Configure, local_aws: LocalAWS, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MODELMGR_SEND_WITH_BOTO3", raising=False)
    configuration = configured(f"a: {{model: '{SONNET}'}}")
    with ModelManager(configuration) as direct:
        direct.chat_model("a").invoke("x")
        monkeypatch.setenv("MODELMGR_SEND_WITH_BOTO3", "1")
        with ModelManager(configuration) as by_boto3:
            by_boto3.chat_model("a").invoke("x")
            assert [len(local_aws.calls()), *_switched_off(direct, by_boto3)] == [2, False, True]

    first, second = (call.headers for call in local_aws.calls())
    assert set(first) == set(second)


def test_headers_of_the_configuration_are_sent_directly(
    tmp_path: Path, local_aws: LocalAWS, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MODELMGR_SEND_WITH_BOTO3", raising=False)
    (tmp_path / "dev.yaml").write_text(
        f"aws: {{endpoint_url: {local_aws.url}, default_headers: {{X-Team: pallets}}}}\n"
        f"metrics: {{sink: memory}}\nagents: {{a: {{model: '{SONNET}'}}}}\n"
    )
    with ModelManager(ConfigurationManager("dev", tmp_path)) as manager:
        llm = manager.chat_model("a")
        llm.invoke("x")
        list(llm.stream("x"))
        calls = calls_of(manager.clients.runtime())

    assert [call.headers["X-Team"] for call in local_aws.calls()] == ["pallets"] * 2
    assert calls._logged == set()
    assert all(operation.is_learned for operation in calls._operations.values())


def _switched_off(*managers: ModelManager) -> list[bool]:
    return [bool(calls_of(manager.clients.runtime())._off) for manager in managers]
