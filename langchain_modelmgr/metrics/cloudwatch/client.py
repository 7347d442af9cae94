"""The CloudWatch client of a sink, and what is known of the account that it belongs to."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from langchain_modelmgr.local_servers import LOCAL_SERVERS
from langchain_modelmgr.metrics.cloudwatch.journals import old_scope

if TYPE_CHECKING:
    from collections.abc import Callable

CONNECT_TIMEOUT_SECONDS = 2
READ_TIMEOUT_SECONDS = 10

IDENTITY_SECONDS = 1
"""What GetCallerIdentity may take; it is asked once."""


def cloudwatch_client(session: Any, region: str | None = None) -> Any:
    """Make the CloudWatch client that the sink wants.

    botocore makes one attempt: PutMetricData has no idempotency token, so its own retries after
    a time-out count the same usage several times.

    Args:
        session: A ``boto3.Session``; credentials and endpoints are its business.
        region: AWS region; None means the session's.
    """
    return _client(session, region, None)


class FixedClient:
    """CloudWatch as boto3 finds it when ``fix`` is called, whatever the environment says later.

    Args:
        session: Returns the boto3 session.
        region: AWS region; None: the session's.
        endpoint: An endpoint of its own; None: boto3's.

    Attributes:
        region: The region's name; empty: unknown.
        endpoint: Its URL; empty: unknown.
        old_scope: What stood for its credentials in the journals of 0.1.0.
    """

    def __init__(
        self, session: Callable[[], Any], region: str | None, endpoint: str | None = None
    ) -> None:
        self._find_session = session
        self._wanted_region = region
        self._session: Any = None
        self._first: Any = None
        self.region, self.endpoint = "", endpoint or ""
        self._identities: set[str] = set()
        self._has_asked = False
        self.old_scope = ""
        self._server: object | None = None

    def fix(self) -> None:
        """Find account, region and endpoint now."""
        with suppress(Exception):  # whatever boto3 raises comes again when it is used
            self._first = self._build()
            self.old_scope = old_scope(self._session.profile_name)
            self._server = LOCAL_SERVERS.token(self.endpoint)

    def __call__(self) -> Any:
        """Return a client."""
        first, self._first = self._first, None
        return first or self._build()

    @property
    def is_gone(self) -> bool:
        """True if it was a server of this process that has stopped."""
        known = self._server
        return known is not None and LOCAL_SERVERS.token(self.endpoint) is not known

    def identity(self, *, ask: bool = True) -> str | None:
        """Return what stands for the account: by its id, else by the access key; None: unknown.

        Temporary credentials have another access key each hour, so that STS is asked, once.

        Args:
            ask: False: not.
        """
        key = self._credentials()
        if key is None:
            return None
        account = getattr(key, "account_id", None)
        if account:
            return self._known("account", account)
        if not key.token:
            return self._known("key", key.access_key)
        return self.ask() if ask else None

    def known_identity(self) -> str | None:
        """Return what stands for the account as far as it is known without a request."""
        found = None if self._session is None else self._session.get_credentials()
        # Those that are fetched again and again (roles, SSO) would be fetched here.
        return (
            None if found is None or hasattr(found, "refresh_needed") else self.identity(ask=False)
        )

    @property
    def identities(self) -> frozenset[str]:
        """All that is known to stand for the account."""
        return frozenset(self._identities)

    def ask(self) -> str | None:
        """Ask STS for the account, at most once; None: it did not say."""
        if self._has_asked or self._session is None:
            return None
        self._has_asked = True
        try:
            sts = _client(
                self._session, self.region or None, self._sts_endpoint(), "sts", IDENTITY_SECONDS
            )
            return self._known("account", sts.get_caller_identity()["Account"])
        except Exception:  # noqa: BLE001 - metrics boundary: without an answer, others' rows wait
            return None

    def _known(self, kind: str, value: str) -> str:
        found = f"{kind}:{hashlib.sha256(value.encode()).hexdigest()[:32]}"
        self._identities.add(found)
        return found

    def _credentials(self) -> Any:
        try:
            found = None if self._session is None else self._session.get_credentials()
            return None if found is None else found.get_frozen_credentials()
        except Exception:  # noqa: BLE001 - metrics boundary: sending says what is wrong with them
            return None

    def _sts_endpoint(self) -> str:
        # An endpoint of its own (a local server, an emulator) answers for all services.
        return self.endpoint.replace("//monitoring.", "//sts.", 1)

    def _build(self) -> Any:
        if self._session is None:
            self._session = self._find_session()
        client = _client(self._session, self.region or self._wanted_region, self.endpoint or None)
        self.region, self.endpoint = client.meta.region_name or "", client.meta.endpoint_url
        return client


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
    return session.client(service, region_name=region, endpoint_url=endpoint, config=config)
