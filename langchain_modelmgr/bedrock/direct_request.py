"""Forms Converse requests that are equal to boto3's, bytes, headers and signature."""

from __future__ import annotations

import json
import re
import uuid
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from langchain_modelmgr.bedrock.request_check import request_check
from langchain_modelmgr.bedrock.service_shapes import UncommonError
from langchain_modelmgr.bedrock.signing import DirectSigner, Unsigned

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_MODEL = "modelId"

_VARIES = ("X-Amz-Date", "amz-sdk-invocation-id")
"""Headers that differ between two requests that are otherwise equal."""

_VARIES_IN_SIGNATURE = re.compile(r"/\d{8}/|Signature=[0-9a-f]{64}")


class _Learned(NamedTuple):
    """What is the same in all requests of one operation of one client."""

    endpoint: str
    host: str
    content_type: str
    user_agent: str
    region: str
    service: str
    attempt: str


class RequestForm:
    """Forms the requests of one operation, after one request of boto3 has been learned.

    Endpoint, user agent, signing region and name are taken from a request that boto3 formed, so
    that they follow from the client's own resolvers. The form is used only if it gives that
    request again. botocore's ``SigV4Auth`` signs.

    Args:
        operation: The botocore model of the operation.
        signer: The client's request signer.

    Raises:
        UncommonError: This version of botocore describes the operation in an unknown way.
    """

    def __init__(self, operation: Any, signer: Any) -> None:
        shape = operation.input_shape
        before, _, after = operation.http["requestUri"].partition(f"{{{_MODEL}}}")
        depends = (
            operation.context_parameters
            or operation.operation_context_parameters
            or operation.endpoint
            or "authPath" in operation.http
            or shape.serialization.get("payload")
        )
        if depends or not after or "{" in before + after or operation.http["method"] != "POST":
            raise UncommonError(f"operation {operation.name}")
        self._path = before, after
        self._members = {
            name: request_check(member) for name, member in shape.members.items() if name != _MODEL
        }
        self._required = tuple(shape.required_members)
        self._streams = bool(operation.has_event_stream_output)
        self._signer = DirectSigner(signer)
        self._learned: _Learned | None = None

    @property
    def is_learned(self) -> bool:
        """Whether a request of boto3 has been learned."""
        return self._learned is not None

    def check(self, params: Mapping[str, Any]) -> None:
        """Raise UncommonError if boto3 must form a request of these parameters."""
        self._path_of(params)
        self._body(params)

    def learn(
        self, sent: Any, params: Mapping[str, Any], handlers: Sequence[Callable[..., Any]]
    ) -> None:
        """Learn from a request that boto3 formed.

        Args:
            sent: The prepared request.
            params: The operation's parameters.
            handlers: This package's handlers of ``before-send``, which changed it.

        Raises:
            UncommonError: The request is not signed with version 4, or has other headers or
                another body than a request formed here.
        """
        headers = {name: _text(value) for name, value in sent.headers.items()}
        path = self._path_of(params)
        signature = headers.get("Authorization", "")
        scope = signature.partition(", ")[0].rsplit("/", 4)
        if not signature.startswith("AWS4-HMAC-SHA256 Credential=") or len(scope) != len("scope"):
            raise UncommonError("another signature than version 4")
        if not sent.url.endswith(path):
            raise UncommonError("another path")
        learned = _Learned(
            endpoint=sent.url[: -len(path)],
            host=self._signer.host_of(sent.url, scope[3], scope[2]),
            content_type=headers.get("Content-Type", ""),
            user_agent=headers.get("User-Agent", ""),
            region=scope[2],
            service=scope[3],
            attempt=headers.get("amz-sdk-request", ""),
        )
        formed = after_handlers(self._formed(learned, params, None), handlers)
        if formed.url != sent.url or formed.body != sent.body:
            raise UncommonError("another body")
        own = {name: _text(value) for name, value in formed.headers.items()}
        if _comparable(own) != _comparable(headers):
            raise UncommonError("other headers")
        self._learned = learned

    def formed(self, params: Mapping[str, Any], read_timeout: float) -> Any:
        """Return the signed request.

        Args:
            params: The operation's parameters.
            read_timeout: Seconds that the socket may be silent.

        Raises:
            UncommonError: boto3 must form this request.
        """
        if self._learned is None:
            raise UncommonError("nothing learned")
        return self._formed(self._learned, params, read_timeout)

    def _formed(
        self, learned: _Learned, params: Mapping[str, Any], read_timeout: float | None
    ) -> Any:
        from botocore.awsrequest import AWSPreparedRequest
        from botocore.handlers import add_recursion_detection_header

        url = learned.endpoint + self._path_of(params)
        body = self._body(params)
        headers = {"Content-Type": learned.content_type, "User-Agent": learned.user_agent}
        add_recursion_detection_header({"headers": headers})
        headers["host"] = learned.host  # botocore's signer would parse the URL for it
        self._signer.sign(Unsigned(url, headers, body), learned.service, learned.region)
        del headers["host"]
        headers["amz-sdk-invocation-id"] = str(uuid.uuid4())
        headers["amz-sdk-request"] = learned.attempt
        prepared: Any = {name: value.encode() for name, value in headers.items()}
        prepared["Content-Length"] = str(len(body))
        context = {} if read_timeout is None else {"read_timeout": read_timeout}
        return AWSPreparedRequest("POST", url, prepared, body, self._streams, context)

    def _path_of(self, params: Mapping[str, Any]) -> str:
        model = params.get(_MODEL)
        if type(model) is not str or not model:
            raise UncommonError(_MODEL)
        return _encoded(model).join(self._path)

    def _body(self, params: Mapping[str, Any]) -> bytes:
        body = {}
        for name, value in params.items():
            check = self._members.get(name)
            if check is not None and value is not None:  # botocore omits a field that is None
                body[name] = check(value)
            elif name != _MODEL:
                raise UncommonError(name)
        for name in self._required:
            if name not in params:
                raise UncommonError(name)
        if not body:
            raise UncommonError("an empty request")
        return json.dumps(body).encode()


def after_handlers(request: Any, handlers: Sequence[Callable[..., Any]]) -> Any:
    """Return a request after this package's handlers of ``before-send`` changed it."""
    if handlers:
        from botocore.awsrequest import HeadersDict

        request.headers = HeadersDict(request.headers)  # they may write a name in another case
        for handler in handlers:
            handler(request=request)
    return request


@lru_cache(maxsize=512)
def _encoded(model: str) -> str:
    from botocore.utils import percent_encode

    return str(percent_encode(model))


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _comparable(headers: Mapping[str, str]) -> list[tuple[str, str]]:
    return [
        (name, "" if name in _VARIES else _VARIES_IN_SIGNATURE.sub("/", value))
        for name, value in headers.items()
    ]
