"""A request that is signed here has the signature of botocore's own signer."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import botocore.auth
import botocore.session
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.signers import RequestSigner

from langchain_modelmgr.bedrock.signing import DirectSigner, Unsigned

if TYPE_CHECKING:
    import pytest

_URL = "https://bedrock-runtime.eu-central-1.amazonaws.com/model/m/converse"
_HOST = "bedrock-runtime.eu-central-1.amazonaws.com"
_HEADERS = {"Content-Type": "application/json", "User-Agent": "x", "X-Amzn-Trace-Id": "a  b"}
_SCOPE = ("bedrock", "eu-central-1")


def _signer(credentials: Any) -> DirectSigner:
    session: Any = botocore.session.Session()
    events = session.get_component("event_emitter")
    service: Any = session.get_service_model("bedrock-runtime").service_id
    return DirectSigner(
        RequestSigner(service, "eu-central-1", "bedrock", "v4", credentials, events)
    )


def _signed_here(signer: DirectSigner, body: bytes) -> dict[str, str]:
    headers = {**_HEADERS, "host": signer.host_of(_URL, *_SCOPE)}
    signer.sign(Unsigned(_URL, headers, body), *_SCOPE)
    assert headers.pop("host") == _HOST
    return headers


def _signed_by_botocore(credentials: Credentials, body: bytes) -> dict[str, str]:
    request = AWSRequest("POST", _URL, dict(_HEADERS), body)
    signer: Any = SigV4Auth(credentials, *_SCOPE)
    signer.add_auth(request)
    return dict(request.headers.items())


def test_signatures_are_botocores_on_each_day_and_with_each_secret(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = datetime(2026, 12, 31, 23, 59, 59, tzinfo=UTC)
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda: now)
    credentials = Credentials("AKIAIOSFODNN7EXAMPLE", "secret")
    signer = _signer(credentials)
    seen = []

    for step in range(8):
        seen.append(_signed_here(signer, b"%d" % step))
        assert seen[-1] == _signed_by_botocore(credentials, b"%d" % step)
        if step % 2:
            now += timedelta(seconds=2)
        if step == 4:
            credentials.secret_key = "another"
        if step == 6:
            credentials.token = "session=="

    assert len({headers["Authorization"] for headers in seen}) == 8
    assert {headers["X-Amz-Date"][:8] for headers in seen} == {"20261231", "20270101"}
    assert [h.get("X-Amz-Security-Token") for h in seen] == [None] * 7 + ["session=="]


def test_the_days_key_is_derived_once(monkeypatch: pytest.MonkeyPatch) -> None:
    keys: list[bytes | str] = []
    sign: Any = SigV4Auth._sign  # type: ignore[attr-defined]

    def counted(self: Any, key: bytes, text: str, hex: bool = False) -> Any:  # noqa: A002, FBT002
        keys.append(text)
        return sign(self, key, text, hex)

    monkeypatch.setattr(SigV4Auth, "_sign", counted)
    signer = _signer(Credentials("AKIAIOSFODNN7EXAMPLE", "secret"))

    for _ in range(3):
        _signed_here(signer, b"x")

    assert len(keys) == 4 + 3
