"""Creates a sink's CloudWatch client, and identifies the AWS account it writes to."""

from __future__ import annotations

import hashlib
import math
import time
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from langchain_modelmgr.runtime.guard import Guard
from langchain_modelmgr.runtime.local_servers import LOCAL_SERVERS
from langchain_modelmgr.runtime.session_locks import SESSION_LOCKS

if TYPE_CHECKING:
    from collections.abc import Callable

CONNECT_TIMEOUT_SECONDS = 2
READ_TIMEOUT_SECONDS = 10

IDENTITY_SECONDS = 1
"""Time-out of GetCallerIdentity."""

IDENTITY_RETRY_SECONDS = 3600
"""Seconds until GetCallerIdentity is called again after it failed."""

_ACCOUNT, _KEY = "account:", "key:"
"""Prefixes of an identity: a hash of the account id, or of an access key id."""

_PLACES: WeakKeyDictionary[Any, dict[tuple[str | None, str], tuple[str, str]]] = WeakKeyDictionary()
"""Region and endpoint of each session, cached because a client must be built to find them."""


def cloudwatch_client(session: Any, region: str | None = None) -> Any:
    """Make a CloudWatch client for the sink.

    botocore makes one attempt: PutMetricData has no idempotency token, so its own retries after
    a time-out count the same usage several times.

    Args:
        session: A ``boto3.Session`` with the credentials.
        region: AWS region; None means the session's.
    """
    return _client(session, region, None)


class FixedClient:
    """A client factory that keeps the account, region and endpoint found by ``fix``.

    Args:
        session: Returns the boto3 session.
        region: AWS region; None means the session's.
        endpoint: Endpoint URL; None means boto3's default.

    Attributes:
        region: AWS region; empty if unknown.
        endpoint: Endpoint URL; empty if unknown.
        profile: AWS profile of the session.
    """

    def __init__(
        self, session: Callable[[], Any], region: str | None, endpoint: str | None = None
    ) -> None:
        self._find_session = session
        self._wanted_region = region
        self._session: Any = None
        self.region, self.endpoint = "", endpoint or ""
        self._identities: set[str] = set()
        self._account: str | None = None
        self._next_request = -math.inf
        self.profile: str | None = None
        self._server: object | None = None

    def fix(self) -> None:
        """Find region and endpoint now; clients are created when needed."""
        with Guard():  # boto3 raises the same error again when it is used
            session = self._open_session()
            known = _PLACES.setdefault(session, {})
            wanted = (self._wanted_region, self.endpoint)
            if wanted not in known:
                meta = self._build().meta
                known[wanted] = (meta.region_name or "", meta.endpoint_url)
            self.region, self.endpoint = known[wanted]
            self.profile = session.profile_name
            self._server = LOCAL_SERVERS.token(self.endpoint)

    def __call__(self) -> Any:
        """Return a client."""
        return self._build()

    @property
    def is_gone(self) -> bool:
        """True if the endpoint was a local AWS of this process that has stopped."""
        known = self._server
        return known is not None and LOCAL_SERVERS.token(self.endpoint) is not known

    def identity(self, *, ask: bool = True) -> str | None:
        """Return a hash of the account id or of the access key id; None if both are unknown.

        If the account id is unknown, STS is called, at most once an hour.

        Args:
            ask: Whether to call STS although the access key id is known, which temporary
                credentials replace each hour.
        """
        known = self.known_identity()
        if known is not None and known.startswith(_ACCOUNT):
            return known
        return (self._request_identity() or known) if ask or known is None else known

    def known_identity(self) -> str | None:
        """Return the identity if it is known without a request, else None."""
        if self._account is not None:
            return self._account
        found = None
        with Guard():  # boto3 raises the same error again when it is used
            found = None if self._session is None else self._session.get_credentials()
        account = getattr(found, "account_id", None)
        if account:
            return self._known(_ACCOUNT, account)
        # Reading refreshable credentials (roles, SSO) would fetch them here.
        if found is None or hasattr(found, "refresh_needed") or found.token:
            return None
        return self._known(_KEY, found.access_key)

    @property
    def identities(self) -> frozenset[str]:
        """All known identities of the account."""
        return frozenset(self._identities)

    def _request_identity(self) -> str | None:
        now = time.monotonic()
        if self._session is None or now < self._next_request:
            return None
        self._next_request = now + IDENTITY_RETRY_SECONDS
        with Guard():  # if this fails, rows of other processes wait
            caller = self.sts(IDENTITY_SECONDS).get_caller_identity()
            self._account = self._known(_ACCOUNT, caller["Account"])
        return self._account

    def sts(self, timeout: int = READ_TIMEOUT_SECONDS) -> Any:
        """Return an STS client with the same session, region and endpoint."""
        session, region = self._open_session(), self.region or None
        return _client(session, region, self._sts_endpoint(), "sts", timeout)

    def _known(self, kind: str, value: str) -> str:
        found = f"{kind}{hashlib.sha256(value.encode()).hexdigest()[:32]}"
        self._identities.add(found)
        return found

    def _sts_endpoint(self) -> str:
        # A local server or an emulator serves all services at one endpoint.
        return self.endpoint.replace("//monitoring.", "//sts.", 1)

    def _open_session(self) -> Any:
        if self._session is None:
            self._session = self._find_session()
        return self._session

    def _build(self) -> Any:
        region = self.region or self._wanted_region
        return _client(self._open_session(), region, self.endpoint or None)


def _client(
    session: Any,
    region: str | None,
    endpoint: str | None,
    service: str = "cloudwatch",
    timeout: int | None = None,
) -> Any:
    from botocore.config import Config

    config = Config(
        retries={"total_max_attempts": 1},
        connect_timeout=timeout or CONNECT_TIMEOUT_SECONDS,
        read_timeout=timeout or READ_TIMEOUT_SECONDS,
    )
    with SESSION_LOCKS.of(session):
        return session.client(service, region_name=region, endpoint_url=endpoint, config=config)
