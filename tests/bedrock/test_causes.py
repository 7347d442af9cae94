"""The causes of errors contain no account ids and no rejected values."""

from __future__ import annotations

import copyreg
import logging
import pickle
import traceback
from typing import TYPE_CHECKING, Any

import botocore.exceptions
import pydantic
import pytest
from botocore.exceptions import ClientError, ParamValidationError

from langchain_modelmgr import ManagedBedrockChat, ModelManager, ModelManagerError
from langchain_modelmgr.bedrock.causes import masked
from tests.models import SONNET

if TYPE_CHECKING:
    from langchain_modelmgr.local import LocalAWS
    from tests.agents import Configure
    from tests.held_replies import TimeOuts

ACCOUNT = "123456789012"
ARN = f"arn:aws:bedrock:us-east-1:{ACCOUNT}:application-inference-profile/abc"
SECRET = "my secret prompt"


@pytest.fixture
def llm(
    configured: Configure, local_aws: LocalAWS, monkeypatch: pytest.MonkeyPatch
) -> ManagedBedrockChat:
    monkeypatch.setenv("AWS_ENDPOINT_URL", local_aws.url)  # of the control plane
    agents = f"a: {{model: '{SONNET}', fallbacks: []}}\narn: {{model: '{ARN}', fallbacks: []}}"
    return ModelManager(configured(agents), sinks=[]).chat_model("a", max_retries=0)


def _logged(caught: pytest.ExceptionInfo[Any], caplog: pytest.LogCaptureFixture) -> str:
    logging.getLogger("app").error("failed", exc_info=caught.value)
    return caplog.text + "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("mode", ["invoke", "stream"])
def test_a_logged_denial_shows_no_account_id_and_is_botocores_error(
    llm: Any, local_aws: LocalAWS, caplog: pytest.LogCaptureFixture, mode: str
) -> None:
    user = f"User: arn:aws:sts::{ACCOUNT}:assumed-role/x is not authorized to perform: y:z"
    local_aws.fail(SONNET, "AccessDeniedException", message=user)

    with pytest.raises(ModelManagerError) as caught:
        llm.invoke("x") if mode == "invoke" else list(llm.stream("x"))

    cause = caught.value.__cause__
    assert isinstance(cause, ClientError)
    assert cause.response["Error"]["Code"] == "AccessDeniedException"
    assert cause.response["Error"]["Message"] == user.replace(ACCOUNT, "*" * 12)
    assert cause.response["ResponseMetadata"]["RequestId"] == caught.value.request_id  # type: ignore[attr-defined]
    assert ACCOUNT not in _logged(caught, caplog)
    assert ACCOUNT not in repr(cause)
    assert ACCOUNT not in str(pickle.loads(pickle.dumps(cause)))  # noqa: S301


def test_a_logged_error_event_of_a_stream_shows_no_account_id(
    llm: Any, local_aws: LocalAWS, caplog: pytest.LogCaptureFixture
) -> None:
    text = f"no capacity for {ARN}"
    local_aws.fail(SONNET, "ThrottlingException", message=text, at="stream", after=1)

    with pytest.raises(ModelManagerError) as caught:
        list(llm.stream("x"))

    assert isinstance(caught.value.__cause__, ClientError)
    assert ACCOUNT not in _logged(caught, caplog)


def test_a_logged_time_out_shows_no_account_id_of_an_arn(
    llm: Any, local_aws: LocalAWS, caplog: pytest.LogCaptureFixture, time_outs: TimeOuts
) -> None:
    local_aws.stall(ARN, 300)
    time_outs.after(ARN, 0.5, of_socket=True)

    with pytest.raises(ModelManagerError) as caught:
        llm.model_copy(update={"agent_name": "arn"}).invoke("x")

    cause = caught.value.__cause__
    assert isinstance(cause, botocore.exceptions.ReadTimeoutError)
    assert "application-inference-profile" in str(cause)
    assert ACCOUNT not in _logged(caught, caplog)
    assert ACCOUNT not in str(cause.kwargs)


def test_a_logged_refusal_of_botocores_shows_no_value(
    llm: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(ModelManagerError) as caught:
        llm.invoke(SECRET, request_metadata={"k": [SECRET]})

    cause = caught.value.__cause__
    assert isinstance(cause, ParamValidationError)
    assert "Invalid type for parameter requestMetadata.k" in str(cause)
    assert "secret" not in _logged(caught, caplog)
    assert "secret" not in str(pickle.loads(pickle.dumps(cause)))  # noqa: S301


def test_a_report_that_imitates_a_second_one_shows_nothing_of_it() -> None:
    report = (
        f"Invalid type for parameter a.b, value: {SECRET}\nUnknown parameter in {SECRET}, type: x"
    )

    cause = masked(ParamValidationError(report=report))

    assert str(cause) == (
        "Parameter validation failed:\nInvalid type for parameter a.b (values are not shown)"
    )


def test_errors_linked_to_and_stored_in_the_cause_are_masked_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for kind in list(copyreg.dispatch_table):
        # Dask lets tblib pickle all exceptions, which fails for botocore's, masked or not.
        if issubclass(kind, BaseException):
            monkeypatch.delitem(copyreg.dispatch_table, kind)
    inner = OSError(f"no route to {ARN}")
    outer = botocore.exceptions.HTTPClientError(error=inner)
    outer.__context__ = ValueError(f"while asking {ARN}")
    wrapped = ValueError(f"langchain: {ARN}")
    wrapped.__cause__ = outer
    inner.__context__ = wrapped  # a ring

    assert masked(wrapped) is wrapped

    for error in (wrapped, outer, inner, outer.__context__):
        assert ACCOUNT not in str(error)
    assert type(pickle.loads(pickle.dumps(outer))) is type(outer)  # noqa: S301
    assert ACCOUNT not in str(pickle.loads(pickle.dumps(outer)))  # noqa: S301


def test_an_error_that_quotes_values_is_not_chained_as_a_cause() -> None:
    with pytest.raises(pydantic.ValidationError) as caught:
        pydantic.TypeAdapter(int).validate_python(SECRET)

    assert SECRET in str(caught.value)
    assert masked(caught.value) is None
