"""Signs Converse requests with botocore's ``SigV4Auth``, without its repeated work."""

from __future__ import annotations

from functools import cache
from typing import Any

_PATHS_KEPT = 512
"""Paths that are kept as they are signed: one for each model."""


class DirectSigner:
    """Signs the requests of one operation of one client.

    botocore derives a signing key from the secret key, the date, the region and the service for
    each request, encodes its path anew, and reads its headers twice. Here the key is derived once a
    day, a model's path is encoded once, and the headers are read once.

    Args:
        signer: The client's request signer.
    """

    def __init__(self, signer: Any) -> None:
        self._signer = signer
        self._days_key: dict[tuple[str, str], bytes] = {}
        self._paths: dict[str, str] = {}

    def host_of(self, url: str, service: str, region: str) -> str:
        """Return the header ``Host`` that botocore signs for a URL."""
        auth = self._signer.get_auth_instance(service, region, "v4")
        return str(auth.headers_to_sign(Unsigned(url, {}, b""))["host"])

    def sign(self, request: Unsigned, service: str, region: str) -> None:
        """Add the headers of a signature of version 4 to a request.

        Args:
            request: The request, with its header ``host``.
            service: The signing name.
            region: The signing region.
        """
        auth = self._signer.get_auth_instance(service, region, "v4")
        plain, direct = _signer_classes()
        if type(auth) is plain:
            auth = direct(auth.credentials, service, region)
            auth.days_key, auth.paths = self._days_key, self._paths
        auth.add_auth(request)


class Unsigned:
    """A request as botocore's signers take it."""

    __slots__ = ("body", "context", "headers", "method", "params", "to_sign", "url")

    def __init__(self, url: str, headers: dict[str, str], body: bytes) -> None:
        self.method = "POST"
        self.url = url
        self.headers = headers
        self.params: dict[str, str] = {}
        self.body = body
        self.context: dict[str, Any] = {}
        self.to_sign: _SignedHeaders | None = None


class _SignedHeaders(dict[str, str]):
    """Headers by name in lower case, with the one method of botocore's that its signer calls."""

    def get_all(self, name: str) -> list[str]:
        return [self[name]]


@cache
def _signer_classes() -> tuple[Any, Any]:
    """Return ``SigV4Auth`` and its subclass that keeps the day's key."""
    from botocore.auth import SIGNED_HEADERS_BLACKLIST, SigV4Auth

    base: Any = SigV4Auth  # its stubs lack ``_sign``

    class DirectSigV4Auth(base):  # type: ignore[misc]
        days_key: dict[tuple[str, str], bytes]
        """The signing key by secret key and scope: the last one."""

        paths: dict[str, str]
        """The paths of requests as they are signed, by the paths in URLs."""

        def headers_to_sign(self, request: Any) -> Any:
            if request.to_sign is None:
                lowered = ((name.lower(), value) for name, value in request.headers.items())
                request.to_sign = _SignedHeaders(
                    (name, value) for name, value in lowered if name not in SIGNED_HEADERS_BLACKLIST
                )
            return request.to_sign

        def _normalize_url_path(self, path: str) -> str:
            known = self.paths.get(path)
            if known is None:
                if len(self.paths) >= _PATHS_KEPT:
                    self.paths.clear()
                known = self.paths[path] = str(super()._normalize_url_path(path))
            return known

        def signature(self, string_to_sign: str, request: Any) -> str:
            scope = self.credential_scope(request)
            known = self.credentials.secret_key, scope
            key = self.days_key.get(known)
            if key is None:
                key = f"AWS4{self.credentials.secret_key}".encode()
                for part in scope.split("/"):
                    key = self._sign(key, part)
                self.days_key.clear()
                self.days_key[known] = key
            return str(self._sign(key, string_to_sign, hex=True))

    return SigV4Auth, DirectSigV4Auth
