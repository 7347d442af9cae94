"""STS over HTTP: GetCallerIdentity, which returns the account of an access key."""

from __future__ import annotations

import re
import uuid
from typing import TYPE_CHECKING
from urllib.parse import parse_qs
from xml.sax.saxutils import escape

from aiohttp import web

from langchain_modelmgr.local.shapes import status_of
from langchain_modelmgr.local.state import RecordedCall

if TYPE_CHECKING:
    from langchain_modelmgr.local.state import State

FORM = "application/x-www-form-urlencoded"
"""Content type of the Query protocol, which STS uses (botocore 1.44.5)."""

_ACCESS_KEY = re.compile(r"Credential=([^/,\s]+)/")
_NAMESPACE = "https://sts.amazonaws.com/doc/2011-06-15/"


class Sts:
    """Handles requests to STS with the server's state."""

    def __init__(self, state: State) -> None:
        self._state = state

    def handle(self, request: web.BaseRequest, body: bytes) -> web.Response:
        """Answer one request."""
        action = parse_qs(body.decode("utf-8", "replace")).get("Action", [""])[0]
        if action != "GetCallerIdentity":
            text = "The local AWS serves GetCallerIdentity alone of STS."
            return _error("UnknownOperationException", text)
        found = _ACCESS_KEY.search(request.headers.get("Authorization", ""))
        access_key = found.group(1) if found else ""
        self._state.record(RecordedCall(action, "", {}, dict(request.headers)))
        fault = self._state.faults.take(access_key, frozenset({"identity"}))
        if fault is not None:
            return _error(fault.code, fault.message)
        account = self._state.account_of(access_key)
        return _reply(
            f'<GetCallerIdentityResponse xmlns="{_NAMESPACE}"><GetCallerIdentityResult>'
            f"<Arn>arn:aws:iam::{account}:user/local</Arn><UserId>AIDAEXAMPLE</UserId>"
            f"<Account>{account}</Account></GetCallerIdentityResult>"
            f"<ResponseMetadata><RequestId>{uuid.uuid4()}</RequestId></ResponseMetadata>"
            "</GetCallerIdentityResponse>"
        )

    def refusal(self, code: str, message: str) -> web.Response:
        """Return a refused signature as STS sends it, which has a code of its own for one."""
        if code == "InvalidSignatureException":
            return _error("SignatureDoesNotMatch", message, 403)
        return _error(code, message)


def _error(code: str, message: str, status: int | None = None) -> web.Response:
    return _reply(
        f'<ErrorResponse xmlns="{_NAMESPACE}"><Error><Type>Sender</Type><Code>{code}</Code>'
        f"<Message>{escape(message)}</Message></Error><RequestId>{uuid.uuid4()}</RequestId></ErrorResponse>",
        status or status_of(code),
    )


def _reply(text: str, status: int = 200) -> web.Response:
    return web.Response(text=text, status=status, content_type="text/xml")
